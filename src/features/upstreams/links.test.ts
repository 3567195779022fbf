/** Clients of the gateway, and what real servers behind it can do to them. */
import { afterAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { UpstreamConfig } from "../../platform/config.ts";
import { silentLog } from "../../platform/log.ts";
import { testDir } from "../../testing/cluster.ts";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { callTool } from "../../testing/mcp.ts";
import { echoTool, type Heard, rpcError, startUpstream } from "../../testing/mcp-upstreams.ts";
import { ok } from "../../testing/wire.ts";
import { markName } from "./leftovers.ts";

const bearer = "upstream-secret-bearer-XYZ123456";
const argsOf = ({ params }: Heard) => (params.arguments ?? {}) as Record<string, unknown>;
const upstream = startUpstream({
  tools: [echoTool, { name: "leak", inputSchema: { type: "object" } }],
  script: async (heard) => {
    if (heard.method !== "tools/call") return null;
    const { ms = 0, pad, status = 200 } = argsOf(heard);
    await Bun.sleep(Number(ms));
    if (status !== 200) return new Response("", { status: Number(status) });
    if (pad === undefined) return null;
    const own = (heard.headers.get("authorization") ?? "").slice("Bearer ".length);
    return rpcError(heard.id, -32_000, "x".repeat(Number(pad)) + own);
  },
});
const leftover = leftBehind();
const failures: unknown[] = [];
const gateway = await startGateway({
  log: { ...silentLog, failure: (...failure) => void failures.push(failure) },
  dir: leftover.dir,
  yaml: `
mcp:
  upstreams:
    one: { url: "${upstream.url}", bearer: "${bearer}", pin: first_use, calls_max: 4 }
    two: { url: "${upstream.url}", pin: first_use }
`,
});
afterAll(async () => {
  await gateway.close();
  await upstream.close();
});
const { robo, mallory } = gateway;
const { servers } = gateway.parts.upstreams;
await until(() => servers.offered().has("one__echo") && servers.offered().has("two__echo"));

type Recorded = { details: { outcome: { transport: number } } };

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 8_000; !(await holds()); await Bun.sleep(20))
    if (Date.now() > end) throw new Error("it never came");
}

/** A command that an earlier gateway has left, of an upstream that is not configured any more. */
function leftBehind() {
  const dir = testDir();
  const mark = crypto.randomUUID();
  const child = spawn("/bin/sleep", ["1000"], { env: { [markName]: mark }, stdio: "ignore", detached: true });
  const boot = existsSync("/proc") ? readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim() : "";
  const notes = dir.file("upstreams");
  mkdirSync(notes, { recursive: true });
  const gone = { pid: 4_194_303, at: "1" };
  writeFileSync(
    `${notes}/${mark}.json`,
    JSON.stringify({ mark, boot, child: { pid: child.pid, at: "1" }, gateway: gone }),
  );
  const ended = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
  return { dir, notes, ended, child };
}

/** As a changed file would say it. */
function configure(of: TestGateway, alias: string, config: Partial<UpstreamConfig> | null): void {
  const { mcp } = of.parts.config.gateway;
  const { [alias]: had, ...others } = mcp.upstreams;
  const upstreams =
    config === null ? others : { ...others, [alias]: { ...had, ...config } as UpstreamConfig };
  of.parts.config.gateway.mcp = { ...mcp, upstreams };
}

test("a command that an earlier run left is ended at the next boot, though no command is configured any more", async () => {
  if (process.platform !== "linux") return void leftover.child.kill();
  expect(await leftover.ended).toBe("SIGKILL");
  expect(readdirSync(leftover.notes)).toEqual([]);
});

test("an upstream's error message holds no part of its bearer, wherever it is cut", async () => {
  for (const pad of [0, 1_960, 1_970, 1_990, 1_999, 5_000]) {
    const { error } = await callTool(robo, "one__leak", { pad });
    expect(error?.message).toStartWith("x".repeat(Math.min(pad, 2_000)));
    expect(error?.message.length).toBeLessThanOrEqual(2_000);
    expect(error?.message).not.toContain("upst");
  }
});

test("a client's failing and slow calls take no server from another client", async () => {
  for (let n = 0; n < 6; n++) await callTool(robo, "one__echo", { status: 500 });
  expect(JSON.stringify(await callTool(robo, "one__echo", {}))).toMatch(
    /for this caller.* Try again in \d+ s\./,
  );
  const slow = Array.from({ length: 6 }, () => callTool(robo, "two__echo", { ms: 500 }));
  expect((await callTool(mallory, "one__echo", { text: "x" })).result?.isError).not.toBe(true);
  expect((await callTool(mallory, "two__echo", { text: "x" })).result?.isError).not.toBe(true);
  await Promise.all(slow);
});

test("whoever leaves in the middle of a call is no failure of the gateway's, in the log or in the record", async () => {
  failures.length = 0;
  const leaving = new AbortController();
  const fetching = {
    fetch: (path: string, init: RequestInit = {}) => mallory.fetch(path, { ...init, signal: leaving.signal }),
  };
  const calls = ["echo", "leak"].map((name) => callTool(fetching, `two__${name}`, { ms: 1_000 }));
  await Bun.sleep(300);
  leaving.abort();
  expect((await Promise.allSettled(calls)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  const { ada } = await gateway.people();
  const outcomes = async () => {
    const { data } = await ok<{ data: Recorded[] }>(ada, "GET", `/audit?action=mcp.called`);
    return data.map(({ details }) => details.outcome).filter(({ transport }) => transport === 499);
  };
  await until(async () => (await outcomes()).length === 2);
  for (const outcome of await outcomes()) expect(outcome).toMatchObject({ code: "caller_left", rpc: null });
  expect(failures).toEqual([]);
});

test("a call under way is answered, though its server's limits change and then it is taken out", async () => {
  const asked = upstream.heard.length;
  const slow = callTool(mallory, "two__echo", { ms: 4_000 });
  await Bun.sleep(200);
  configure(gateway, "two", { timeoutMs: 30_000, callsMax: 8, resultBytesMax: 1_024 });
  await Bun.sleep(1_500);
  const since = upstream.heard.slice(asked).map(({ method }) => method);
  expect(since).not.toContain("server/discover");
  expect(since).toContain("tools/list");
  configure(gateway, "two", null);
  await until(() => !servers.offered().has("two__echo"));
  const { result } = await slow;
  expect(result?.content).toEqual([{ type: "text", text: '{"ms":4000}' }]);
});
