import { afterAll, describe, expect, test } from "bun:test";
import { inspect } from "node:util";
import type { Alarm } from "../../db/alarms.ts";
import type { Fields, Log } from "../../platform/log.ts";
import { silentLog } from "../../platform/log.ts";
import { startGateway } from "../../testing/gateway.ts";
import { startReceiver, until, verified } from "../../testing/receiver.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { DeliveryView, HookView, NewHookView } from "./contract.ts";

const told: string[] = [];
const tell = (event: string, fields?: Fields) => void told.push(`${event} ${inspect(fields, { depth: 9 })}`);
const log: Log = { ...silentLog, debug: tell, info: tell, warn: tell, error: tell };
const yaml = `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-provider-secret" }
alerts: { allow_private_network: true }
`;
const gateway = await startGateway({ yaml, log });
const { ada, olga } = await gateway.people();
const { robo, mallory, nobody } = gateway;
const receiver = startReceiver();
afterAll(() => receiver.close());

type List<Row> = { data: Row[]; next_cursor: string | null };
const hooks = "/alert-hooks";
const newHook = (body: object = {}) =>
  ok<NewHookView>(ada, "POST", hooks, { url: receiver.url, events: ["provider.down"], ...body });
const alarm = (more: Partial<Alarm> = {}): Alarm => ({
  type: "provider.down",
  once: crypto.randomUUID(),
  payload: { provider: "openai", since: "2026-05-01T00:00:00.000Z" },
  ...more,
});
const deliveriesOf = async (hook: { id: string }, query = "") =>
  (await ok<List<DeliveryView>>(ada, "GET", `${hooks}/${hook.id}/deliveries${query}`)).data;
const entries = (subject: string) =>
  gateway.database.sql<{ action: string; actor: string; details: string }[]>`
    select action, actor, details::text as details from audit where subject = ${subject} order by id`;

