import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway, type TestGateway } from "../../testing/gateway.ts";
import { events, json } from "../../testing/provider-script.ts";
import { isRedisMissing, startRedis, type TestRedis } from "../../testing/redis-server.ts";

const yaml = `
providers: { openai: { kind: openai, base_url: "PROVIDER", api_key: "x" } }
limits: { llm: { requests_per_minute: 10, streams_per_token: 3 } }
`;
const answer = json({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 1 } });
const chunk = { choices: [{ index: 0, delta: { content: "x" } }] };
const longStream = events(
  Array.from({ length: 200 }, () => chunk),
  { gapMs: 50 },
);

describe.skipIf(isRedisMissing)("two gateways over one Redis (needs redis-server)", () => {
  let redis: TestRedis;
  let one: TestGateway;
  let two: TestGateway;
  beforeAll(async () => {
    redis = await startRedis("pass-canary");
    const env = { REDIS_URL: redis.url, SPECGATE_JWT_SECRET: "one secret for both that is long enough" };
    one = await startGateway({ yaml, env });
    two = await startGateway({ yaml, env, beside: one });
    for (const { provider } of [one, two]) provider.script("*", answer);
  });
  afterAll(async () => {
    await two.close();
    await one.close();
    await redis.kill();
  });

  /** One credential, at both. */
  const newKey = async (): Promise<[Actor, Actor]> => {
    const owner = { clientId: one.robo.id };
    const { key } = await one.keys.create(localActor, { owner, scope: "llm:chat" });
    return [one.as(key), two.as(key)];
  };
  const statuses = async (calls: Promise<Response>[]) => {
    const all = await Promise.all(calls);
    return all.map(({ status }) => status).sort();
  };
  const warningsOf = async (gateway: TestGateway) => {
    const readiness = (await (await gateway.nobody.fetch("/readyz")).json()) as { warnings: string[] };
    return readiness.warnings.filter((warning) => warning.includes("Redis"));
  };
  const until = async (holds: () => Promise<boolean>) => {
    for (let tries = 0; tries < 300 && !(await holds()); tries++) await Bun.sleep(10);
    expect(await holds()).toBe(true);
  };

  test("a credential's requests are counted once, wherever they come in", async () => {
    const [here, there] = await newKey();
    const calls = Array.from({ length: 14 }, (_, i) => (i % 2 === 0 ? here : there).chat({}));
    const found = await statuses(calls);
    expect(found).toEqual([...Array(10).fill(200), ...Array(4).fill(429)]);
    expect((await two.mallory.chat({})).status).toBe(200);
  });

  test("a credential's streams are counted once, and a place given back here is free there", async () => {
    for (const { provider } of [one, two]) provider.script("*", longStream);
    const [here, there] = await newKey();
    const abort = new AbortController();
    const open = await statuses([
      here.chat({ stream: true }, { signal: abort.signal }),
      there.chat({ stream: true }),
      here.chat({ stream: true }),
    ]);
    expect(open).toEqual([200, 200, 200]);
    expect((await there.chat({ stream: true })).status).toBe(429);
    abort.abort();
    await Bun.sleep(200);
    expect((await there.chat({ stream: true })).status).toBe(200);
    for (const { provider } of [one, two]) provider.script("*", answer);
  });

  test("while Redis is away each counts for itself and says so, and nobody is kept waiting", async () => {
    const [here, there] = await newKey();
    expect([await warningsOf(one), await warningsOf(two)]).toEqual([[], []]);
    redis.freeze();
    const begun = performance.now();
    expect((await here.chat({})).status).toBe(200);
    expect(performance.now() - begun).toBeLessThan(1_000);
    await until(async () => (await warningsOf(one)).length === 1);
    const calls = Array.from({ length: 22 }, (_, i) => (i % 2 === 0 ? here : there).chat({}));
    const found = await statuses(calls);
    expect(found.filter((status) => status === 200).length).toBeGreaterThanOrEqual(19);
    expect(await warningsOf(one)).toEqual(["Redis does not answer: each instance counts limits for itself"]);
    expect((await one.nobody.fetch("/readyz")).status).toBe(200);
    redis.thaw();
    await until(async () => (await warningsOf(one)).length + (await warningsOf(two)).length === 0);
  });
});
