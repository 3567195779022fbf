import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Database } from "../../db/database.ts";
import { providerStates } from "../../db/schema.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { json } from "../../testing/provider-script.ts";
import { markOf } from "./kept-marks.ts";
import { States } from "./states.ts";

let database: Database;
let close: () => Promise<void>;
beforeAll(async () => {
  ({ database } = await testDatabase());
  close = () => database.close();
});
afterAll(() => close());

const recorded = (provider: string, id: string, owner: string) =>
  database.db.insert(providerStates).values({ provider, id: markOf(id), owner, at: new Date() });

/** States that do not wait for the clock, and tell how long they would have. */
function states(meanwhile: (milliseconds: number) => Promise<unknown> = async () => {}) {
  const waits: number[] = [];
  const made = new States({
    db: database.db,
    sleep: async (milliseconds) => {
      waits.push(milliseconds);
      await meanwhile(milliseconds);
    },
  });
  return { made, waits };
}

test("an id is known for its owner, at the provider that gave it, and for nobody else", async () => {
  await recorded("openai", "resp_a", "prj_1");
  const { made } = states();
  expect([...(await made.findProviders(["resp_a"], "prj_1"))]).toEqual(["openai"]);
  expect((await made.findProviders(["resp_a"], "prj_2")).size).toBe(0);
  expect((await made.findProviders(["resp_A"], "prj_1")).size).toBe(0);
});

test("several ids lead only to a provider that gave them all", async () => {
  await recorded("openai", "resp_b", "prj_1");
  await recorded("azure", "resp_b", "prj_1");
  await recorded("azure", "cntr_b", "prj_1");
  const { made } = states();
  expect([...(await made.findProviders(["resp_b", "cntr_b", "resp_b"], "prj_1"))]).toEqual(["azure"]);
  expect((await made.findProviders(["resp_b", "cntr_b", "file_b"], "prj_1")).size).toBe(0);
});

test("what went through this process is known at once, also beside what only the table knows", async () => {
  await recorded("openai", "cntr_c", "prj_1");
  const { made, waits } = states();
  made.remember("openai", ["resp_c", "rs_c"], "prj_1");
  expect([...(await made.findProviders(["resp_c", "rs_c"], "prj_1"))]).toEqual(["openai"]);
  expect([...(await made.findProviders(["resp_c", "cntr_c"], "prj_1"))]).toEqual(["openai"]);
  expect(waits).toEqual([]);
  expect((await made.findProviders(["resp_c"], "prj_2")).size).toBe(0);
});

test("a row that comes a moment later is waited for, and not for ever", async () => {
  const late = states(
    async (milliseconds) => milliseconds === 1_000 && (await recorded("openai", "resp_d", "prj_1")),
  );
  expect([...(await late.made.findProviders(["resp_d"], "prj_1"))]).toEqual(["openai"]);
  const never = states();
  expect((await never.made.findProviders(["resp_never"], "prj_1")).size).toBe(0);
  expect([late.waits, never.waits]).toEqual([
    [300, 1_000],
    [300, 1_000],
  ]);
});

test("what no call is ever given is not asked for", async () => {
  const { made, waits } = states();
  for (const id of ["x".repeat(129), "resp_\u0000", "resp ü", ""])
    expect((await made.findProviders([id], "prj_1")).size).toBe(0);
  expect(
    (
      await made.findProviders(
        Array.from({ length: 1_001 }, (_, i) => `id_${i}`),
        "prj_1",
      )
    ).size,
  ).toBe(0);
  expect((await made.findProviders([], "prj_1")).size).toBe(0);
  expect(waits).toEqual([]);
});

test("the memory is bounded, the oldest go first", async () => {
  const { made } = states();
  made.remember(
    "openai",
    Array.from({ length: 20_001 }, (_, i) => `resp_${i}`),
    "prj_9",
  );
  expect((await made.findProviders(["resp_0"], "prj_9")).size).toBe(0);
  expect((await made.findProviders(["resp_1", "resp_20000"], "prj_9")).size).toBe(1);
});

test("a response goes on for the project that got it, at the provider that keeps it, and for nobody else", async () => {
  const gateway = await startGateway({
    yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-1" }
  other: { kind: openai, base_url: "PROVIDER", api_key: "sk-2" }
models:
  both: { targets: [ { provider: other, model: n, weight: 1000 }, { provider: openai, model: m } ] }
`,
  });
  try {
    gateway.provider.script("m", json({ id: "resp_kept", object: "response", output: [], usage }));
    gateway.provider.script("n", json({ id: "resp_other", object: "response", output: [], usage }));
    const ask = async (actor: Actor, body: object) => {
      const answer = await actor.fetch("/v1/responses", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ input: "hi", ...body }),
      });
      const { error } = (await answer.json()) as { error?: { code: string } };
      return [answer.status, error?.code ?? answer.headers.get("x-specgate-provider")];
    };
    const { robo, mallory } = gateway;
    const further = { previous_response_id: "resp_kept" };
    expect(await ask(robo, { model: "openai/m", ...further })).toEqual([400, "provider_state_refused"]);
    expect(await ask(robo, { model: "openai/m" })).toEqual([200, "openai"]);
    expect(await ask(robo, { model: "openai/m", ...further })).toEqual([200, "openai"]);
    // However heavy the other target weighs, only one of them has it.
    for (let i = 0; i < 5; i++)
      expect(await ask(robo, { model: "both", ...further })).toEqual([200, "openai"]);
    expect(await ask(robo, { model: "other/n", ...further })).toEqual([400, "provider_state_refused"]);
    expect(await ask(mallory, { model: "openai/m", ...further })).toEqual([400, "provider_state_refused"]);
    const asks = gateway.provider.received.filter(({ json: body }) =>
      JSON.stringify(body).includes("resp_kept"),
    );
    expect(asks.length).toBe(6);
    // Another process has only the rows.
    await gateway.row("req_none");
    const rows = await gateway.database.db.select().from(providerStates);
    expect(rows.map(({ provider, id, owner }) => [provider, id, owner])).toEqual([
      ["openai", markOf("resp_kept"), robo.projectId],
    ]);
  } finally {
    await gateway.close();
  }
}, 30_000);

test("all items of a long answer may be sent back, also to another process", async () => {
  const gateway = await startGateway();
  try {
    const { robo, mallory } = gateway;
    const output = Array.from({ length: 60 }, (_, i) => ({
      type: "reasoning",
      id: `rs_${i}`.padEnd(53, "0"),
    }));
    gateway.provider.script("*", json({ id: "resp_long", object: "response", output, usage }));
    const ask = async (actor: Actor, input: unknown) => {
      const body = JSON.stringify({ model: "openai/m", input });
      const headers = { "content-type": "application/json" };
      return (await actor.fetch("/v1/responses", { method: "POST", headers, body })).status;
    };
    expect(await ask(robo, "hi")).toBe(200);
    const items = output.map((item) => ({ ...item, summary: [] }));
    expect(await ask(robo, items)).toBe(200);
    expect(await ask(mallory, items)).toBe(400);
    await gateway.row("req_none");
    const made = new States({ db: gateway.database.db });
    const ids = ["resp_long", ...output.map(({ id }) => id)];
    expect([...(await made.findProviders(ids, robo.projectId))]).toEqual(["openai"]);
  } finally {
    await gateway.close();
  }
}, 30_000);

const usage = { input_tokens: 3, output_tokens: 4, total_tokens: 7 };
