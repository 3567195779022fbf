import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../platform/clock.ts";
import type { UpstreamConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { createGuardedFetch } from "../../platform/guarded-fetch.ts";
import { type Fields, type Log, silentLog } from "../../platform/log.ts";
import { commandUpstream, textResult } from "../../testing/mcp-upstreams.ts";
import { endLeftovers } from "./leftovers.ts";
import type { Link, LinkAsking } from "./link.ts";
import { openLink } from "./open-link.ts";

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
  expect(childrenAlive()).toEqual([]);
});

const dir = mkdtempSync(join(tmpdir(), "upstreams-"));
afterAll(() => rmSync(dir, { recursive: true }));

function linkTo(config: UpstreamConfig, more: { backOffMs?: number; log?: Log } = {}): Link {
  const needs = { fetch: createGuardedFetch(), log: silentLog, clock: systemClock(), version: "9.9.9" };
  const link = openLink("local", config, { ...needs, childrenDir: dir, backOffMs: 10, ...more });
  open.push(link);
  return link;
}

/** Tells what this run has started from what another has. */
const run = crypto.randomUUID();
const command: typeof commandUpstream = (words, more = {}) =>
  commandUpstream(words, { ...more, env: { TEST_RUN: run, ...more.env } });

const signal = () => new AbortController().signal;
const call = (link: Link, name: string, args: object = {}, more: Partial<LinkAsking> = {}) =>
  link.call(name, { ...args }, { ...asking, signal: signal(), ...more });
const asking = { caller: "one", resultBytesMax: 100_000, traceparent: null };
const said = (text: string) => ({ kind: "result", result: textResult(text), isError: false }) as const;
const textOf = async (answer: Promise<unknown>): Promise<string> =>
  ((await answer) as { result: { content: [{ text: string }] } }).result.content[0].text;
const codeOf = async (promise: Promise<unknown>): Promise<string> => {
  const error = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason,
  );
  if (error instanceof Failure) return error.code;
  throw error;
};

/** What this run has started, and dead children of this process that nobody has fetched. */
function childrenAlive(): string[] {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name) || name === String(process.pid)) return false;
    const [stat, environ] = [read(`/proc/${name}/stat`), read(`/proc/${name}/environ`)];
    const parent = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
    const isZombieOfOurs = parent === String(process.pid) && /\) Z /.test(stat);
    return isZombieOfOurs || environ.includes(`TEST_RUN=${run}`);
  });
}
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

describe("a command of either era", () => {
  for (const words of [["modern"], ["legacy"], ["legacy", "leaves"], ["legacy", "silent"]])
    test(`is listed and called: ${words.join(", ")}`, async () => {
      const link = linkTo(command(words));
      expect(await link.list(signal())).toContainEqual(expect.objectContaining({ name: "echo" }));
      expect(await call(link, "echo", { a: "ü" })).toEqual(said('{"a":"ü"}'));
      expect(link.status()).toMatchObject({ state: "up", era: words[0] });
    });

  test("is not run before it is needed", async () => {
    const link = linkTo(command(["legacy"]));
    await Bun.sleep(50);
    expect(childrenAlive()).toEqual([]);
    expect(link.status().state).toBe("unknown");
  });

  test("answers many at once, each its own", async () => {
    const link = linkTo(command(["modern"], { callsMax: 400 }));
    const sums = Array.from({ length: 200 }, (_, n) => call(link, "add", { a: n, b: 1 }));
    expect(await Promise.all(sums)).toEqual(Array.from({ length: 200 }, (_, n) => said(String(n + 1))));
  });

  test("that asks for something is refused, and may go on", async () => {
    expect(await call(linkTo(command(["legacy"])), "ask")).toEqual(said("refused with -32601"));
  });

  test("that is not there is a failure in words", async () => {
    const config = { ...command([]), command: ["/nowhere/to/be/found"] };
    await expect(call(linkTo(config), "echo")).rejects.toThrow("ENOENT");
    await expect(call(linkTo(command([], { cwd: "/nowhere" })), "echo")).rejects.toThrow("cannot be run");
  });
});

test("a command is given what is configured, and none of the gateway's environment", async () => {
  const ours = { SPECGATE_JWT_SECRET: "x", OPENAI_API_KEY: "x", DATABASE_URL: "x", ANYTHING: "x" };
  Object.assign(process.env, ours);
  try {
    const link = linkTo(command(["legacy"], { env: { NOTES_TOKEN: "t", LANG: "de" }, cwd: import.meta.dir }));
    const { MCP_UPSTREAM_MARK: mark, ...env } = JSON.parse(await textOf(call(link, "env")));
    expect(env).toMatchObject({ NOTES_TOKEN: "t", LANG: "de", HOME: import.meta.dir, cwd: import.meta.dir });
    expect(Object.keys(env).sort()).toEqual([
      "HOME",
      "LANG",
      "NOTES_TOKEN",
      "PATH",
      "TEST_RUN",
      "cwd",
      "uid",
    ]);
    expect(mark).toMatch(/^[0-9a-f-]{36}$/);
  } finally {
    for (const name of Object.keys(ours)) delete process.env[name];
  }
});

