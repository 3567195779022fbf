import { afterAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import type { Database, Sql } from "../../db/database.ts";
import type { McpDecision } from "../../db/mcp-decision.ts";
import { openDatabase } from "../../db/open.ts";
import { systemClock } from "../../platform/clock.ts";
import { type DataDir, openDataDir } from "../../platform/data-dir.ts";
import { newId } from "../../platform/ids.ts";
import { openJournal } from "../../platform/journal/journal.ts";
import { silentLog } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import { ownCluster, testDatabase, testDir } from "../../testing/cluster.ts";
import { decided, mcpCall } from "../../testing/decisions.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { wireAudit, wireDecisions } from "../../wiring-audit.ts";
import { openLedger } from "../usage/ledger.ts";
import { argumentKey, canonicalJson, markOf } from "./argument-mark.ts";
import { noteOf, noteStart, rowOf } from "./decision-row.ts";
import { Decisions } from "./decisions.ts";
import { openHeads } from "./heads.ts";
import { insertDecided } from "./store.ts";
import { verify } from "./verify.ts";

const { database, drop } = await testDatabase();
const closing: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
  await drop();
});

const secret = "a signing secret that two gateways share, 32 bytes";
const clock = systemClock();
const origin = { instance: crypto.randomUUID(), boot: 1 };
type Mode = "disk" | "database";

/** One boot of a gateway over `dir`, as far as the audit log goes. */
async function bootOf(on: { dir?: DataDir; database?: Database; epoch?: number; mode?: Mode } = {}) {
  const { dir = testDir(), epoch = 1, mode = "disk" } = on;
  const input = { dir, database: on.database ?? database, clock, log: silentLog };
  const boot = { instance: dir.instance, epoch, bootId: "boot" };
  const audit = await wireAudit({ ...input, boot });
  const ledger = await openLedger({ ...input, mode, boot, notes: audit.notes });
  const config = { jwtSecrets: [new Secret(secret)] };
  const { records, copy, ...decisions } = wireDecisions({ ...input, config }, audit, ledger);
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    await decisions.close();
    await ledger.close();
  };
  closing.push(close);
  return { dir, audit, ledger, records, copy, close };
}

const rowsOf = (decision: Pick<McpDecision, "call">, sql: Sql = database.sql) =>
  sql`select * from audit where request_id = ${decision.call.id} order by id`;

const linesIn = (dir: DataDir): Record<string, unknown>[] =>
  readdirSync(dir.file("audit"))
    .filter((name) => name.startsWith("mcp-"))
    .flatMap((name) =>
      readFileSync(dir.file(`audit/${name}`), "utf8")
        .trim()
        .split("\n"),
    )
    .map((line) => JSON.parse(line));

async function verified(over: Database = database, dir: DataDir = testDir()) {
  const heads = openHeads(dir.file("audit/heads.jsonl"));
  return await verify({ db: over.db, heads }, { from: null, to: null });
}