describe("an alert hook", () => {
  test("is made by an administrator, and shows its secret once", async () => {
    const url = `${receiver.url}/in?token=t0ken`;
    const asked = { url, events: ["provider.up", "budget.threshold", "provider.up"] };
    const made = await call<NewHookView>(ada, "POST", hooks, asked, { "idempotency-key": "h1" });
    expect([made.http, made.headers.get("etag")]).toEqual([201, '"1"']);
    expect(made.body).toEqual({
      id: expect.stringMatching(/^hok_[0-9a-f]{32}$/),
      url,
      events: ["budget.threshold", "provider.up"],
      status: "active",
      created_by: ada.id,
      created_at: expect.stringMatching(/Z$/),
      version: 1,
      secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
    });
    const again = await call<NewHookView>(ada, "POST", hooks, asked, { "idempotency-key": "h1" });
    expect([again.headers.get("idempotent-replayed"), again.body]).toEqual([
      "true",
      { ...made.body, secret: null as unknown as string },
    ]);
    const { secret, ...view } = made.body;
    expect(await ok<HookView>(ada, "GET", `${hooks}/${view.id}`)).toEqual(view);
    expect((await ok<List<HookView>>(ada, "GET", hooks)).data).toContainEqual(view);
    const [entry] = await entries(view.id);
    expect(entry).toMatchObject({ action: "alert_hook.created", actor: ada.id });
    expect(JSON.parse(entry?.details ?? "")).toEqual({
      host: new URL(receiver.url).host,
      events: ["budget.threshold", "provider.up"],
    });
  });

  test("is nobody's but an administrator's", async () => {
    const { id } = await newHook();
    for (const [method, path, body] of [
      ["GET", hooks],
      ["POST", hooks, { url: receiver.url, events: ["meter.lag"] }],
      ["GET", `${hooks}/${id}`],
      ["PATCH", `${hooks}/${id}`, { events: ["meter.lag"] }],
      ["DELETE", `${hooks}/${id}`],
      ["GET", `${hooks}/${id}/deliveries`],
      ["POST", "/deliveries/dlv_00000000000000000000000000000000/redelivery", {}],
    ] as const) {
      for (const who of [olga, robo, mallory])
        expect([method, path, await refused(who, method, path, body)]).toEqual([
          method,
          path,
          "403 insufficient_scope",
        ]);
      expect(await refused(nobody, method, path, body)).toBe("401 unauthenticated");
    }
    expect((await ok<HookView>(ada, "GET", `${hooks}/${id}`)).version).toBe(1);
  });

  test("refuses a bad body with every mistake named", async () => {
    const { http, body } = await call<{ errors: { path: string; code: string }[] }>(ada, "POST", hooks, {
      url: 7,
      events: ["provider.down", "everything"],
      secret: "whsec_mine",
    });
    expect(http).toBe(422);
    expect(body.errors.map(({ path }) => path).sort()).toEqual(["events.1", "secret", "url"]);
    for (const bad of [
      {},
      { url: receiver.url },
      { url: receiver.url, events: [] },
      { url: "", events: ["meter.lag"] },
      { url: `${receiver.url}/${"x".repeat(2_100)}`, events: ["meter.lag"] },
    ])
      expect(await refused(ada, "POST", hooks, bad)).toBe("422 invalid_request");
    for (const url of [
      "not a url",
      "https://a:b@example.com/",
      "http://169.254.169.254/",
      "ftp://127.0.0.1/",
    ])
      expect([url, await refused(ada, "POST", hooks, { url, events: ["meter.lag"] })]).toEqual([
        url,
        "422 url_not_allowed",
      ]);
  });

  test("changes where and of what it tells, unless it has moved on", async () => {
    const { id } = await newHook();
    const path = `${hooks}/${id}`;
    const changed = await call<HookView>(
      ada,
      "PATCH",
      path,
      { url: `${receiver.url}/new/s3cret-path`, events: ["meter.lag", "price.unknown"] },
      { "if-match": '"1"' },
    );
    expect([changed.http, changed.headers.get("etag")]).toEqual([200, '"2"']);
    expect(changed.body).toMatchObject({ url: `${receiver.url}/new/s3cret-path`, version: 2 });
    expect(changed.body).not.toHaveProperty("secret");
    expect(await refused(ada, "PATCH", path, { events: ["meter.lag"] }, { "if-match": '"1"' })).toBe(
      "412 stale_version",
    );
    expect(await refused(ada, "DELETE", path, undefined, { "if-match": '"1"' })).toBe("412 stale_version");
    expect(await refused(ada, "PATCH", path, { url: "http://169.254.169.254/" })).toBe("422 url_not_allowed");
    expect(await refused(ada, "PATCH", path, { events: [] })).toBe("422 invalid_request");
    expect(await refused(ada, "PATCH", path, { secret: "whsec_x" })).toBe("422 invalid_request");
    const same = await ok<HookView>(ada, "PATCH", path, { events: ["price.unknown", "meter.lag"] });
    expect(same.version).toBe(2);
    const all = await entries(id);
    expect(all.map(({ action }) => action)).toEqual(["alert_hook.created", "alert_hook.updated"]);
    expect(JSON.stringify(all)).not.toContain("s3cret-path");
  });

  test("is gone when it is deleted, with what was still to be sent to it", async () => {
    const away = startReceiver(() => new Response(null, { status: 500 }));
    const hook = await newHook({ url: away.url });
    gateway.parts.alerts.raise(alarm());
    await until(async () => (await deliveriesOf(hook))[0]?.last_status === 500);
    const [delivery] = await deliveriesOf(hook);
    await ok(ada, "DELETE", `${hooks}/${hook.id}`);
    for (const [method, path, body] of [
      ["GET", ""],
      ["PATCH", "", {}],
      ["DELETE", ""],
      ["GET", "/deliveries"],
    ] as const)
      expect(await refused(ada, method, `${hooks}/${hook.id}${path}`, body)).toBe("404 not_found");
    expect(await refused(ada, "POST", `/deliveries/${delivery?.id}/redelivery`)).toBe("404 not_found");
    const [row] = await gateway.database
      .sql`select status, last_error from alert_deliveries where id = ${delivery?.id ?? ""}`;
    expect(row).toMatchObject({ status: "dead", last_error: "The hook was deleted." });
    expect((await entries(hook.id)).at(-1)?.action).toBe("alert_hook.deleted");
    await away.close();
  });

  test("says when its signing secret is no longer configured", async () => {
    const { id } = await newHook();
    await gateway.database.sql`update alert_hooks set kid = 'gone' where id = ${id}`;
    expect((await ok<HookView>(ada, "GET", `${hooks}/${id}`)).status).toBe("secret_missing");
    await gateway.parts.alerts.courier.survey();
    const ready = (await (await gateway.nobody.fetch("/readyz")).json()) as { warnings: string[] };
    expect(ready.warnings.join()).toContain(id);
    await ok(ada, "DELETE", `${hooks}/${id}`);
  });

  test("there are so many and no more, however many are made at the same time", async () => {
    const many = await startGateway({ yaml });
    const { ada } = await many.people();
    const answers = await Promise.all(
      Array.from({ length: 60 }, () =>
        call(ada, "POST", hooks, { url: receiver.url, events: ["meter.lag"] }),
      ),
    );
    const made = answers.filter(({ http }) => http === 201);
    expect([made.length, answers.find(({ http }) => http !== 201)?.body.code]).toEqual([
      50,
      "too_many_hooks",
    ]);
    const first = await ok<List<HookView>>(ada, "GET", `${hooks}?limit=30`);
    const rest = await ok<List<HookView>>(ada, "GET", `${hooks}?limit=30&cursor=${first.next_cursor}`);
    const ids = [...first.data, ...rest.data].map(({ id }) => id);
    expect([new Set(ids).size, rest.next_cursor]).toEqual([50, null]);
    expect(ids).toEqual(ids.toSorted().reverse());
    await many.close();
  });
});