test("a gateway that is root does not lend that to a command without a folder", async () => {
  if (userInfo().uid !== 0) return;
  const config = {
    ...command([]),
    command: ["/bin/sh", "-c", "id -u >&2; id -G >&2; exit 1"],
    cwd: null,
  };
  const lines: string[] = [];
  const log: Log = { ...silentLog, debug: (_, fields: Fields = {}) => void lines.push(String(fields.line)) };
  await call(linkTo(config, { log }), "echo").catch(() => {});
  expect(Number(lines[0])).toBeGreaterThanOrEqual(60_578);
  expect(lines[1]).toBe(lines[0]);
});

test("what a command writes to its error output is logged without its secrets, cut and counted", async () => {
  const lines: unknown[] = [];
  const log: Log = {
    ...silentLog,
    debug: (event, { line } = {}) => void (event === "an upstream server wrote" && lines.push(line)),
  };
  const link = linkTo(command(["legacy"], { env: { TOKEN: "very-secret" } }), { log });
  await call(link, "complain", { text: "token very-secret \u001b[31m" });
  await call(link, "complain", { text: "x".repeat(100_000) });
  for (let n = 0; n < 200; n++) await call(link, "complain", { text: "again" });
  await Bun.sleep(50);
  expect(lines[0]).toBe("token [redacted]  [31m");
  expect(lines[1]).toBe("[a line of 100000 bytes]");
  expect(lines.length).toBe(100);
});

describe("a command that is not well", () => {
  test("and dies ends its calls, and is run again", async () => {
    const link = linkTo(command(["legacy"]));
    const waiting = codeOf(call(link, "hang"));
    expect(await codeOf(call(link, "die"))).toBe("upstream_failed");
    expect(await waiting).toBe("upstream_failed");
    expect(link.status()).toMatchObject({
      state: "down",
      reason: "The upstream server has exited with code 3.",
    });
    expect(await call(link, "echo")).toEqual(said("{}"));
    expect(link.status().state).toBe("up");
  });

  test("and dies again and again is run ever more rarely", async () => {
    const link = linkTo(command(["legacy"]), { backOffMs: 60_000 });
    const codes = [];
    for (let n = 0; n < 3; n++) codes.push(await codeOf(call(link, "die")));
    expect(codes).toEqual(["upstream_failed", "upstream_failed", "upstream_unavailable"]);
  });

  test("and answers late is nobody's", async () => {
    const link = linkTo(command(["modern"], { timeoutMs: 1_000 }));
    await call(link, "echo");
    const gone = new AbortController();
    const late = call(link, "late", { ms: 200 }, { signal: gone.signal });
    await Bun.sleep(50);
    gone.abort(new Error("gone"));
    await expect(late).rejects.toThrow("gone");
    expect(await call(link, "late", { ms: 300 })).toEqual(said("late"));
  });

  test("and writes too much fails the one call that asked for it", async () => {
    const link = linkTo(command(["legacy"]));
    const beside = call(link, "late", { ms: 300 });
    expect(await codeOf(call(link, "huge", { bytes: 20_000_000 }))).toBe("result_too_large");
    expect(await codeOf(call(link, "huge", { bytes: 5_000 }, { resultBytesMax: 4_000 }))).toBe(
      "result_too_large",
    );
    expect(await beside).toEqual(said("late"));
  });

  test("and writes a line without an end is ended, and never held", async () => {
    const link = linkTo(command(["legacy"]));
    // What the runtime keeps for reading is there after the first time.
    await codeOf(call(link, "endless", { mebibytes: 256 }));
    Bun.gc(true);
    const before = process.memoryUsage().rss;
    expect(await codeOf(call(link, "endless", { mebibytes: 2_048 }))).toBe("result_too_large");
    // Of the two gigabytes there is what the runtime has read and not swept yet, and then nothing.
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
    await Bun.sleep(300);
    Bun.gc(true);
    expect(process.memoryUsage().rss - before).toBeLessThan(20 << 20);
    await Bun.sleep(50);
    expect(await call(link, "echo")).toEqual(said("{}"));
  });

  test("and writes what is no message is borne for a while", async () => {
    const link = linkTo(command(["legacy"]));
    expect(await call(link, "garbage", { lines: 50 })).toEqual(said("after garbage"));
    expect(await codeOf(call(link, "garbage", { lines: 500 }))).toBe("upstream_failed");
  });

  test("and does not answer costs a caller the timeout, and is run anew when it goes on", async () => {
    const link = linkTo(command(["legacy"], { timeoutMs: 500 }), { backOffMs: 20 });
    await call(link, "echo");
    const hung = Array.from({ length: 5 }, () => codeOf(call(link, "hang")));
    expect(await Promise.all(hung)).toEqual(Array(5).fill("upstream_timeout"));
    await Bun.sleep(300);
    expect(await call(link, "echo")).toEqual(said("{}"));
  });
});

