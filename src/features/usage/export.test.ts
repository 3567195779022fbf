import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { LedgerRecord } from "../../db/ledger.ts";
import { localActor } from "../../testing/desk.ts";
import { startGateway } from "../../testing/gateway.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import type { RequestRow } from "./contract.ts";
import { Exports } from "./export.ts";
import { mergeBatch } from "./merge.ts";

const gateway = await startGateway({ yaml: "limits: { control: { requests_per_minute: null } }" });
afterAll(() => gateway.close());
const { robo, mallory, nobody, database } = gateway;
const people = await gateway.people();
const owner = { instance: crypto.randomUUID(), epoch: 1 };

async function merge(records: LedgerRecord[]): Promise<void> {
  const texts = records.map((record) => JSON.stringify(record));
  for (let at = 0; at < texts.length; at += 500)
    await mergeBatch(database.sql, owner, { records: texts.slice(at, at + 500), epoch: 1, reach: null });
}

/** A finished call of robo's project, so many minutes after the first. */
function callAt(minute: number, over: Parameters<typeof startRecord>[0] = {}) {
  const start = startRecord({
    at: new Date(Date.UTC(2026, 4, 1, 0, minute)).toISOString(),
    project_id: robo.projectId,
    client_id: robo.id,
    principal: robo.id,
    ...over,
  });
  return [start, endRecord(start)] as const;
}

const lines = (text: string) => text.trimEnd().split("\n");
const rowsOf = (text: string) =>
  text === "" ? [] : lines(text).map((line) => JSON.parse(line) as RequestRow);

describe("GET /usage/export", () => {
  const odd = callAt(2, {
    requested_model: '=HYPERLINK("http://evil")',
    tags: { note: "a, b", "-team": 'say "hi"\r\nthere' },
    session_id: "ses_1",
  });

  beforeAll(async () => {
    await merge([...callAt(3, { model: "m3" }), ...odd, ...callAt(1, { trace_id: "t".repeat(32) })]);
    await merge([
      ...callAt(4, { project_id: mallory.projectId, client_id: mallory.id, principal: mallory.id }),
    ]);
    await merge([...callAt(5, { project_id: null, client_id: null, user_id: people.ed.id })]);
    await merge([startRecord({ project_id: robo.projectId })]);
  });

  test("is the wire's rows as NDJSON, the oldest first", async () => {
    const response = await robo.fetch("/api/v1/usage/export?format=ndjson");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    expect(response.headers.get("content-disposition")).toContain('attachment; filename="usage.ndjson"');
    expect(response.headers.get("cache-control")).toBe("no-store");
    const text = await response.text();
    expect(text.endsWith("}\n")).toBe(true);
    const listed = (await (await robo.fetch("/api/v1/usage/requests")).json()) as { data: RequestRow[] };
    expect(rowsOf(text)).toEqual(listed.data.toReversed());
    expect(rowsOf(text)).toHaveLength(3);
  });

  test("is CSV that a spreadsheet reads and does not run", async () => {
    const response = await robo.fetch("/api/v1/usage/export?session=ses_1");
    expect(response.headers.get("content-type")).toBe("text/csv; charset=utf-8; header=present");
    const [{ req }] = odd;
    expect(await response.text()).toBe(
      "id,state,at,endpoint,requested_model,provider,model,project_id,session_id,iteration_id,task_id,principal," +
        "client_id,key_id,tags,stream,status,delivery,input_tokens,cached_read_tokens,cache_write_tokens," +
        "output_tokens,reasoning_tokens,audio_tokens,cost_usd,charged_usd,input_usd_per_million," +
        "cached_read_usd_per_million,cache_write_usd_per_million,output_usd_per_million,attempts,first_token_ms," +
        "duration_ms,trace_id\r\n" +
        `${req},settled,2026-05-01T00:02:00.000Z,chat/completions,"'=HYPERLINK(""http://evil"")",openai,gpt-4o-mini,` +
        `${robo.projectId},ses_1,,,${robo.id},${robo.id},,"note=a, b, -team=say ""hi""\r\nthere",true,200,whole,` +
        "10,0,,20,,,0.0000135,0.0000135,0.15,0.075,0.15,0.60,1,40,250,\r\n",
    );
    const nothing = await robo.fetch("/api/v1/usage/export?session=ses_none");
    expect(lines(await nothing.text())).toHaveLength(1);
  });

  test("shows each who asks what is theirs, and a stranger nothing at all", async () => {
    const seen = async (who: { fetch: typeof robo.fetch }) =>
      rowsOf(await (await who.fetch("/api/v1/usage/export?format=ndjson")).text()).map((row) =>
        new Date(row.at).getUTCMinutes(),
      );
    expect(await seen(robo)).toEqual([1, 2, 3]);
    expect(await seen(mallory)).toEqual([4]);
    expect(await seen(people.vera)).toEqual([1, 2, 3]);
    expect(await seen(people.ed)).toEqual([1, 2, 3, 5]);
    expect(await seen(people.stranger)).toEqual([]);
    expect(await seen(people.ada)).toEqual([1, 2, 3, 4, 5]);
    expect((await nobody.fetch("/api/v1/usage/export")).status).toBe(401);
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "llm:chat",
    });
    expect((await gateway.as(key).fetch("/api/v1/usage/export")).status).toBe(403);
  });

  test("takes the filters of the list, and refuses what is none of them", async () => {
    const minutes = async (query: string) =>
      rowsOf(await (await robo.fetch(`/api/v1/usage/export?format=ndjson&${query}`)).text()).map((row) =>
        new Date(row.at).getUTCMinutes(),
      );
    expect(await minutes("model=m3")).toEqual([3]);
    expect(await minutes("from=2026-05-01T00:02:00Z")).toEqual([2, 3]);
    expect(await minutes("to=2026-05-01T00:02:00Z")).toEqual([1]);
    expect(await minutes(`tag=${encodeURIComponent("note=a, b")}`)).toEqual([2]);
    expect(await minutes("tag=note=a")).toEqual([]);
    for (const query of ["format=xml", "limit=5", "cursor=x", "tag=note", "state=open"]) {
      const response = await robo.fetch(`/api/v1/usage/export?${query}`);
      expect([query, response.status]).toEqual([query, 400]);
    }
    const head = await robo.fetch("/api/v1/usage/export", { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });
});

