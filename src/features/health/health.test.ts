import { afterAll, expect, test } from "bun:test";
import { startGateway } from "../../testing/gateway.ts";

const gateway = await startGateway({ yaml: "limits: { llm: { requests_per_minute: null } }" });
afterAll(() => gateway.close());
const { nobody, robo } = gateway;

test("a gateway that works says so, to anyone", async () => {
  expect(await (await nobody.fetch("/healthz")).json()).toMatchObject({ status: "ok" });
  const ready = await nobody.fetch("/readyz");
  expect([ready.status, await ready.json()]).toMatchObject([
    200,
    { ready: true, reasons: [], checks: { database: "ok", journal: "ok" }, fetches_max: 256 },
  ]);
});

test("metrics are for this machine: a proxy's word in between hides them", async () => {
  const text = await (await nobody.fetch("/metrics")).text();
  expect(text).toMatch(/^specgate_streams_open 0$/m);
  for (const [name, value] of [
    ["x-forwarded-for", "127.0.0.1"],
    ["forwarded", "for=127.0.0.1"],
    ["via", "1.1 proxy"],
  ] as const) {
    expect((await nobody.fetch("/metrics", { headers: { [name]: value } })).status).toBe(404);
  }
});

test("the demo answers while no provider is configured, and its calls are counted", async () => {
  const response = await robo.chat({ model: "demo/echo", stream: true });
  expect(await response.text()).toContain("hello");
  expect(await gateway.row(response)).toMatchObject({ state: "settled", provider: "demo", costNano: 0 });
  const text = await (await nobody.fetch("/metrics")).text();
  expect(text).toMatch(/^specgate_calls_ended_total 1$/m);
});

test("a gateway that shuts down is not ready, and takes no calls", async () => {
  gateway.parts.health.drain();
  await gateway.parts.completions.drain(0);
  const ready = await nobody.fetch("/readyz");
  expect([ready.status, ((await ready.json()) as { reasons: string[] }).reasons]).toEqual([
    503,
    ["the gateway is shutting down"],
  ]);
  const refused = await robo.chat({ model: "demo/echo" });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
});