describe("when a link is closed", () => {
  test("nothing of a command is left, neither one that will not leave nor what it has started", async () => {
    const link = linkTo(command(["legacy", "stubborn", "endless", "family"]));
    const relative = await textOf(call(link, "family"));
    expect(existsSync(`/proc/${relative}`)).toBe(true);
    const hanging = codeOf(call(link, "hang"));
    const began = performance.now();
    await link.close();
    expect(await hanging).toBe("upstream_unavailable");
    expect(performance.now() - began).toBeLessThan(3_500);
    expect(childrenAlive()).toEqual([]);
    expect(readdirSync(dir)).toEqual([]);
  });

  test("a command that is just being run is gone too", async () => {
    const link = linkTo(command(["legacy", "silent"]));
    const starting = codeOf(call(link, "echo"));
    await Bun.sleep(100);
    await link.close();
    expect(await starting).toBe("upstream_unavailable");
    expect(childrenAlive()).toEqual([]);
  });
});

test("when the gateway is killed, a command leaves, and the next boot ends one that does not", async () => {
  const script = `
    import { openLink } from ${JSON.stringify(join(import.meta.dir, "open-link.ts"))};
    import { commandUpstream } from ${JSON.stringify(join(import.meta.dir, "../../testing/mcp-upstreams.ts"))};
    const log = { debug() {}, info() {}, warn() {}, error() {}, failure() {} };
    const needs = { fetch, log, clock: { now: Date.now, monotonic: () => 0 }, version: "1", childrenDir: ${JSON.stringify(dir)} };
    const asking = { caller: "one", signal: new AbortController().signal, resultBytesMax: 1000, traceparent: null };
    for (const words of [["legacy"], ["legacy", "stubborn", "endless", "family"]])
      await openLink(words.length === 1 ? "a" : "b", commandUpstream(words, { env: { TEST_RUN: ${JSON.stringify(run)} } }), needs).call("echo", {}, asking);
    console.log("ready");
    await Bun.sleep(60_000);
  `;
  const gateway = Bun.spawn([process.execPath, "-e", script], {
    stdout: "pipe",
    stderr: "inherit",
    cwd: import.meta.dir,
  });
  const { value } = await gateway.stdout.getReader().read();
  expect(Buffer.from(value ?? []).toString()).toBe("ready\n");
  expect(endLeftovers(dir)).toBe(0);
  expect(childrenAlive()).toHaveLength(3);
  gateway.kill("SIGKILL");
  await gateway.exited;
  await Bun.sleep(300);
  expect(childrenAlive()).toHaveLength(2);
  expect(endLeftovers(dir)).toBe(2);
  await Bun.sleep(100);
  expect(childrenAlive()).toEqual([]);
});

test("of 500 calls with commands and callers that are killed, each ends and nothing is left", async () => {
  const link = linkTo(command(["legacy", "family"], { callsMax: 1_000, timeoutMs: 5_000 }), {
    backOffMs: 1,
  });
  const ends = new Map<string, number>();
  const one = async (n: number): Promise<void> => {
    const caller = new AbortController();
    const name = n % 125 === 7 ? "die" : "late";
    const asked = call(link, name, { ms: Math.random() * 30 }, { signal: caller.signal });
    if (n % 5 === 0) setTimeout(() => caller.abort(new Error("gone")), Math.random() * 30);
    const end = await asked.then(
      () => "answered",
      (error: unknown) => (error instanceof Failure ? error.code : (error as Error).message),
    );
    ends.set(end, (ends.get(end) ?? 0) + 1);
  };
  let kills = 6;
  const killer = setInterval(() => {
    const pid = childrenAlive()[0];
    if (pid === undefined || link.status().state !== "up" || kills-- <= 0) return;
    process.kill(Number(pid), "SIGKILL");
  }, 300);
  for (let wave = 0; wave < 50; wave++) {
    await Promise.all(Array.from({ length: 10 }, (_, n) => one(wave * 10 + n)));
    while (link.status().state === "down") {
      await Bun.sleep(20);
      await call(link, "echo").catch(() => {});
    }
  }
  clearInterval(killer);
  const known = ["answered", "gone", "upstream_failed", "upstream_unavailable"];
  expect([...ends.keys()].filter((end) => !known.includes(end))).toEqual([]);
  expect([...ends.values()].reduce((sum, each) => sum + each)).toBe(500);
  expect(ends.get("answered") ?? 0).toBeGreaterThan(100);
  await link.close();
  expect(childrenAlive()).toEqual([]);
});
