import { afterAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { audit } from "../../db/schema.ts";
import { silentLog } from "../../platform/log.ts";
import { startGateway } from "../../testing/gateway.ts";
import { json } from "../../testing/provider-script.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { OverrideView, PricesView } from "./contract.ts";
import { Overrides } from "./overrides.ts";

const gateway = await startGateway({
  yaml: `
providers: { openai: { kind: openai, base_url: "PROVIDER", api_key: "x" } }
prices: { "openai/filed": { input: 1, output: 2 } }
`,
});
afterAll(() => gateway.close());
const { provider, robo } = gateway;
const { ada, olga } = await gateway.people();
provider.script("*", json({ choices: [], usage: { prompt_tokens: 1_000_000, completion_tokens: 0 } }));

let models = 0;
/** One that nobody has priced. */
const newModel = () => `m${++models}`;
const set = (model: string, more: Record<string, unknown>) =>
  ok<OverrideView>(ada, "PUT", "/prices", { model: `openai/${model}`, ...more });
/** What a million input tokens cost, by the call's own row. */
const costOf = async (model: string) => {
  const response = await robo.chat({ model: `openai/${model}` });
  expect(response.status).toBe(200);
  return (await gateway.row(response))?.costNano;
};
const inForce = async (model: string) =>
  (await ok<PricesView>(ada, "GET", `/prices?model=openai/${model}`)).model;

test("a price holds from when it is set, over the file, and rows keep what they were made with", async () => {
  const before = await robo.chat({ model: "openai/filed" });
  const view = await set("filed", { input: "3.5", cached_read: "0.000000001" });
  expect(view).toMatchObject({
    model: "openai/filed",
    prices: { input: "3.50", cached_read: "0.000000001", cache_write: "3.50", output: "3.50" },
    status: "in_force",
    created_by: ada.id,
  });
  expect(await costOf("filed")).toBe(3_500_000_000);
  expect(await gateway.row(before)).toMatchObject({
    costNano: 1_000_000_000,
    prices: { input: 1_000_000_000, output: 2_000_000_000 },
  });
  expect(await inForce("filed")).toMatchObject({
    source: "override",
    pattern: "openai/filed",
    prices: { input: "3.50" },
    since: view.effective_from,
  });
});

test("null ends what was set, and the file's price holds again", async () => {
  await set("filed", { input: "7" });
  expect(await costOf("filed")).toBe(7_000_000_000);
  expect(await set("filed", { prices: null })).toMatchObject({ prices: null, status: "in_force" });
  expect(await costOf("filed")).toBe(1_000_000_000);
  expect(await inForce("filed")).toMatchObject({ source: "file", since: null });
});

test("a price set for later begins at its moment", async () => {
  const model = newModel();
  await set(model, { input: "1" });
  const effective_from = new Date(Date.now() + 1_200).toISOString();
  expect(await set(model, { input: "2", effective_from })).toMatchObject({
    status: "scheduled",
    effective_from,
  });
  expect([await costOf(model), (await inForce(model))?.prices?.input]).toEqual([1_000_000_000, "1.00"]);
  await Bun.sleep(Date.parse(effective_from) - Date.now() + 5);
  expect(await costOf(model)).toBe(2_000_000_000);
});

test("what was set for later is changed by setting it again for the same moment", async () => {
  const model = newModel();
  const effective_from = new Date(Date.now() + 1_000).toISOString();
  await set(model, { input: "1", effective_from });
  await set(model, { input: "2", effective_from });
  await Bun.sleep(Date.parse(effective_from) - Date.now() + 5);
  expect((await inForce(model))?.prices?.input).toBe("2.00");
  const { data } = await ok<PricesView>(ada, "GET", "/prices?limit=2");
  expect(data.map(({ status }) => status)).toEqual(["in_force", "over"]);
});

test("of many names the most exact one holds", async () => {
  const model = newModel();
  await set("m*", { input: "4" });
  expect((await inForce(model))?.prices?.input).toBe("4.00");
  await set(model, { input: "5" });
  expect((await inForce(model))?.prices?.input).toBe("5.00");
  await set(model, { prices: null });
  expect(await inForce(model)).toMatchObject({ pattern: "openai/m*", prices: { input: "4.00" } });
  await set("m*", { prices: null });
  expect(await inForce(model)).toMatchObject({ source: null, pattern: null, prices: null, since: null });
});

test("history does not change: a moment that is past is refused, with one that would do", async () => {
  const model = `openai/${newModel()}`;
  const effective_from = new Date(Date.now() - 2_000).toISOString();
  const answer = await call<{ code: string; detail: string }>(ada, "PUT", "/prices", {
    model,
    input: "1",
    effective_from,
  });
  expect([answer.http, answer.body.code]).toEqual([422, "effective_from_past"]);
  expect(answer.body.detail).toMatch(/Leave effective_from out, or give a time after 2\d{3}-/);
  expect(await inForce(model.slice(7))).toMatchObject({ source: null });
});

test("a body that says no price is refused, and says why", async () => {
  const rows: [Record<string, unknown>, string][] = [
    [{}, "model"],
    [{ model: "openai/x" }, "input"],
    [{ model: "openai/x", output: "1" }, "input"],
    [{ model: "openai", input: "1" }, "model"],
    [{ model: "open*ai/x", input: "1" }, "model"],
    [{ model: "openai/\u0000x", input: "1" }, "model"],
    [{ model: "openai/x", input: 1 }, "input"],
    [{ model: "openai/x", input: "-1" }, "input"],
    [{ model: "openai/x", input: "1e3" }, "input"],
    [{ model: "openai/x", input: "0.0000000001" }, "input"],
    [{ model: "openai/x", input: "1000000" }, "input"],
    [{ model: "openai/x", input: "1", prices: null }, "prices"],
    [{ model: "openai/x", prices: {} }, "prices"],
    [{ model: "openai/x", input: "1", effective_from: "tomorrow" }, "effective_from"],
    [{ model: "openai/x", input: "1", effective_from: "0000-01-01T00:00:00Z" }, "effective_from"],
    [{ model: "openai/x", input: "1", effective_from: "+275760-01-01T00:00:00Z" }, "effective_from"],
    [{ model: "openai/x", input: "1", reasoning: "1" }, "reasoning"],
  ];
  for (const [body, path] of rows) {
    const { http, body: problem } = await call<{ errors?: { path: string }[]; code: string }>(
      ada,
      "PUT",
      "/prices",
      body,
    );
    expect([body, http]).toEqual([body, 422]);
    if (problem.code === "invalid_request")
      expect(problem.errors?.map((error) => error.path)).toContain(path);
  }
  expect(await refused(ada, "GET", "/prices?model=filed")).toBe("400 invalid_request");
  expect(await refused(ada, "GET", "/prices?cursor=x")).toBe("400 invalid_request");
});

test("only administrators see and set prices", async () => {
  for (const who of [olga, robo]) {
    expect(await refused(who, "GET", "/prices")).toBe("403 insufficient_scope");
    expect(await refused(who, "PUT", "/prices", { model: "openai/x", input: "0" })).toBe(
      "403 insufficient_scope",
    );
  }
  expect(await refused(gateway.nobody, "PUT", "/prices", { model: "openai/x", input: "0" })).toBe(
    "401 unauthenticated",
  );
});

test("all that was ever set is listed, the latest first, page by page, beside the file", async () => {
  const all: OverrideView[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const page: PricesView = await ok<PricesView>(ada, "GET", `/prices?limit=3${cursor}`);
    all.push(...page.data);
    cursor = page.next_cursor === null ? null : `&cursor=${encodeURIComponent(page.next_cursor)}`;
    expect(page.file).toEqual({
      "openai/filed": { input: "1.00", cached_read: "1.00", cache_write: "1.00", output: "2.00" },
    });
    expect(page).not.toHaveProperty("model");
  }
  const [{ count } = { count: 0 }] = await gateway.database.sql<{ count: number }[]>`
    select count(*)::int as count from price_overrides`;
  expect(all).toHaveLength(count);
  const times = all.map(({ created_at }) => created_at);
  expect(times).toEqual([...times].sort().reverse());
});

test("who set a price, and which, is in the audit", async () => {
  const model = newModel();
  await set(model, { input: "1.25" });
  await set(model, { prices: null });
  const rows = await gateway.database.db
    .select()
    .from(audit)
    .where(eq(audit.subject, `openai/${model}`))
    .orderBy(audit.id);
  expect(rows.map(({ action, actor, details }) => [action, actor, details.prices])).toEqual([
    ["price.set", ada.id, { input: "1.25", cached_read: "1.25", cache_write: "1.25", output: "1.25" }],
    ["price.ended", ada.id, null],
  ]);
});

test("another instance knows within two seconds, and goes on with what it knew when the database is away", async () => {
  let isAway = false;
  const db = new Proxy(gateway.database.db, {
    get(target, name) {
      if (isAway) throw new Error("away");
      return Reflect.get(target, name);
    },
  });
  const other = new Overrides({ database: { db }, log: silentLog });
  await other.start();
  const model = newModel();
  const known = () => other.at(Date.now()).get(`openai/${model}`)?.prices.input;
  await set(model, { input: "1" });
  const later = new Date(Date.now() + 2_500).toISOString();
  await set(model, { input: "2", effective_from: later });
  await Bun.sleep(2_000);
  expect(known()).toBe(1_000_000_000);
  isAway = true;
  await Bun.sleep(Date.parse(later) - Date.now() + 1_100);
  expect(known()).toBe(2_000_000_000);
  const same = other.at(Date.now());
  expect(other.at(Date.now())).toBe(same);
  await other.stop();
});

test("two administrators at once: what was set last holds, and both are kept", async () => {
  const model = newModel();
  const effective_from = new Date(Date.now() + 500).toISOString();
  const views = await Promise.all(["1", "2", "3", "4"].map((input) => set(model, { input, effective_from })));
  expect(views).toHaveLength(4);
  await Bun.sleep(Date.parse(effective_from) - Date.now() + 5);
  const { data } = await ok<PricesView>(ada, "GET", "/prices?limit=4");
  expect(data.map(({ status }) => status)).toEqual(["in_force", "over", "over", "over"]);
  expect((await inForce(model))?.prices?.input).toBe(data[0]?.prices?.input ?? "");
});