describe("an export of many calls", () => {
  const count = 25_000;

  beforeAll(async () => {
    await database.sql`
      insert into requests (id, state, at, endpoint, requested_model, provider, model, principal, client_id, project_id,
        stream, instance, epoch)
      select 'req_' || lpad(to_hex(n), 32, '0'), 'settled', timestamptz '2026-01-01Z' + n / 7 * interval '1 second',
        'chat/completions', 'many', 'p', 'many', ${robo.id}, ${robo.id}, ${robo.projectId}, false, gen_random_uuid(), 1
      from generate_series(1, ${count}) as n`;
  }, 60_000);

  const begin = (who = robo) =>
    who.fetch("/api/v1/usage/export?format=ndjson&model=many").then(({ body }) => {
      if (body === null) throw new Error("no body");
      return body.getReader();
    });
  /** Reads to the end; false: it broke off. */
  async function readAll(reader: Awaited<ReturnType<typeof begin>>): Promise<boolean> {
    try {
      while (!(await reader.read()).done);
      return true;
    } catch {
      return false;
    }
  }

  test("holds each of them once, in the order of time", async () => {
    const response = await robo.fetch("/api/v1/usage/export?format=ndjson&model=many");
    const ids = rowsOf(await response.text()).map((row) => row.id);
    expect(ids).toHaveLength(count);
    expect(ids).toEqual(
      Array.from({ length: count }, (_, at) => `req_${(at + 1).toString(16).padStart(32, "0")}`),
    );
  });

  test("ends with its credential, and breaks off so that nobody takes it for whole", async () => {
    const { id, key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "usage:read",
    });
    const reader = await begin({ ...robo, ...gateway.as(key) });
    await reader.read();
    await gateway.keys.revoke(localActor, id);
    await Bun.sleep(200);
    expect(await readAll(reader)).toBe(false);
  });

  test("is read from the database no faster than its reader takes it", async () => {
    let selects = 0;
    const db = new Proxy(database.db, {
      get(target, name) {
        if (name === "select") selects += 1;
        return Reflect.get(target, name).bind(target);
      },
    });
    const exports = new Exports({ db, onRevoked: () => () => {}, isEnded: async () => false });
    const principal = await gateway.authenticator.authenticate(robo.bearer, "control");
    const stream = await exports.open(principal, { format: "ndjson", filters: { model: "many" } });
    const reader = stream.getReader();
    for (const pages of [1, 2, 3]) {
      await reader.read();
      await Bun.sleep(50);
      // The calls of a page, and their attempts.
      expect(selects).toBe(2 * pages);
    }
    await reader.cancel();
  });

  test("ends when a person's part in a project changes", async () => {
    const { ed } = people;
    const reader = await begin({ ...robo, ...ed });
    await reader.read();
    await gateway.projects.setMember(
      localActor,
      { projectId: robo.projectId, userId: ed.id, role: "viewer" },
      null,
    );
    await Bun.sleep(200);
    expect(await readAll(reader)).toBe(false);
  });

  test("is one of four at once for a credential, and makes room when its reader leaves", async () => {
    const readers = [await begin(), await begin(), await begin(), await begin()];
    const fifth = await robo.fetch("/api/v1/usage/export");
    expect([fifth.status, ((await fifth.json()) as { code: string }).code]).toEqual([
      429,
      "too_many_exports",
    ]);
    await Promise.all(readers.map((reader) => reader.cancel()));
    let status = 429;
    for (let tries = 0; tries < 100 && status === 429; tries++) {
      await Bun.sleep(50);
      const next = await robo.fetch("/api/v1/usage/export?model=none");
      await next.text();
      status = next.status;
    }
    expect(status).toBe(200);
  });
});
