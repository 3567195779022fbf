/** Whoever must not get in, and whatever must not start. */
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Gateway, run, type Surroundings, tokenOf } from "../gateway.ts";
import { type Caller, type Client, output } from "./caller.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";

export async function strangers(
  check: Check,
  gateway: Gateway,
  client: Client,
  surroundings: Surroundings,
): Promise<void> {
  const status = async (bearer: string | null): Promise<number> => {
    const response = await fetch(`${gateway.url}/v1/models`, {
      headers: bearer === null ? {} : { authorization: `Bearer ${bearer}` },
    });
    await response.arrayBuffer();
    return response.status;
  };
  const token = await tokenOf(gateway, client);
  await check("a stranger is refused with 401", async () => {
    expectEqual(
      [await status(token), await status(null), await status("sgk_x")],
      [200, 401, 401],
      "statuses",
    );
  });
  await check("a token for another plane is refused with 401", async () => {
    expectEqual(
      await status(await tokenOf(gateway, client, { resource: `${gateway.url}/mcp` })),
      401,
      "status",
    );
  });
  await check("an expired token is refused with 401", async () => {
    const made = readFileSync(join(surroundings.cwd, "specgate-data/jwt-secret"));
    const secret = made.toString("base64url");
    const now = Math.floor(Date.now() / 1_000);
    expectEqual(await status(forged(token, secret, { exp: now + 60 })), 200, "status of a good forgery");
    expectEqual(
      await status(forged(token, secret, { iat: now - 600, nbf: now - 600, exp: now - 60 })),
      401,
      "status",
    );
  });
  await check("a revoked key stops working at once", async () => {
    const words = ["key", "create", "--client", client.client_id, "--scope", "llm:chat", "--json"];
    const { id, key } = JSON.parse(await output(words, surroundings)) as { id: string; key: string };
    expectEqual(
      await eventually(
        () => status(key),
        (code) => code === 200,
        1_000,
      ),
      200,
      "status before",
    );
    await output(["key", "revoke", id], surroundings);
    expectEqual(
      await eventually(
        () => status(key),
        (code) => code === 401,
        1_000,
      ),
      401,
      "status after",
    );
  });
}

/** Takes ten seconds, the time that a gateway waits for the one before it. */
export async function secondOne(check: Check, surroundings: Surroundings): Promise<void> {
  await check("a second gateway on the same directory is refused", async () => {
    const { code, stderr } = await run(["serve", "--port", "0"], surroundings);
    expectEqual(code, 1, `exit code (${stderr})`);
    expect(stderr.includes("specgate-data"), `it does not name the directory: ${stderr}`);
  });
}

export async function brokenConfig(check: Check, surroundings: Surroundings): Promise<void> {
  await check("a broken configuration lists every mistake and exits 2", async () => {
    const env = {
      SPECGATE_PORT: "eighty",
      SPECGATE_LOG_LEVEL: "loud",
      SPECGATE_JWT_SECRET: "hush-hush",
      SPECGATE_STORAGE: "floppy",
      SPECGATE_PUBLIC_URL: "",
    };
    const { code, stderr } = await run(["serve"], { ...surroundings, env });
    expectEqual(code, 2, `exit code (${stderr})`);
    for (const name of Object.keys(env)) {
      const lines = stderr.split("\n").filter((line) => line.includes(name));
      expectEqual(lines.length, 1, `lines about ${name} in\n${stderr}\n`);
    }
    expect(!stderr.includes("hush"), "it shows the secret");
  });
}

/** A token like `token` with other claims, signed as the gateway signs. */
function forged(token: string, secret: string, claims: object): string {
  const [head = "", payload = ""] = token.split(".");
  const changed = { ...(JSON.parse(Buffer.from(payload, "base64url").toString()) as object), ...claims };
  const body = `${head}.${Buffer.from(JSON.stringify(changed)).toString("base64url")}`;
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}

export async function drains(check: Check, caller: Caller): Promise<void> {
  await check("SIGTERM lets a running stream finish, then exits 0", async () => {
    const heard = caller.chat("openai/paced-20");
    await Bun.sleep(300);
    const ended = caller.gateway.stop();
    const { whole, body } = await heard;
    expect(whole && new TextDecoder().decode(body).includes("[DONE]"), "the stream was cut");
    expectEqual(await ended, 0, "exit code");
  });
}