test("without leave in the file no private address is taken, however it is written", async () => {
  const strict = await startGateway();
  const { ada } = await strict.people();
  for (const url of [
    receiver.url,
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://localhost/",
    "https://[::1]/",
    "https://10.0.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://[fd00::1]/",
    "https://169.254.169.254/",
    "https://hooks.internal/",
    "http://example.com/",
  ])
    expect([url, await refused(ada, "POST", hooks, { url, events: ["meter.lag"] })]).toEqual([
      url,
      "422 url_not_allowed",
    ]);
  await strict.close();
});

describe("a delivery", () => {
  test("brings what was raised to the hooks that asked for it, signed with the secret that was shown", async () => {
    const own = startReceiver();
    const hook = await newHook({ url: `${own.url}/a`, events: ["price.unknown"] });
    await newHook({ url: `${own.url}/b`, events: ["meter.lag"] });
    const data = { provider: "openai", model: "m", request_id: "req_1" };
    const begun = performance.now();
    gateway.parts.alerts.raise(alarm({ type: "price.unknown", payload: data }));
    const [got] = await own.count(1);
    expect(performance.now() - begun).toBeLessThan(3_000);
    if (got === undefined) throw new Error("nothing came");
    expect(verified(hook.secret, got)).toMatchObject({ type: "price.unknown", data });
    await until(async () => (await deliveriesOf(hook))[0]?.status === "delivered");
    expect(await deliveriesOf(hook)).toEqual([
      {
        id: expect.stringMatching(/^dlv_/),
        hook_id: hook.id,
        webhook_id: got.headers["webhook-id"] ?? "",
        type: "price.unknown",
        payload: JSON.parse(got.body),
        status: "delivered",
        tries: 1,
        next_try_at: null,
        last_status: 204,
        last_error: null,
        created_at: expect.any(String),
        ended_at: expect.any(String),
      },
    ]);
    expect(own.received).toHaveLength(1);
    await own.close();
  });

  test("tells of a call whose price nobody knows, once a day", async () => {
    const own = startReceiver();
    const hook = await newHook({ url: own.url, events: ["price.unknown"] });
    const answers = await Promise.all(
      Array.from({ length: 3 }, () => robo.chat({ model: "openai/nobody-knows" })),
    );
    await Promise.all(answers.map((answer) => answer.text()));
    const [got] = await own.count(1);
    if (got === undefined) throw new Error("nothing came");
    const { data } = verified(hook.secret, got) as { data: Record<string, string> };
    expect(data).toMatchObject({ provider: "openai", model: "nobody-knows" });
    expect(answers.map(({ headers }) => headers.get("x-request-id"))).toContain(data.request_id ?? "");
    await Bun.sleep(1_200);
    expect(own.received).toHaveLength(1);
    await own.close();
  });

  test("is sent again on request under the same id, and what still waited is not sent twice", async () => {
    const own = startReceiver(() => new Response(null, { status: 500 }));
    const hook = await newHook({ url: own.url });
    gateway.parts.alerts.raise(alarm());
    await until(async () => (await deliveriesOf(hook))[0]?.last_status === 500);
    const [waiting] = await deliveriesOf(hook);
    own.answer = () => new Response(null, { status: 200 });
    const path = `/deliveries/${waiting?.id}/redelivery`;
    const keyed = { "idempotency-key": "again" };
    const again = await call<DeliveryView>(ada, "POST", path, {}, keyed);
    expect(again.http).toBe(201);
    expect(again.body).toMatchObject({ status: "pending", webhook_id: waiting?.webhook_id, tries: 0 });
    expect((await call<DeliveryView>(ada, "POST", path, {}, keyed)).body.id).toBe(again.body.id);
    await until(async () => (await deliveriesOf(hook))[0]?.status === "delivered");
    const all = await deliveriesOf(hook);
    expect(all.map(({ id, status }) => [id, status])).toEqual([
      [again.body.id, "delivered"],
      [waiting?.id ?? "", "dead"],
    ]);
    expect(all[1]?.last_error).toContain(again.body.id);
    const third = await ok<DeliveryView>(ada, "POST", `/deliveries/${again.body.id}/redelivery`);
    await until(async () => (await deliveriesOf(hook, "?status=delivered")).length === 2);
    expect(new Set(own.received.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(new Set(own.received.map(({ body }) => body)).size).toBe(1);
    for (const got of own.received) verified(hook.secret, got);
    expect((await entries(again.body.id)).map(({ action }) => action)).toEqual(["alert_delivery.repeated"]);
    expect(third.webhook_id).toBe(again.body.webhook_id);
    await own.close();
  });

  test("of nobody is not found, and a body that says more is refused", async () => {
    const path = "/deliveries/dlv_00000000000000000000000000000000/redelivery";
    expect(await refused(ada, "POST", path)).toBe("404 not_found");
    expect(await refused(ada, "POST", path, { to: "https://example.com" })).toBe("422 invalid_request");
    expect(await refused(ada, "POST", "/deliveries/x/redelivery")).toBe("404 not_found");
    expect(await refused(ada, "GET", `${hooks}/hok_x/deliveries`)).toBe("404 not_found");
  });

  test("stands in a list that can be turned over, newest first, by status", async () => {
    const own = startReceiver();
    const hook = await newHook({ url: own.url });
    for (let i = 0; i < 7; i++) gateway.parts.alerts.raise(alarm());
    await own.count(7);
    await until(async () => (await deliveriesOf(hook, "?status=delivered")).length === 7);
    const path = `${hooks}/${hook.id}/deliveries`;
    const seen: DeliveryView[] = [];
    for (let cursor = ""; ; ) {
      const page = await ok<List<DeliveryView>>(ada, "GET", `${path}?limit=3${cursor}`);
      seen.push(...page.data);
      if (page.next_cursor === null) break;
      cursor = `&cursor=${page.next_cursor}`;
    }
    expect(new Set(seen.map(({ id }) => id)).size).toBe(7);
    const order = seen.map(({ created_at, id }) => `${created_at} ${id}`);
    expect(order).toEqual(order.toSorted().reverse());
    expect(await deliveriesOf(hook, "?status=dead")).toEqual([]);
    expect(await refused(ada, "GET", `${path}?status=lost`)).toBe("400 invalid_request");
    expect(await refused(ada, "GET", `${path}?cursor=x`)).toBe("400 invalid_request");
    await own.close();
  });
});

test("what is told and done with goes after thirty days, and what still waits stays", async () => {
  const own = startReceiver(({ path }) => new Response(null, { status: path === "/ok" ? 200 : 500 }));
  const [done, waits] = [await newHook({ url: `${own.url}/ok` }), await newHook({ url: `${own.url}/no` })];
  gateway.parts.alerts.raise(alarm());
  await until(
    async () =>
      (await deliveriesOf(done))[0]?.status === "delivered" &&
      (await deliveriesOf(waits))[0]?.last_status === 500,
  );
  const terms = { dryRun: false, orphans: false };
  const gone = async () => {
    const { tallies } = await gateway.parts.upkeep.run(terms);
    return Object.fromEntries(tallies.map(({ kind, count }) => [kind, count]));
  };
  expect(await gone()).toMatchObject({ alarms: 0, alert_deliveries: 0, alert_hooks: 0 });
  const { sql } = gateway.database;
  await sql`update alarms set at = at - interval '31 days'`;
  await sql`update alert_deliveries set ended_at = ended_at - interval '31 days' where hook_id in (${done.id}, ${waits.id})`;
  expect(await gone()).toMatchObject({ alarms: expect.any(Number), alert_deliveries: 1 });
  expect([(await deliveriesOf(done)).length, (await deliveriesOf(waits)).length]).toEqual([0, 1]);
  await own.close();
});

test("a hook's secret is nowhere but in the answer that shows it", async () => {
  const own = startReceiver(() => new Response(null, { status: 410 }));
  const { id, secret } = await newHook({ url: `${own.url}/?token=c4nary` });
  gateway.parts.alerts.raise(alarm());
  await until(async () => (await deliveriesOf({ id }))[0]?.status === "dead");
  const bytes = Buffer.from(secret.slice("whsec_".length), "base64");
  const spelled = [secret.slice("whsec_".length), bytes.toString("hex"), bytes.toString("base64url")];
  const { sql } = gateway.database;
  const tables = await sql<{ name: string }[]>`
    select quote_ident(tablename) as name from pg_tables where schemaname = current_schema()`;
  expect(tables.length).toBeGreaterThan(30);
  for (const { name } of tables) {
    const rows = await sql
      .unsafe<{ text: string }[]>(`select t::text as text from ${name} t`)
      .catch(() => []);
    const text = rows.map((row) => row.text).join("\n");
    for (const form of spelled) expect([name, text.includes(form)]).toEqual([name, false]);
    // The URL stands where it is needed; what it may hold for itself stands nowhere else.
    if (name !== "alert_hooks") expect([name, text.includes("c4nary")]).toEqual([name, false]);
  }
  const logged = told.join("\n");
  expect(logged).toContain("an alert was given up");
  for (const form of [...spelled, "c4nary"]) expect(logged).not.toContain(form);
  await own.close();
});