describe("a decision at the MCP door", () => {
  test("is one sealed row, and one line of the daily file, without its arguments", async () => {
    const { dir, audit, ledger, records, copy } = await bootOf();
    const args = { note: "the patient's name", task_id: "tsk_1" };
    const call = mcpCall({
      "user-agent": "desk/1",
      traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    });
    const decision = decided({ call, args, upstream: "github", pin: "sha256:1", sessionId: "ses_1" });
    await records.record(decision);
    await ledger.settled();
    await copy.flush();
    const rows = await rowsOf(decision);
    const common = { era: "modern", verdict: "allowed", rule: "allow **", tool: "task_get" };
    const outcome = { transport: 200, rpc: null, tool: "ok" };
    const args_hmac = markOf(argumentKey(secret), args);
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({
      actor: "cli_runner",
      actor_kind: "client",
      client_id: "cli_runner",
      action: "mcp.called",
      subject: "task_get",
      project_id: "prj_one",
      session_id: "ses_1",
      ip: "127.0.0.1",
      user_agent: "desk/1",
      outcome: "ok",
      details: {
        ...{ ...common, outcome, args_hmac, method: "tools/call", revisions: { cli_runner: 3 } },
        ...{ upstream: "github", pin: "sha256:1", bytes_in: 300, bytes_out: 1_200, ms: 1.2 },
        trace_id: "a".repeat(32),
      },
    });
    const line = linesIn(dir).find((one) => one.request === call.id);
    expect(line).toMatchObject({ ...common, outcome, args_hmac, event: rows[0]?.event_id, bytes_in: 300 });
    expect(JSON.stringify([rows, linesIn(dir)])).not.toContain("patient");
    await audit.sealer.start();
    while ((await verified()).unsealed > 0) await Bun.sleep(20);
    await audit.sealer.stop();
    expect(await verified(database, dir)).toMatchObject({ outcome: "intact", unsealed: 0 });
  });

  test("says what was done and how it ended", async () => {
    const { ledger, records } = await bootOf();
    const cases: [Partial<McpDecision>, string, string][] = [
      [{ method: "tools/list", tool: null, args: undefined }, "mcp.listed", "ok"],
      [{ method: "resources/read", tool: "specgate://tasks/tsk_1" }, "mcp.read", "ok"],
      [{ method: "server/discover", tool: null }, "mcp.asked", "ok"],
      [{ verdict: "hidden" }, "mcp.refused", "refused"],
      [{ verdict: "malformed", method: null, tool: null, era: null }, "mcp.refused", "refused"],
      [{ outcome: { transport: 200, rpc: null, tool: "error" } }, "mcp.called", "failed"],
      [{ outcome: { transport: 200, rpc: -32603, tool: null } }, "mcp.called", "failed"],
      [{ outcome: { transport: 504, rpc: null, tool: null } }, "mcp.called", "failed"],
    ];
    const decisions = cases.map(([over]) => decided(over));
    await Promise.all(decisions.map((decision) => records.record(decision)));
    await ledger.settled();
    for (const [at, decision] of decisions.entries()) {
      const [row, ...more] = await rowsOf(decision);
      expect([row?.action, row?.outcome, more.length]).toEqual([...(cases[at]?.slice(1) ?? []), 0] as never);
    }
  });

  test("that changed something with a row of its own adds only a line", async () => {
    const { dir, ledger, records, copy } = await bootOf();
    const own = decided({ call: Object.assign(mcpCall(), { via: { details: {}, isRecorded: true } }) });
    const failed = decided({
      call: Object.assign(mcpCall(), { via: { details: {}, isRecorded: true } }),
      outcome: { transport: 200, rpc: null, tool: "error" },
    });
    const unsaid = decided({ call: Object.assign(mcpCall(), { via: { details: {}, isRecorded: false } }) });
    for (const decision of [own, failed, unsaid]) await records.record(decision);
    await ledger.settled();
    await copy.flush();
    expect(await rowsOf(own)).toHaveLength(0);
    expect(await rowsOf(failed)).toHaveLength(1);
    expect(await rowsOf(unsaid)).toHaveLength(1);
    const requests = linesIn(dir).flatMap(({ request }) => request ?? []);
    expect(requests).toEqual([own, failed, unsaid].map(({ call }) => call.id));
  });

  test("outlives a gateway that was killed, and is there once, however often it is drained", async () => {
    const place = testDir();
    const journalDir = place.file("journal");
    mkdirSync(journalDir);
    const options = { dir: journalDir, instance: place.instance, epoch: 1, bootId: "boot", log: silentLog };
    const written = await openJournal(options);
    const records = new Decisions({
      note: async (json) => await written.note(json).durable,
      rows: { add: () => Promise.reject(new Error("no row")), addLate: () => undefined },
      copy: { append: () => undefined },
      origin: { instance: place.instance, boot: 1 },
      key: argumentKey(secret),
      clock,
    });
    const made = Array.from({ length: 700 }, () => decided());
    await Promise.all(made.map((decision) => records.record(decision)));
    // As a kill leaves it: nothing was closed.
    const dir = testDir();
    cpSync(journalDir, dir.file("journal"), { recursive: true });
    await Bun.write(dir.file("instance"), `${place.instance}\n`);
    const again = openDataDir(dir.path, { create: false });
    await written.close();
    const count = async () => {
      const ids = made.map(({ call }) => call.id);
      const [row] = await database.sql`
        select count(*)::int as n, count(distinct event_id)::int as events from audit
        where request_id = any(${ids}::text[])`;
      return [row?.n, row?.events];
    };
    const second = await bootOf({ dir: again, epoch: 2 });
    await second.ledger.settled();
    await second.close();
    expect(await count()).toEqual([700, 700]);
    // The database says that it knows nothing of them, and has them all the same.
    await database.sql`update watermarks set lsn = 0 where instance = ${place.instance}`;
    const third = await bootOf({ dir: again, epoch: 3 });
    await third.ledger.settled();
    expect(await count()).toEqual([700, 700]);
    // None of them had come to its line.
    while (linesIn(again).length < 701) await Bun.sleep(20);
    const restored = linesIn(again).filter((line) => line.restored === true);
    expect(new Set(restored.map(({ request }) => request))).toEqual(new Set(made.map(({ call }) => call.id)));
  });

  test("is refused an answer while the journal is down, as a call would be", async () => {
    const { dir, ledger, records, copy } = await bootOf();
    await ledger.close();
    await expect(records.record(decided())).rejects.toMatchObject({
      code: "journal_unavailable",
      status: 503,
    });
    await copy.flush();
    expect(linesIn(dir).at(-1)).toMatchObject({ tool: "task_get", withheld: true });
  });

  test("that reached the database ten minutes late is not taken for one that was never sealed", async () => {
    const decision = decided();
    const recorded = { origin, eventId: newId("evt"), at: Date.now() - 600_000, argsMark: null };
    const rows = `[${JSON.stringify(rowOf(decision, recorded))}]`;
    await database.sql.begin((tx) => insertDecided(tx, 1, rows));
    await database.sql.begin((tx) => insertDecided(tx, 1, rows));
    const [row, ...more] = await rowsOf(decision);
    expect(more).toEqual([]);
    expect(Date.parse(row?.details.stored_at) - row?.at.getTime()).toBeGreaterThan(599_000);
    const found = await verified();
    expect([found.outcome, found.unsealed > 0]).toEqual(["intact", true]);
  });

  test("reaches the database beside calls, which do not wait for it", async () => {
    const { ledger, records } = await bootOf();
    const start = startRecord();
    const decisions = Array.from({ length: 1_200 }, () => decided());
    const kept = decisions.map((decision) => records.record(decision));
    await ledger.books.start(start).durable;
    await ledger.books.end(endRecord(start));
    await Promise.all(kept);
    await ledger.settled();
    const [call] = await database.sql`select state from requests where id = ${start.req}`;
    expect(call?.state).toBe("settled");
    const ids = decisions.map(({ call: { id } }) => id);
    const [row] =
      await database.sql`select count(*)::int as n from audit where request_id = any(${ids}::text[])`;
    expect(row?.n).toBe(1_200);
  });
});

