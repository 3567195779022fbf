/** `specgate login`, `whoami` and `logout` as a person at a terminal types them. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { binary } from "../build.ts";
import { run, type Surroundings } from "../gateway.ts";
import { output } from "./caller.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { allow, connectDevice } from "./people.ts";

type Kept = { access_token: string; expires_at: string; refresh_token: string };

/** A home of its own, with a desktop whose browser notes the address it is to open. */
function layHome(place: Place, name: string): { home: string; surroundings: Surroundings } {
  const home = join(place.surroundings.cwd, name);
  const programs = join(home, "bin");
  mkdirSync(programs, { recursive: true });
  const note = `#!/bin/sh\nprintf %s "$1" > "$HOME/opening" && mv "$HOME/opening" "$HOME/opened"\n`;
  writeFileSync(join(programs, "xdg-open"), note, { mode: 0o755 });
  const env = {
    HOME: home,
    PATH: `${programs}:${process.env.PATH ?? ""}`,
    DISPLAY: ":99",
    SPECGATE_URL: place.gateway.url,
  };
  return { home, surroundings: { cwd: home, env } };
}

const fileIn = (home: string): string => join(home, ".config/specgate/credentials.json");
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

function keptIn(home: string): Record<string, Kept> {
  return (JSON.parse(readFileSync(fileIn(home), "utf8")) as { gateways: Record<string, Kept> }).gateways;
}

/** Alone on the gateway: it counts what the audit log gains. */
export async function atTheTerminal(check: Check, place: Place): Promise<void> {
  const { home, surroundings } = layHome(place, "home");
  let signedIn = false;
  await check("specgate login opens the browser, and keeps the sign-in for its owner alone", async () => {
    await loginByBrowser(place, home, surroundings);
    expectEqual([modeOf(fileIn(home)), modeOf(join(fileIn(home), ".."))], ["600", "700"], "modes");
    signedIn = true;
  });
  if (!signedIn) return;
  await check("specgate whoami names the person", () => whoami(place, surroundings));
  await check("two whoami at once renew a sign-in that is nearly over, once", () =>
    renewedOnce(place, home, surroundings),
  );
  await check("specgate logout ends it here and at the gateway", () => logout(place, home, surroundings));
  await check("whoami exits 1 without a sign-in, and 2 when it is misused", async () => {
    const { code, stderr } = await run(["whoami"], surroundings);
    expectEqual([code, stderr.includes("run specgate login")], [1, true], stderr);
    expectEqual((await run(["whoami", "--url", "ftp://x"], surroundings)).code, 2, "exit code");
  });
}

async function loginByBrowser(place: Place, home: string, surroundings: Surroundings): Promise<void> {
  const ended = run(["login"], surroundings);
  const opened = join(home, "opened");
  const isOpened = await eventually(async () => existsSync(opened), Boolean, 5_000);
  if (!isOpened) throw new Error(`no browser was opened:\n${(await ended).stderr}`);
  const back = await fetch(await allow(place.browser, new URL(readFileSync(opened, "utf8"))));
  const page = await back.text();
  expect(
    back.status === 200 && page.includes("You are signed in"),
    `the window shows ${back.status}: ${page}`,
  );
  const { code, stdout, stderr } = await ended;
  expectEqual([code, stdout], [0, ""], `exit code and stdout (${stderr})`);
  expect(stderr.includes(`Signed in to ${place.gateway.url}`), stderr);
}

async function whoami({ admin }: Place, surroundings: Surroundings): Promise<void> {
  const { principal } = JSON.parse(await output(["whoami", "--json"], surroundings)) as {
    principal: { email: string; client_id: string };
  };
  expectEqual([principal.email, principal.client_id], [admin.email, "specgate-desktop"], "person and app");
}

async function renewedOnce(place: Place, home: string, surroundings: Surroundings): Promise<void> {
  const before = keptIn(home);
  const nearly = new Date(Date.now() + 5_000).toISOString();
  const gateways = Object.fromEntries(
    Object.entries(before).map(([url, kept]) => [url, { ...kept, expires_at: nearly }]),
  );
  writeFileSync(fileIn(home), JSON.stringify({ version: 1, gateways }));
  const rows = await auditRows(place);
  const ran = await Promise.all([run(["whoami"], surroundings), run(["whoami"], surroundings)]);
  for (const { code, stdout, stderr } of ran) {
    expectEqual([code, stdout.includes(place.admin.email)], [0, true], stderr);
  }
  expectEqual((await auditRows(place)) - rows, 1, "audit rows more");
  const after = keptIn(home)[place.gateway.url];
  expect(
    after?.refresh_token !== before[place.gateway.url]?.refresh_token,
    "the refresh token is the old one",
  );
  expectEqual(modeOf(fileIn(home)), "600", "the file's mode");
}

async function auditRows({ dataDir, surroundings }: Place): Promise<number> {
  const words = ["audit", "verify", "--json", "--data-dir", dataDir];
  return (JSON.parse(await output(words, surroundings)) as { rows: number }).rows;
}

async function logout({ gateway }: Place, home: string, surroundings: Surroundings): Promise<void> {
  const before = keptIn(home)[gateway.url];
  const { code, stderr } = await run(["logout"], surroundings);
  expectEqual([code, stderr], [0, `Signed out of ${gateway.url}.\n`], "exit code and words");
  expectEqual(keptIn(home), {}, "what is kept");
  const form = { grant_type: "refresh_token", client_id: "specgate-desktop" };
  const response = await fetch(`${gateway.url}/oauth/token`, {
    method: "POST",
    body: new URLSearchParams({ ...form, refresh_token: before?.refresh_token ?? "" }),
  });
  const { error } = (await response.json()) as { error: string };
  expectEqual([response.status, error], [400, "invalid_grant"], "what the old refresh token gets");
}

/** On a machine without a browser: the address with the code goes from stderr to a browser elsewhere. */
export async function byDevice(check: Check, place: Place): Promise<void> {
  const { home, surroundings } = layHome(place, "home-elsewhere");
  await check("specgate login --device: the code goes to a browser on another machine", async () => {
    const env = surroundings.env ?? {};
    const options = { cwd: home, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" } as const;
    const child = Bun.spawn([binary, "login", "--device", "--scope", "control:read"], options);
    let words = "";
    let connected = false;
    for await (const piece of child.stderr) {
      words += new TextDecoder().decode(piece);
      const address = /http:\/\/\S+\/device\?user_code=\S+/.exec(words)?.[0];
      if (address === undefined || connected) continue;
      connected = true;
      await connectDevice(place.browser, address);
    }
    expectEqual([await child.exited, await child.stdout.text()], [0, ""], `exit code and stdout (${words})`);
    expect(words.includes("with control:read."), words);
    await whoami(place, surroundings);
    expectEqual(modeOf(fileIn(home)), "600", "the file's mode");
  });
}
