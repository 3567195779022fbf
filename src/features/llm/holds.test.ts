import { afterAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { asc, eq } from "drizzle-orm";
import { attempts as attemptRows } from "../../db/schema.ts";
import { formatUsd } from "../../platform/money.ts";
import { type Actor, type Runner, startGateway } from "../../testing/gateway.ts";
import { eventStream, events, json, refusal, type Script } from "../../testing/provider-script.ts";
import { ok } from "../../testing/wire.ts";

const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER" }
  spare: { kind: openai, base_url: "PROVIDER" }
  claude: { kind: anthropic, base_url: "PROVIDER" }
models:
  again: { targets: [{ provider: openai, model: flaky }], retries: 1, timeouts: { first_token_ms: 200 } }
  mixed: { targets: [{ provider: spare, model: unpriced }], fallbacks: [{ provider: openai, model: priced }], retries: 0 }
  slowdoc: { targets: [{ provider: openai, model: slowdoc }], retries: 0, timeouts: { idle_ms: 400, total_ms: 3000 } }
  ill: { targets: [{ provider: openai, model: ill }], retries: 0 }
prices:
  "openai/*": { input: 1, output: 2 }
  "claude/*": { input: 1, output: 2 }
`,
});
afterAll(() => gateway.close());
const { provider, robo, mallory, row } = gateway;
const { ada } = await gateway.people();

const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const good = json({ choices: [{ index: 0, message: { role: "assistant", content: "hi" } }], usage });
const silent: Script = { headersAfterMs: Number.POSITIVE_INFINITY, steps: [] };
const said = (content: string) => ({ choices: [{ index: 0, delta: { content } }] });
const ask = { max_tokens: 1_000 };

type Budget = { id: string; current: { held_usd: string; spent_usd: string } };
/** A hard budget of the runner's project, made anew; what was there is ended. */
async function budget(limitNano: number, who: Runner = robo): Promise<() => Promise<Budget["current"]>> {
  const before = await ok<{ data: Budget[] }>(ada, "GET", "/budgets");
  for (const { id } of before.data) await ok(ada, "DELETE", `/budgets/${id}`);
  const of = {
    subject: "project",
    subject_id: who.projectId,
    period: "total",
    limit_usd: formatUsd(limitNano),
  };
  const { id, current } = await ok<Budget>(ada, "POST", "/budgets", of);
  const spentBefore = nanoOf(current.spent_usd);
  await ok(ada, "PATCH", `/budgets/${id}`, { limit_usd: formatUsd(limitNano + spentBefore) });
  return async () => {
    await gateway.parts.ledger.settled();
    const read = await ok<Budget>(ada, "GET", `/budgets/${id}`);
    const spent = nanoOf(read.current.spent_usd) - spentBefore;
    return { ...read.current, spent_usd: formatUsd(spent) };
  };
}
const nanoOf = (usd: string): number => Math.round(Number(usd) * 1e9);

/** What one call with `ask` sets aside: learned from a call's own START. */
async function holdOf(who: Actor, body: Record<string, unknown>): Promise<number> {
  provider.script("*", good);
  const response = await who.chat(body);
  expect(response.status).toBe(200);
  const { holdNano } = (await row(response)) ?? {};
  expect(holdNano).toBeGreaterThan(0);
  return Number(holdNano);
}
const codeOf = async (response: Response) =>
  ((await response.json()) as { error: { code: string } }).error.code;
const attemptsOf = async (response: Response) => {
  await row(response);
  const id = response.headers.get("x-request-id") ?? "";
  const found = gateway.database.db.select().from(attemptRows).where(eq(attemptRows.requestId, id));
  return (await found.orderBy(asc(attemptRows.attempt))).map(({ state }) => state);
};
/** The row of a call whose answer nobody waited for. */
async function closedRow(key: string): Promise<Record<string, unknown>> {
  const deadline = performance.now() + 15_000;
  while (performance.now() < deadline) {
    await gateway.parts.ledger.settled();
    const [found] = await gateway.database.sql`
      select state, cost_nano, charged_nano, hold_nano, input, output from requests
      where idempotency_key = ${key} and state <> 'open'`;
    if (found !== undefined) return found;
    await Bun.sleep(30);
  }
  throw new Error(`no closed row for ${key}`);
}

test("a call under a hard budget holds its worst case, and then pays what it cost", async () => {
  const current = await budget(1_000_000_000);
  provider.script("*", { ...good, headersAfterMs: 300 });
  const pending = robo.chat({ model: "openai/plain", ...ask });
  await provider.next();
  const held = nanoOf((await current()).held_usd);
  // A body of some 100 bytes, with an allowance, at 1 USD a million, and 1,000 tokens at 2.
  expect(held).toBeGreaterThan(2_100_000);
  expect(held).toBeLessThan(4_000_000);
  const response = await pending;
  expect(await row(response)).toMatchObject({ holdNano: held, costNano: 15_000, chargedNano: 15_000 });
  expect(await current()).toMatchObject({ held_usd: "0.00", spent_usd: "0.000015" });
});

test("without the money nobody is asked", async () => {
  await budget(1_000);
  const asked = provider.received.length;
  const response = await robo.chat({ model: "openai/plain", ...ask });
  expect([response.status, response.headers.get("x-should-retry"), await codeOf(response)]).toEqual([
    429,
    "false",
    "insufficient_quota",
  ]);
  expect(provider.received.length).toBe(asked);
  expect(await row(response)).toBeUndefined();
  provider.script("*", good);
  expect((await mallory.chat({ model: "openai/plain", ...ask })).status).toBe(200);
});

test("under a hard budget who has no price is left out, and without one the price is told of", async () => {
  provider.script("*", good);
  const free = await mallory.chat({ model: "mixed", ...ask });
  expect([free.headers.get("x-specgate-model"), free.headers.get("x-specgate-cost-usd")]).toEqual([
    "unpriced",
    null,
  ]);
  expect(await row(free)).toMatchObject({ state: "settled", costNano: null, chargedNano: null });
  await Bun.sleep(300);
  const told = await gateway.database.sql`select payload from alarms where type = 'price.unknown'`;
  expect(told.map(({ payload }) => payload)).toEqual([
    { provider: "spare", model: "unpriced", price_of: "model", request_id: free.headers.get("x-request-id") },
  ]);
  await budget(1_000_000_000);
  const bound = await robo.chat({ model: "mixed", ...ask });
  expect(bound.headers.get("x-specgate-model")).toBe("priced");
  const refused = await robo.chat({ model: "spare/unpriced", ...ask });
  expect([refused.status, await codeOf(refused)]).toEqual([400, "price_unknown"]);
});

describe("a further attempt", () => {
  test("uses the same money where nothing was billed", async () => {
    await budget(1_000_000_000);
    const hold = await holdOf(robo, { model: "again", ...ask });
    const current = await budget(hold);
    provider.script("flaky", refusal(500), good);
    const response = await robo.chat({ model: "again", ...ask });
    expect([response.status, await attemptsOf(response)]).toEqual([200, ["failed", "settled"]]);
    expect(await row(response)).toMatchObject({ holdNano: hold, chargedNano: 15_000 });
    expect(await current()).toMatchObject({ held_usd: "0.00", spent_usd: "0.000015" });
  });

  test("needs money of its own where something may have been billed", async () => {
    await budget(1_000_000_000);
    const stream = { model: "again", stream: true, ...ask };
    provider.script("flaky", events([said("a"), { choices: [], usage }]));
    const first = await robo.chat(stream);
    await first.text();
    const hold = Number((await row(first))?.holdNano);

    const short = await budget(hold);
    provider.script("flaky", silent);
    const asked = provider.received.length;
    const refused = await robo.chat(stream);
    expect([refused.status, await codeOf(refused)]).toEqual([429, "insufficient_quota"]);
    expect(provider.received.length).toBe(asked + 1);
    expect(await row(refused)).toMatchObject({
      state: "unknown",
      status: 429,
      costNano: null,
      chargedNano: hold,
    });
    expect(await short()).toMatchObject({ held_usd: "0.00", spent_usd: formatUsd(hold) });

    const enough = await budget(2 * hold);
    provider.script("flaky", silent, events([said("a"), { choices: [], usage }]));
    const response = await robo.chat(stream);
    await response.text();
    expect([response.status, await attemptsOf(response)]).toEqual([200, ["unknown", "settled"]]);
    expect(await row(response)).toMatchObject({
      state: "settled",
      holdNano: 2 * hold,
      costNano: 15_000,
      chargedNano: hold + 15_000,
    });
    expect(await enough()).toMatchObject({ held_usd: "0.00", spent_usd: formatUsd(hold + 15_000) });
  });
});

describe("whoever leaves", () => {
  const leave = async (key: string, body: Record<string, unknown>, afterMs: number) => {
    const abort = new AbortController();
    const headers = { "idempotency-key": key };
    const pending = robo.chat({ ...ask, ...body }, { signal: abort.signal, headers });
    const reading = pending.then((response) => response.text()).catch(() => "");
    await provider.next();
    await Bun.sleep(afterMs);
    abort.abort();
    await reading;
    return await closedRow(key);
  };
  const endless = (content: string) =>
    events([said(content), said(" more"), ...Array.from({ length: 100 }, () => said(""))], { gapMs: 30 });

  test("a whole answer is charged its hold", async () => {
    const current = await budget(1_000_000_000);
    provider.script("*", silent);
    const left = await leave("whole", { model: "openai/plain" }, 100);
    expect(left.state).toBe("estimated");
    expect(left.charged_nano).toBe(left.hold_nano);
    expect(Number(left.cost_nano)).toBeLessThan(Number(left.hold_nano));
    expect(await current()).toMatchObject({ held_usd: "0.00", spent_usd: formatUsd(Number(left.hold_nano)) });
  });

  test("a model that thinks unseen is charged the hold, others what was seen and a fifth of it more", async () => {
    await budget(1_000_000_000);
    provider.script("*", endless("The quick brown fox jumps over the lazy dog"));
    const hidden = await leave("hidden", { model: "openai/o3", stream: true }, 200);
    expect(hidden.charged_nano).toBe(hidden.hold_nano);
    const asking = { model: "openai/plain", stream: true, reasoning_effort: "high" };
    const thinking = await leave("asking", asking, 200);
    expect(thinking.charged_nano).toBe(thinking.hold_nano);
    const picture = { type: "image_url", image_url: { url: "https://example.com/a.png" } };
    const looking = { model: "openai/plain", stream: true, messages: [{ role: "user", content: [picture] }] };
    const shown = await leave("shown", looking, 200);
    expect(shown.charged_nano).toBe(shown.hold_nano);
    const speaking = { model: "openai/plain", stream: true, modalities: ["text", "audio"] };
    const heard = await leave("heard", speaking, 200);
    expect(heard.charged_nano).toBe(heard.hold_nano);
    const seen = await leave("seen", { model: "openai/plain", stream: true }, 200);
    expect(seen).toMatchObject({ state: "estimated", output: 10 });
    expect(Number(seen.charged_nano)).toBe(Number(seen.input) * 1_000 + 12 * 2_000);
    expect(Number(seen.cost_nano)).toBe(Number(seen.input) * 1_000 + 10 * 2_000);
  }, 30_000);
});

test("an answer left while the provider's own tools read on is charged the hold, whatever was reported at its start", async () => {
  await budget(1_000_000_000);
  const start = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    usage: { input_tokens: 7, output_tokens: 1 },
  };
  const delta = { type: "text_delta", text: "found" };
  const steps = [
    { type: "message_start", message: start },
    { type: "content_block_delta", index: 0, delta },
  ].map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  provider.script("*", { headers: eventStream, steps: [...steps, "stall"] });
  const left = async (key: string, tools: object[]) => {
    const response = await robo.fetch("/v1/messages", {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body: JSON.stringify({
        model: "claude/claude-3-haiku",
        max_tokens: 500,
        stream: true,
        messages: [],
        tools,
      }),
    });
    const reader = response.body?.getReader();
    for (let text = ""; !text.includes("found"); ) text += Buffer.from((await reader?.read())?.value ?? []);
    await reader?.cancel();
    return await closedRow(key);
  };
  const searching = await left("searching", [{ type: "web_fetch_20250910", name: "web_fetch" }]);
  expect(searching.charged_nano).toBe(searching.hold_nano);
  const own = await left("own", [{ name: "f", input_schema: { type: "object" } }]);
  expect(own).toMatchObject({ state: "estimated", input: 7 });
  expect(Number(own.charged_nano)).toBeLessThan(Number(own.hold_nano));
}, 30_000);

test("what is too long to be guessed at is counted, and what is too large to be read is charged its hold", async () => {
  await budget(1_000_000_000_000);
  const abort = new AbortController();
  const read = async (key: string, body: Record<string, unknown>, until: (bytes: number) => boolean) => {
    const headers = { "idempotency-key": key };
    const response = await robo.chat({ stream: true, ...ask, ...body }, { signal: abort.signal, headers });
    const reader = response.body?.getReader();
    for (let bytes = 0; !until(bytes); ) bytes += (await reader?.read())?.value?.length ?? 0;
    await reader?.cancel();
    return await closedRow(key);
  };
  provider.script("*", {
    headers: eventStream,
    steps: [`data: ${JSON.stringify(said("one"))}\n\n`, "stall"],
  });
  const content = "漢字仮名".repeat(10_000);
  const long = { model: "openai/plain", messages: [{ role: "user", content }] };
  const dense = await read("dense", long, (bytes) => bytes > 0);
  // A quarter of its bytes would be 30,000.
  expect(Number(dense.input)).toBeGreaterThan(35_000);
  const longer = { model: "openai/plain", messages: [{ role: "user", content: content.repeat(10) }] };
  const longest = await read("longest", longer, (bytes) => bytes > 0);
  expect(longest.charged_nano).toBe(longest.hold_nano);
  const event = `data: ${JSON.stringify(said("long ".repeat(1_000_000)))}`;
  provider.script("*", { headers: eventStream, steps: [event, "stall"] });
  const large = await read("large", { model: "openai/plain" }, (bytes) => bytes > 4_000_000);
  expect(Number(large.output)).toBeGreaterThan(1_000_000);
  expect(Number(large.charged_nano)).toBeGreaterThanOrEqual(Number(large.hold_nano));
}, 60_000);

describe("a document too large to hold", () => {
  const type = { "content-type": "application/json" };
  const begun = '{"choices":[{"index":0,"message":{"role":"assistant","content":"';
  const megabyte = "x".repeat(1 << 20);

  test("is charged its hold when the caller does not read it, however long the provider would wait", async () => {
    const current = await budget(1_000_000_000_000);
    const steps = [begun, { repeat: megabyte, times: 60 }, "stall" as const];
    provider.script("slowdoc", { headers: type, steps });
    const body = JSON.stringify({ model: "slowdoc", ...ask, max_tokens: 20_000_000, messages: [] });
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname).pause();
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${robo.bearer}\r\nIdempotency-Key: unread\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await Bun.sleep(1_000);
    await gateway.parts.ledger.settled();
    // The provider did nothing wrong, though it was silent for longer than it may be.
    const [open] = await gateway.database.sql`select state from requests where idempotency_key = 'unread'`;
    expect(open?.state).toBe("open");
    const left = await closedRow("unread");
    socket.destroy();
    expect(left.charged_nano).toBe(left.hold_nano);
    expect(Number(left.output)).toBeGreaterThan(0);
    expect((await current()).held_usd).toBe("0.00");
  }, 30_000);

  test("counts for what passed of it when nobody says what it used", async () => {
    await budget(1_000_000_000_000);
    const breaks = [{ pause: 200 }, { cut: "fin" as const }];
    const steps = [begun, { repeat: megabyte, times: 10 }, ...breaks];
    provider.script("slowdoc", { headers: type, steps });
    const headers = { "idempotency-key": "broken" };
    const broken = await robo.chat({ model: "slowdoc", ...ask }, { headers });
    await broken.text().catch(() => {});
    const found = await closedRow("broken");
    expect(Number(found.output)).toBeGreaterThan(8 << 18);
    expect(Number(found.charged_nano)).toBeGreaterThanOrEqual(Number(found.hold_nano));
    provider.script("slowdoc", { headers: type, steps: [begun, { repeat: megabyte, times: 10 }, '"}}]}'] });
    const unsaid = await robo.chat({ model: "slowdoc", ...ask });
    await unsaid.text();
    expect(Number((await row(unsaid))?.output)).toBeGreaterThan(10 << 18);
  });
});

test("an answer that the provider breaks off is charged as it was seen", async () => {
  const current = await budget(1_000_000_000);
  const steps = [`data: ${JSON.stringify(said("one two"))}\n\n`, { pause: 50 }, { cut: "fin" as const }];
  provider.script("*", { headers: eventStream, steps });
  const response = await robo.chat({ model: "openai/plain", stream: true, ...ask });
  await response.text();
  const found = await row(response);
  expect(found).toMatchObject({ state: "estimated", output: 2 });
  expect(found?.chargedNano).toBe(found?.costNano ?? 0);
  expect((await current()).held_usd).toBe("0.00");
});

test("money that was set aside for nothing comes back", async () => {
  const current = await budget(1_000_000_000);
  provider.script("ill", refusal(500));
  let response = await robo.chat({ model: "ill", ...ask });
  for (let n = 0; n < 30 && response.status === 500; n++)
    response = await robo.chat({ model: "ill", ...ask });
  expect(response.status).toBe(503);
  const deadline = performance.now() + 5_000;
  while ((await current()).held_usd !== "0.00" && performance.now() < deadline) await Bun.sleep(20);
  expect(await current()).toMatchObject({ held_usd: "0.00", spent_usd: "0.00" });
});

test("counting tokens takes no money", async () => {
  await budget(0);
  provider.script("*", json({ input_tokens: 12 }));
  const response = await robo.fetch("/v1/messages/count_tokens", {
    method: "POST",
    headers: { "content-type": "application/json", "anthropic-version": "2023-06-01" },
    body: JSON.stringify({ model: "claude/opus", messages: [] }),
  });
  expect(response.status).toBe(200);
  expect(await row(response)).toMatchObject({
    state: "settled",
    holdNano: null,
    costNano: 0,
    chargedNano: 0,
  });
});
