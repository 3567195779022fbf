import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { Elysia } from "elysia";
import type { LedgerRecord } from "../../db/ledger.ts";
import { beginCall } from "../../platform/call.ts";
import { createGuard, unauthenticated } from "../../platform/guard.ts";
import { createLimits } from "../../platform/limits.ts";
import { silentLog } from "../../platform/log.ts";
import { createCursors } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import type { RequestRow, Summary } from "./contract.ts";
import { Exports } from "./export.ts";
import { mergeBatch } from "./merge.ts";
import { usageRoutes } from "./routes.ts";
import { Usage, usageOfAll } from "./usage.ts";

const { database, drop } = await testDatabase();
afterAll(drop);
const owner = { instance: crypto.randomUUID(), epoch: 1 };

const merge = async (...records: LedgerRecord[]) => {
  await mergeBatch(database.sql, owner, {
    records: records.map((record) => JSON.stringify(record)),
    epoch: 1,
    reach: null,
  });
};

const person = (id: string, over: Partial<Principal> = {}): Principal => ({
  ...{
    id,
    kind: "user",
    role: "user",
    credential: "access_token",
    credentialId: id,
    holderId: id,
    endsWith: [id],
    signInId: null,
    userId: id,
    email: null,
    memberships: new Map(),
    clientId: null,
  },
  ...{ clientKind: null, keyId: null, projectId: null, sessionId: null },
  scopes: new Set(["usage:read"]),
  reach: new Set(["usage:read"]),
  expiresAt: Number.POSITIVE_INFINITY,
  ...over,
});
const client = (id: string, over: Partial<Principal> = {}): Principal =>
  person(id, { kind: "client", role: "runner", userId: null, clientId: id, clientKind: "service", ...over });

const principals: Record<string, Principal> = {
  ada: person("usr_ada", { role: "admin", scopes: new Set(["usage:read", "admin"]) }),
  adaKey: person("usr_ada", { role: "admin", credential: "api_key" }),
  ed: person("usr_ed"),
  robo: client("cli_robo", { projectId: "prj_1" }),
  bound: client("cli_robo", { projectId: "prj_1", sessionId: "ses_1" }),
  boundByEd: person("usr_ed", { projectId: "prj_1", sessionId: "ses_1" }),
  solo: client("cli_solo"),
  mallory: client("cli_mallory", { projectId: "prj_2" }),
  noscope: client("cli_solo", { scopes: new Set(["llm:chat"]) }),
};

const guard = createGuard({
  authenticate: (bearer) => {
    const found = principals[bearer];
    if (found === undefined) throw unauthenticated("who?");
    return found;
  },
  authenticateCookie: () => null,
  publicUrl: () => "http://127.0.0.1",
  resourceMetadata: () => "",
  locate: () => null,
  limits: createLimits(() => ({ requests: { control: null, llm: null, mcp: null }, llmTokens: null })),
  log: silentLog,
});
const cursors = createCursors(new Uint8Array(32).fill(7));
const usage = new Usage({ db: database.db, cursors });
const exports = new Exports({ db: database.db, onRevoked: () => () => {}, isEnded: async () => false });
const app = new Elysia({ prefix: "/api/v1" }).use(usageRoutes({ guard, usage, exports }));

async function send(as: string, path: string): Promise<Response> {
  const request = new Request(`http://127.0.0.1/api/v1${path}`, {
    headers: { authorization: `Bearer ${as}` },
  });
  beginCall(request, new URL(request.url), { address: () => null, stayOpen: () => {} });
  return await app.handle(request);
}

type Listed = { data: RequestRow[]; next_cursor: string | null };
const get = async <Answer = Listed>(as: string, path: string): Promise<Answer> => {
  const response = await send(as, path);
  expect(response.status).toBe(200);
  return (await response.json()) as Answer;
};
const mistakes = async (path: string): Promise<{ path: string; message: string }[]> => {
  const response = await send("ada", path);
  expect(response.status).toBe(400);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = (await response.json()) as { code: string; errors: { path: string; message: string }[] };
  return problem.errors;
};

