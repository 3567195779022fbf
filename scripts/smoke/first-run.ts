/**
 * From nothing to a streamed answer, as a newcomer would: in a directory whose `.env` and `bunfig.toml` would ruin any
 * program that listened to them, without a provider first, then with one whose bytes are known.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";
import type { Provider } from "../../src/testing/provider.ts";
import { reply } from "../../src/testing/provider-script.ts";
import { type Gateway, run, type Surroundings, serve } from "../gateway.ts";
import { Caller, type Client, createClient, hello, output, type Row } from "./caller.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";

export function layHostileDirectory(dir: string): void {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, ".env"), "SPECGATE_PORT=1\nDATABASE_URL=garbage\nSPECGATE_LOG_LEVEL=loud\n");
  writeFileSync(join(dir, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
  writeFileSync(
    join(dir, "preload.ts"),
    'require("node:fs").writeFileSync("preloaded", ""); process.exit(9);\n',
  );
}

export async function words(check: Check, surroundings: Surroundings): Promise<void> {
  await check("version prints one line", async () => {
    const version = await output(["version"], surroundings);
    expect(/^\d+\.\d+\.\d+\S*\n$/.test(version), `it prints ${JSON.stringify(version)}`);
    return version.trim();
  });
  await check("help names the commands", async () => {
    const help = await output(["help"], surroundings);
    for (const word of ["serve", "client", "usage", "doctor", "Examples"]) {
      expect(help.includes(word), `it says nothing of ${word}`);
    }
  });
  await check("a mistyped command exits 2 and suggests the right one", async () => {
    const { code, stderr } = await run(["cleint"], surroundings);
    expectEqual([code, stderr.includes("client")], [2, true], "exit code, suggestion");
  });
}

/** With no provider: ready, a client, a token, the demo, and a clean end. */
export async function firstStart(check: Check, surroundings: Surroundings): Promise<Client | undefined> {
  const dataDir = join(surroundings.cwd, "specgate-data");
  let gateway: Gateway | undefined;
  let client: Client | undefined;
  await check("the very first start is ready", async () => {
    gateway = await serve([], surroundings);
    return `${Math.round(gateway.readyMs)} ms`;
  });
  if (gateway === undefined) return undefined;
  const running = gateway;
  await check("a client is created while the gateway runs", async () => {
    client = await createClient(dataDir, surroundings);
    expect(client.client_id.startsWith("cli_") && client.client_secret.length >= 32, "no id and secret");
  });
  await check("demo/echo streams the prompt back to the openai package", async () => {
    const { token } = await Caller.open(running, client as Client);
    const openai = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: token, maxRetries: 0 });
    const stream = await openai.chat.completions.create({ model: "demo/echo", messages: user, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    expect(text.includes("hello out there"), `it streams ${JSON.stringify(text)}`);
  });
  await check("SIGTERM ends it with exit code 0", async () => {
    expectEqual(await running.stop(), 0, "exit code");
  });
  await check("the directory's .env and bunfig.toml had no effect", () => {
    expect(!existsSync(join(surroundings.cwd, "preloaded")), "bunfig.toml's preload ran");
  });
  return client;
}

/** With the scripted provider: its bytes, whole and in order, and the row that says what they cost. */
export async function provided(
  check: Check,
  caller: Caller,
  provider: Provider,
  surroundings: Surroundings,
): Promise<void> {
  provider.script("priced", reply({ content: "Grüße aus dem Gateway, in acht Wörtern ✓" }));
  await check("a stream's bytes are the provider's own", async () => {
    const { body } = await caller.chat("openai/priced", withUsage);
    const sent = provider.received.at(-1)?.sentBody ?? new Uint8Array();
    expect(
      sent.length > 500 && Buffer.compare(body, sent) === 0,
      `${body.length} bytes, ${sent.length} were sent`,
    );
    return `${sent.length} bytes`;
  });
  await check("a usage event that the caller did not ask for is left out, and nothing else", async () => {
    const { body } = await caller.chat("openai/priced");
    const sent = new TextDecoder().decode(provider.received.at(-1)?.sentBody);
    const wanted = sent.replace(/data: \{[^\n]*"choices":\[\],"usage":[^\n]*\n\n/, "");
    expect(wanted.length < sent.length, "the provider was not asked for usage");
    expect(new TextDecoder().decode(body) === wanted, "the rest was changed");
  });
  await check("the request's bytes reach the provider, but for the model", async () => {
    const entry = provider.received.at(-1);
    const body = JSON.parse(new TextDecoder().decode(entry?.body)) as Record<string, unknown>;
    expectEqual([body.model, body.messages], ["priced", hello], "model and messages");
    expectEqual(entry?.headers.get("authorization"), "Bearer sk-smoke", "authorization");
  });
  await check("the openai package gets a whole answer with its cost in a header", async () => {
    const openai = new OpenAI({ baseURL: `${caller.gateway.url}/v1`, apiKey: caller.token, maxRetries: 0 });
    const asked = openai.chat.completions.create({ model: "openai/priced", messages: user });
    const { data, response } = await asked.withResponse();
    expect(data.choices[0]?.message.content?.includes("✓") === true, "the answer is not the provider's");
    expectEqual(response.headers.get("x-specgate-cost-usd"), cost, "x-specgate-cost-usd");
  });
  await check("the usage API shows one settled row each, with the right tokens and cost", async () => {
    const rows = await eventually(settled(caller), (found) => found.length >= 3, 5_000);
    const shown = rows.map(({ usage, cost_usd }) => [usage.input, usage.output, cost_usd]);
    expectEqual(
      shown,
      Array.from({ length: 3 }, () => [11, 8, cost]),
      "input, output and cost of each",
    );
  });
  await check("specgate usage --json adds them up", async () => {
    const text = await output(["usage", "--by", "model", "--json"], surroundings);
    const { data } = JSON.parse(text) as { data: { model: string; requests: number; cost_usd: string }[] };
    const row = data.find(({ model }) => model === "priced");
    expectEqual([row?.requests, row?.cost_usd], [3, "0.000081"], "requests and cost");
  });
}

const withUsage = { stream: true, stream_options: { include_usage: true } };
const user = hello as [{ role: "user"; content: string }];

/** 11 tokens in, 8 out. */
const cost = "0.000027";
export const priceList = 'prices:\n  "openai/priced": { input: 1.0, output: 2.0 }\n';

const settled = (caller: Caller) => async (): Promise<Row[]> =>
  (await caller.rows()).filter(({ state, model }) => state === "settled" && model === "priced");