describe("while the database is away", () => {
  test("reads are answered, and their rows come later, late and intact", async () => {
    const cluster = await ownCluster();
    const endpoint = cluster.embedded.gateway;
    const own = await openDatabase({
      endpoint,
      direct: null,
      prepare: true,
      applicationName: "specgate/mcp",
    });
    const { audit, ledger, records, close } = await bootOf({ database: own });
    await audit.sealer.start();
    const made: McpDecision[] = [];
    cluster.freeze();
    const until = performance.now() + 5_500;
    const slowest: number[] = [];
    while (performance.now() < until) {
      const began = performance.now();
      const batch = Array.from({ length: 20 }, () => decided());
      await Promise.all(batch.map((decision) => records.record(decision)));
      made.push(...batch);
      slowest.push(performance.now() - began);
      await Bun.sleep(20);
    }
    cluster.thaw();
    expect(Math.max(...slowest)).toBeLessThan(3_000);
    await ledger.settled();
    const [counted] = await own.sql`
      select count(*)::int as n, count(details ->> 'stored_at')::int as late from audit where action = 'mcp.called'`;
    expect(counted?.n).toBe(made.length);
    expect(counted?.late).toBeGreaterThan(0);
    while ((await verified(own)).unsealed > 0) await Bun.sleep(50);
    expect(await verified(own)).toMatchObject({ outcome: "intact" });
    await close();
    await audit.sealer.stop();
    await own.close();
    await cluster.stop();
  }, 90_000);

  test("a change on another server is not made without its row, and its outcome is not lost", async () => {
    const cluster = await ownCluster();
    const endpoint = cluster.embedded.gateway;
    const own = await openDatabase({
      endpoint,
      direct: null,
      prepare: true,
      applicationName: "specgate/mcp",
    });
    const { ledger, records, close } = await bootOf({ database: own });
    const federated = () => decided({ tool: "github__issue_create", upstream: "github" });
    const [made, refused] = [federated(), federated()];
    await records.intend(made);
    expect(await rowsOf(made, own.sql)).toMatchObject([{ action: "mcp.intended", outcome: "ok" }]);
    cluster.kill();
    await expect(records.intend(refused)).rejects.toMatchObject({ code: "unavailable", status: 503 });
    // The call was made meanwhile: its outcome is kept by the journal.
    await records.record(made);
    await ledger.settled();
    const [intent, outcome, ...more] = await rowsOf(made, own.sql);
    expect(more).toEqual([]);
    expect(outcome).toMatchObject({ action: "mcp.called", details: { intent: intent?.event_id } });
    expect(await rowsOf(refused, own.sql)).toHaveLength(0);
    await close();
    await own.close();
    await cluster.stop();
  }, 60_000);

  test("without a journal nothing is answered, and the outcome of what was done comes afterwards", async () => {
    const cluster = await ownCluster();
    const endpoint = cluster.embedded.gateway;
    const own = await openDatabase({
      endpoint,
      direct: null,
      prepare: true,
      applicationName: "specgate/mcp",
    });
    const { records, close } = await bootOf({ database: own, mode: "database" });
    const [read, made] = [decided(), decided({ upstream: "github" })];
    await records.intend(made);
    cluster.kill();
    const refused = { code: "journal_unavailable", status: 503 };
    await expect(records.record(read)).rejects.toMatchObject(refused);
    await expect(records.record(made)).rejects.toMatchObject(refused);
    while ((await rowsOf(made, own.sql).catch(() => [])).length < 2) await Bun.sleep(50);
    expect(await rowsOf(made, own.sql)).toMatchObject([{ action: "mcp.intended" }, { action: "mcp.called" }]);
    await close();
    await own.close();
    await cluster.stop();
  }, 60_000);
});