async function clear(): Promise<void> {
  await database.sql.unsafe(
    "delete from requests; delete from attempts; delete from usage_hours; delete from usage_tag_hours; delete from usage_spans; delete from usage_marks",
  );
}

/** A finished call at a minute of one day. */
function callAt(minute: number, over: Parameters<typeof startRecord>[0] = {}): LedgerRecord[] {
  const start = startRecord({ at: new Date(Date.UTC(2026, 4, 1, 0, minute)).toISOString(), ...over });
  return [start, endRecord(start)];
}

describe("GET /usage/requests", () => {
  beforeEach(clear);

  test("shows a call in the contract's shape, with each attempt", async () => {
    const first = startRecord({
      ...{
        at: "2026-05-01T10:00:00.123Z",
        client_id: "cli_solo",
        principal: "cli_solo",
        tags: { team: "a" },
      },
      ...{ trace_id: "t".repeat(32), requested_model: "fast" },
    });
    const second = startRecord({
      ...first,
      att: 2,
      provider: "claude",
      model: "haiku",
      at: "2026-05-01T10:00:01.000Z",
    });
    const failed = endRecord(first, {
      state: "failed",
      status: 500,
      error: "provider_error",
      cost: 0,
      usage: null,
      close: null,
    });
    await merge(
      first,
      failed,
      second,
      endRecord(second, { cost: 125_000, close: { duration_ms: 1_300, charged: 125_000 } }),
    );
    const prices = { input: "0.15", cached_read: "0.075", cache_write: "0.15", output: "0.60" };
    const none = {
      input: null,
      output: null,
      cached_read: null,
      cache_write: null,
      reasoning: null,
      audio: null,
    };
    const used = { ...none, input: 10, output: 20, cached_read: 0 };
    const expected = {
      ...{ id: first.req, state: "settled", at: "2026-05-01T10:00:00.123Z", endpoint: "chat/completions" },
      ...{ requested_model: "fast", model: "haiku", provider: "claude", project_id: null, session_id: null },
      ...{ iteration_id: null, task_id: null, principal: "cli_solo", client_id: "cli_solo", key_id: null },
      ...{
        tags: { team: "a" },
        stream: true,
        status: 200,
        delivery: "whole",
        usage: used,
        cost_usd: "0.000125",
      },
      ...{
        charged_usd: "0.000125",
        prices,
        first_token_ms: 40,
        duration_ms: 1_300,
        trace_id: "t".repeat(32),
      },
      attempts: [
        {
          ...{
            attempt: 1,
            state: "failed",
            at: "2026-05-01T10:00:00.123Z",
            provider: "openai",
            model: "gpt-4o-mini",
          },
          ...{ status: 500, error: "provider_error", usage: none, cost_usd: "0.00", prices },
          ...{ first_token_ms: 40, duration_ms: 250 },
        },
        {
          ...{
            attempt: 2,
            state: "settled",
            at: "2026-05-01T10:00:01.000Z",
            provider: "claude",
            model: "haiku",
          },
          ...{ status: 200, error: null, usage: used, cost_usd: "0.000125", prices },
          ...{ first_token_ms: 40, duration_ms: 250 },
        },
      ],
    };
    expect(await get<unknown>("solo", "/usage/requests")).toEqual({ data: [expected], next_cursor: null });
    expect(await get<unknown>("solo", `/usage/requests/${first.req}`)).toEqual(expected);
  });

  test("does not show a call that is still open", async () => {
    const open = startRecord();
    await merge(open);
    expect(await get("ada", "/usage/requests")).toEqual({ data: [], next_cursor: null });
    expect((await send("ada", `/usage/requests/${open.req}`)).status).toBe(404);
  });

  test("shows each credential its own rows and denies that there are others", async () => {
    const calls = {
      project: callAt(1, { project_id: "prj_1", client_id: "cli_robo", session_id: "ses_2" }),
      session: callAt(0, { project_id: "prj_1", client_id: "cli_robo", session_id: "ses_1" }),
      projectByEd: callAt(2, { project_id: "prj_1", client_id: null, user_id: "usr_ed" }),
      solo: callAt(3, { client_id: "cli_solo" }),
      ada: callAt(4, { client_id: null, user_id: "usr_ada" }),
    };
    await merge(...Object.values(calls).flat());
    const ids = Object.fromEntries(Object.entries(calls).map(([name, [start]]) => [name, start?.req]));
    const seen: Record<string, string[]> = {
      ada: ["ada", "solo", "projectByEd", "project", "session"],
      adaKey: ["ada"],
      ed: ["projectByEd"],
      robo: ["projectByEd", "project", "session"],
      bound: ["session"],
      boundByEd: ["session"],
      solo: ["solo"],
      mallory: [],
    };
    for (const [who, names] of Object.entries(seen)) {
      const { data } = await get(who, "/usage/requests");
      expect(data.map((row) => row.id)).toEqual(names.map((name) => ids[name] ?? ""));
      for (const [name, id] of Object.entries(ids))
        expect((await send(who, `/usage/requests/${id}`)).status).toBe(names.includes(name) ? 200 : 404);
      const { totals } = await get<Summary>(who, "/usage/summary");
      expect(totals.requests).toBe(names.length);
      const file = await (await send(who, "/usage/export?format=ndjson")).text();
      expect(file.match(/"id":"req_\w+"/g) ?? []).toHaveLength(names.length);
    }
    for (const path of ["/usage/requests", "/usage/export?format=ndjson"])
      expect(
        await (await send("bound", `${path}${path.includes("?") ? "&" : "?"}session=ses_2`)).text(),
      ).not.toContain("req_");
    expect((await get<Summary>("bound", "/usage/summary?group_by=session")).data).toMatchObject([
      { session: "ses_1", requests: 1 },
    ]);
    expect((await send("ada", "/usage/requests/req_0")).status).toBe(404);
  });

  test("needs a credential with the scope usage:read", async () => {
    for (const path of ["/usage/requests", "/usage/requests/req_1", "/usage/summary"]) {
      expect((await send("nobody", path)).status).toBe(401);
      expect((await send("noscope", path)).status).toBe(403);
    }
  });

  test("filters by time, model, provider, client, key and state", async () => {
    const [, failed] = [callAt(0), callAt(5, { key_id: "key_1", model: "m5" })];
    const bad = startRecord({ at: "2026-05-01T00:09:00.000Z", provider: "claude", requested_model: "alias" });
    await merge(
      ...callAt(0, { client_id: "cli_z" }),
      ...failed,
      bad,
      endRecord(bad, { state: "failed", status: 400 }),
    );
    const minutes = async (query: string) =>
      (await get("ada", `/usage/requests?${query}`)).data.map((row) => new Date(row.at).getUTCMinutes());
    expect(await minutes("")).toEqual([9, 5, 0]);
    expect(await minutes("from=2026-05-01T00:05:00Z")).toEqual([9, 5]);
    expect(await minutes("to=2026-05-01T00:05:00.000Z")).toEqual([0]);
    expect(await minutes("from=2026-05-01&to=2026-05-02")).toEqual([9, 5, 0]);
    expect(await minutes("from=2026-05-01T02%3A05%3A00%2B02%3A00&to=2026-05-01T00:06:00Z")).toEqual([5]);
    expect(await minutes("model=m5")).toEqual([5]);
    expect(await minutes("model=alias")).toEqual([9]);
    expect(await minutes("provider=claude")).toEqual([9]);
    expect(await minutes("client=cli_z")).toEqual([0]);
    expect(await minutes("key=key_1")).toEqual([5]);
    expect(await minutes("state=failed")).toEqual([9]);
    expect(await minutes("state=unknown")).toEqual([]);
  });

  test("pages without a skip or a repeat while calls are added", async () => {
    // Several calls a minute, so that the id has to break ties.
    const calls = Array.from({ length: 60 }, (_, i) => callAt(Math.floor(i / 4)));
    await merge(...calls.flat());
    const before = new Set(calls.map(([start]) => start?.req));
    const seen: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page: Listed = await get("ada", `/usage/requests?limit=7${cursor && `&cursor=${cursor}`}`);
      expect(page.data.length).toBeLessThanOrEqual(7);
      seen.push(...page.data.map((row) => row.id));
      cursor = page.next_cursor;
      await merge(...callAt(100 + seen.length), ...callAt(1_000 + seen.length));
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((id) => before.has(id))).toHaveLength(60);
  });

  test("gives a short page and where to go on when what is asked for is rare, and an export all of it", async () => {
    const patience = { milliseconds: 0, stretch: [7, 7] } as const;
    const hasty = new Usage({ db: database.db, cursors, patience });
    const files = new Exports({
      db: database.db,
      onRevoked: () => () => {},
      isEnded: async () => false,
      patience,
    });
    const calls = Array.from({ length: 60 }, (_, n) => callAt(n, n % 20 === 1 ? { model: "rare" } : {}));
    await merge(...calls.flat());
    const rare = calls.flatMap(([start], n) => (n % 20 === 1 && start !== undefined ? [start.req] : []));
    const ada = principals.ada as Principal;
    const seen: string[][] = [];
    let cursor: string | undefined;
    do {
      const page = await hasty.list(ada, { limit: 2, model: "rare", ...(cursor && { cursor }) });
      seen.push(page.data.map(({ id }) => id));
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen.length).toBe(9);
    expect(seen.flat()).toEqual(rare.toReversed());
    const file = await files.open(ada, { format: "ndjson", filters: { model: "rare" } });
    const lines = (await new Response(file).text()).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).id)).toEqual(rare);
    const none = await files.open(ada, { format: "ndjson", filters: { model: "none" } });
    expect(await new Response(none).text()).toBe("");
  });

  test("refuses every mistake in the query, and names it", async () => {
    expect(
      (await mistakes("/usage/requests?limit=0&state=open&form=x&from=yesterday"))
        .map(({ path }) => path)
        .sort(),
    ).toEqual(["form", "from", "limit", "state"]);
    expect(await mistakes("/usage/requests?limit=201")).toMatchObject([{ path: "limit" }]);
    expect(await mistakes("/usage/requests?state=failed&state=settled")).toMatchObject([{ path: "state" }]);
    await merge(...callAt(1), ...callAt(2));
    const { next_cursor } = await get("ada", "/usage/requests?limit=1");
    const forged = `${next_cursor?.slice(0, -2)}AA`;
    for (const cursor of [forged, "", "x", cursors.seal("other", ["2026-05-01T00:00:00.000Z", "req_1"])])
      expect(await mistakes(`/usage/requests?cursor=${cursor}`)).toMatchObject([{ path: "cursor" }]);
  });
});

describe("GET /usage/summary", () => {
  beforeAll(async () => {
    await clear();
    const day = (number: number, hour: number) => new Date(Date.UTC(2026, 4, number, hour, 30)).toISOString();
    const mini = { model: "mini", project_id: "prj_1", client_id: "cli_robo" };
    const haiku = { model: "haiku", provider: "claude", client_id: "cli_solo" };
    const [a, b, c, d] = [
      startRecord({ at: day(1, 10), ...mini }),
      startRecord({ at: day(1, 11), ...mini }),
      startRecord({ at: day(2, 10), ...haiku }),
      startRecord({ at: day(2, 10), ...haiku }),
    ];
    await merge(
      ...[a, endRecord(a, { cost: 1_000_000_000, duration_ms: 100, first_token_ms: 10 })],
      ...[b, endRecord(b, { state: "failed", status: 500, cost: 0, usage: null, duration_ms: 1_000 })],
      ...[
        c,
        endRecord(c, {
          ...{ cost: 500_000, duration_ms: 200, first_token_ms: null },
          // An earlier attempt, whose end nobody saw, is charged with it.
          close: { charged: 2_000_000_000 },
        }),
      ],
      ...[d, { t: "lost" as const, req: d.req, att: 1, charged: 7_000_000_000 }],
    );
  });

  const summary = (query: string, as = "ada") => get<Summary>(as, `/usage/summary?${query}`);

  test("groups by one dimension, the dearest first, and adds everything up", async () => {
    const { data, totals } = await summary("group_by=model");
    expect(data).toMatchObject([
      { model: "mini", cost_usd: "1.00", charged_usd: "1.00", unknown_usd: "0.00", requests: 2, errors: 1 },
      {
        model: "haiku",
        cost_usd: "0.0005",
        charged_usd: "9.00",
        unknown_usd: "7.00",
        requests: 2,
        errors: 0,
      },
    ]);
    expect(totals).toMatchObject({
      ...{ cost_usd: "1.0005", charged_usd: "10.00", unknown_usd: "7.00", requests: 4, errors: 1 },
      usage: { input: 20, output: 40, cached_read: 0, cache_write: 0, reasoning: 0, audio: 0 },
    });
    expect(Object.keys(data[0] ?? {}).sort()).toEqual([
      "charged_usd",
      "cost_usd",
      "errors",
      "first_token_ms",
      "latency_ms",
      "model",
      "requests",
      "unknown_usd",
      "usage",
    ]);
  });

  test("tells the percentiles of what has a latency", async () => {
    const { data, totals } = await summary("group_by=provider");
    const near = (value: number | null | undefined, ms: number) =>
      expect(Math.abs((value ?? 0) - ms)).toBeLessThanOrEqual(ms * 0.05 + 1);
    near(data[0]?.latency_ms.p50, 100);
    near(data[0]?.latency_ms.p95, 1_000);
    near(totals.latency_ms.p50, 200);
    near(totals.first_token_ms.p95, 40);
    expect(data[1]?.first_token_ms).toEqual({ p50: null, p95: null });
  });

  test("groups by time in order, by two at once, and says null where there is none", async () => {
    const days = (await summary("group_by=day")).data;
    expect(days.map((row) => row.day)).toEqual(["2026-05-01T00:00:00.000Z", "2026-05-02T00:00:00.000Z"]);
    const hours = (await summary("group_by=hour,project")).data;
    expect(hours.map((row) => [row.hour, row.project])).toEqual([
      ["2026-05-01T10:00:00.000Z", "prj_1"],
      ["2026-05-01T11:00:00.000Z", "prj_1"],
      ["2026-05-02T10:00:00.000Z", null],
    ]);
    const repeated = (await summary("group_by=client&group_by=provider")).data;
    expect(repeated.map((row) => [row.client, row.provider])).toEqual([
      ["cli_robo", "openai"],
      ["cli_solo", "claude"],
    ]);
    for (const group of ["session", "iteration", "task", "user", "key"])
      expect((await summary(`group_by=${group}`)).data).toMatchObject([{ [group]: null, requests: 4 }]);
  });

  test("covers the whole hours that a span touches", async () => {
    expect((await summary("from=2026-05-01T11:59:00Z&to=2026-05-02T10:00:00Z")).totals.requests).toBe(1);
    expect((await summary("from=2026-05-02")).totals).toMatchObject({ requests: 2 });
    expect(await summary("from=2027-01-01&group_by=model")).toMatchObject({
      data: [],
      totals: { cost_usd: "0.00", requests: 0, latency_ms: { p50: null, p95: null } },
    });
  });

  test("refuses groups that it does not have", async () => {
    for (const query of [
      "group_by=color",
      "group_by=",
      "group_by=hour,day,model",
      "group_by=key,key",
      "to=noon",
      "tag=team",
      "state=failed",
    ])
      expect(await mistakes(`/usage/summary?${query}`)).toHaveLength(1);
  });

  test("answers the operator's command over everybody, by as many groups as asked", async () => {
    const { data, totals } = await usageOfAll(database.db, { by: ["model", "client", "day"] });
    expect(data).toMatchObject([
      { model: "mini", client: "cli_robo", day: "2026-05-01T00:00:00.000Z", requests: 2 },
      { model: "haiku", client: "cli_solo", day: "2026-05-02T00:00:00.000Z", requests: 2 },
    ]);
    expect(totals.requests).toBe(4);
    expect((await usageOfAll(database.db, { by: [], from: new Date("2027-01-01") })).data).toEqual([]);
  });
});