describe("without a journal", () => {
  test("many decisions are committed in few transactions before they are answered", async () => {
    const { records } = await bootOf({ mode: "database" });
    const decisions = Array.from({ length: 1_000 }, () => decided());
    await Promise.all(decisions.map((decision) => records.record(decision)));
    const ids = decisions.map(({ call }) => call.id);
    const [counted] = await database.sql`
      select count(*)::int as n, count(distinct xid::text)::int as transactions from audit
      where request_id = any(${ids}::text[])`;
    expect(counted?.n).toBe(1_000);
    expect(counted?.transactions).toBeLessThan(20);
  });

  test("a call whose outcome never came shows its intention alone", async () => {
    const { records } = await bootOf({ mode: "database" });
    const decision = decided({ upstream: "github" });
    await records.intend(decision);
    expect(await rowsOf(decision)).toMatchObject([{ action: "mcp.intended", subject: "task_get" }]);
  });
});

const key = argumentKey(secret);

describe("the mark of arguments", () => {
  test("is the same for the same arguments, however their members are ordered", () => {
    const shuffled = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(shuffled);
      if (typeof value !== "object" || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .toReversed()
          .map(([name, one]) => [name, shuffled(one)]),
      );
    };
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(canonicalJson(shuffled(value))).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value) ?? "")).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  test("differs for other arguments, and under another secret", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
        fc.pre(canonicalJson(one) !== canonicalJson(other) && one !== null);
        expect(markOf(key, one)).not.toBe(markOf(key, other));
        expect(markOf(key, one)).not.toBe(markOf(argumentKey("another secret of at least 32 bytes"), one));
      }),
    );
    expect(markOf(key, { a: 1 })).toMatch(/^[0-9a-f]{64}$/);
  });

  test("costs no more than a request's body can", () => {
    let deep: unknown = 1;
    for (let depth = 0; depth < 100_000; depth++) deep = [deep];
    expect(markOf(key, deep)).toBeNull();
    expect(markOf(key, { text: "x".repeat(5 * 1024 * 1024) })).toBeNull();
    const began = performance.now();
    expect(markOf(key, { text: "x".repeat(2 * 1024 * 1024) })).not.toBeNull();
    expect(performance.now() - began).toBeLessThan(1_500);
  });
});

test("a note fits into the journal whatever a caller calls things, and says who it was", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 3_000 }),
    fc.string({ minLength: 900, maxLength: 2_000 }).map((one) => one.replaceAll(/./g, "\u0000")),
  );
  fc.assert(
    fc.property(text, text, text, fc.dictionary(text, fc.integer()), (tool, rule, upstream, revisions) => {
      const decision = decided({ tool, rule, upstream, pin: rule, revisions });
      const row = rowOf(decision, { origin, eventId: newId("evt"), at: Date.now(), argsMark: null });
      const note = noteOf(row);
      expect(Buffer.byteLength(note)).toBeLessThanOrEqual(8_192);
      expect(note.startsWith(noteStart)).toBe(true);
      const { event_id, actor, request_id, details } = JSON.parse(note);
      expect([event_id, actor, request_id]).toEqual([row.event_id, row.actor, row.request_id]);
      expect(details.verdict).toBe("allowed");
    }),
    { numRuns: 60 },
  );
});
