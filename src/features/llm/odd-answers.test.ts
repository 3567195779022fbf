import { afterAll, expect, test } from "bun:test";
import { startGateway } from "../../testing/gateway.ts";
import { bodyOf, event, eventStream, json, refusal, type Script } from "../../testing/provider-script.ts";

const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-provider-secret" }
  spare: { kind: openai, base_url: "PROVIDER" }
  claude: { kind: anthropic, base_url: "PROVIDER" }
models:
  backed: { targets: [{ provider: openai, model: one }], fallbacks: [{ provider: spare, model: two }], retries: 0 }
  patient: { targets: [{ provider: openai, model: one }], fallbacks: [{ provider: spare, model: two }], retries: 1 }
prices:
  "openai/*": { input: 1, output: 2 }
  "spare/*": { input: 1, output: 2 }
  "claude/*": { input: 1, output: 2 }
`,
});
afterAll(() => gateway.close());
const { provider, robo, row } = gateway;

const words = "word ".repeat(200);
const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const said = (content: unknown) => ({ choices: [{ index: 0, delta: { content } }] });
const whole = (content: unknown, more: object = {}) =>
  json({ choices: [{ index: 0, message: { role: "assistant", content } }], ...more });
const stream = (...pieces: string[]): Script => ({ headers: eventStream, steps: pieces });
const done = "data: [DONE]\n\n";
const message = {
  model: "claude/m",
  max_tokens: 9,
  stream: true,
  messages: [{ role: "user", content: "hello" }],
};

test("numbers that the provider left out are counted, and the row says that they were", async () => {
  const partial: [string, Script, object][] = [
    ["no output", whole(words, { usage: { prompt_tokens: 3 } }), { state: "estimated", input: 3 }],
    [
      "half a token",
      whole(words, { usage: { ...usage, completion_tokens: 2.5 } }),
      { state: "estimated", input: 9 },
    ],
    ["all", whole(words, { usage }), { state: "settled", input: 9, output: 3 }],
  ];
  for (const [name, script, expected] of partial) {
    provider.script("m", script);
    const found = await row(await robo.chat({}));
    expect([name, found]).toMatchObject([name, expected]);
    if (name !== "all") expect(found?.output).toBeGreaterThan(100);
  }
  provider.script("m", stream(event(said(words)), event({ choices: [], usage: { prompt_tokens: 3 } }), done));
  const streamed = await robo.chat({ stream: true });
  await streamed.text();
  expect(await row(streamed)).toMatchObject({ state: "estimated", input: 3 });
});

test("text in lists is counted like any other", async () => {
  const thought = [{ type: "thinking", thinking: [{ type: "text", text: words }] }];
  provider.script("m", whole([...thought, { type: "text", text: words }]));
  expect((await row(await robo.chat({})))?.output).toBeGreaterThan(350);
  provider.script("m", stream(event(said(thought)), event(said("end")), done));
  const streamed = await robo.chat({ stream: true });
  await streamed.text();
  expect((await row(streamed))?.output).toBeGreaterThan(150);
});

test("a provider's error does not tell the key that it was sent", async () => {
  const error = { error: { message: "Incorrect API key provided: sk-provider-secret.", type: "x" } };
  for (const status of [400, 429]) {
    provider.script("m", json(error, status));
    const text = await (await robo.chat({})).text();
    expect(text).toContain("Incorrect API key provided: [redacted].");
  }
});

const overloaded = { error: { message: "overloaded", code: 502 } };
const refused = { error: { message: "no such voice", code: 400 } };
const errorFirst = (error: object) => stream(": processing\n\n", event(error));

test("an error under status 200 costs nothing, and another provider is asked when that may help", async () => {
  provider.script("two", (asked) => (asked.stream ? stream(event(said("hi")), done) : whole("hi")));
  for (const isStream of [false, true]) {
    const script = (error: object) => (isStream ? errorFirst(error) : json(error));
    provider.script("one", script(overloaded));
    const helped = await robo.chat({ model: "backed", stream: isStream });
    expect(helped.headers.get("x-specgate-attempts")).toBe("2");
    expect(await helped.text()).toContain('"hi"');

    provider.script("one", script(refused));
    const passed = await robo.chat({ model: "backed", stream: isStream });
    expect([passed.status, passed.headers.get("x-specgate-attempts")]).toEqual([200, "1"]);
    expect(await passed.text()).toBe(textOf(script(refused)));
    expect(await row(passed)).toMatchObject({ state: "failed", costNano: 0, status: 200 });
  }
  provider.script(
    "m",
    stream(
      'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
    ),
  );
  const alone = await robo.fetch("/v1/messages", post(message));

  expect(await alone.text()).toContain("overloaded_error");
  expect(await row(alone)).toMatchObject({ state: "failed", costNano: 0 });
});

test("an error under status 200 says by code or type what it would have been", async () => {
  provider.script("two", whole("hi"));
  const rows: [unknown, string][] = [
    [{ message: "no credit", code: 402 }, "2"],
    [{ message: "no key", code: "401" }, "2"],
    [{ message: "wrong", code: "400" }, "1"],
    [{ message: "wrong", type: "invalid_request_error" }, "1"],
    [{ message: "slow down", type: "rate_limit_error" }, "2"],
    ["out of memory", "2"],
  ];
  for (const [error, attempts] of rows) {
    provider.script("one", json({ error }));
    const response = await robo.chat({ model: "backed" });
    expect([error, response.headers.get("x-specgate-attempts")]).toEqual([error, attempts]);
  }
  provider.script("one", json({ error: { message: "no key", code: 401 } }));
  provider.script("two", json({ error: { message: "no key", code: 401 } }));
  expect((await robo.chat({ model: "backed" })).status).toBe(502);
  // Too many requests speak of nobody's health, whatever their status.
  provider.script("crowded", json({ error: { message: "slow down", code: 429 } }));
  for (let at = 0; at < 12; at++) expect((await robo.chat({ model: "openai/crowded" })).status).toBe(200);
});

test("a stream that was only announced before its error costs nothing, and tells no key", async () => {
  const at = (type: string, more: object = {}) =>
    event({ type, response: { id: "resp_1", usage: null, ...more } });
  const failed = at("response.failed", {
    status: "failed",
    error: { code: "server_error", message: "sk-provider-secret" },
  });
  provider.script("m", {
    headers: eventStream,
    steps: [at("response.created"), { pause: 20 }, at("response.in_progress"), { pause: 20 }, failed],
  });
  const response = await robo.fetch(
    "/v1/responses",
    post({ model: "openai/m", stream: true, input: "hello" }),
  );
  const text = await response.text();
  expect(text).toContain('"message":"[redacted]"');
  expect(text).toContain("response.created");
  expect(await row(response)).toMatchObject({ state: "failed", costNano: 0 });
});

test("a target that asked to be left alone is asked again when nobody else is left", async () => {
  provider.script("one", refusal(429, { "retry-after": "1" }), whole("hi"));
  provider.script("two", refusal(500));
  const response = await robo.chat({ model: "patient" });
  expect([response.status, response.headers.get("x-specgate-attempts")]).toEqual([200, "3"]);
  provider.script("one", { status: 308, headers: { location: "http://127.0.0.1:9/" }, steps: [] });
  provider.script("two", whole("hi"));
  expect((await robo.chat({ model: "patient" })).headers.get("x-specgate-attempts")).toBe("2");
});

test("whoever closes at the finish is not billed by guess when the provider tells at once what it used", async () => {
  const finish = event({
    choices: [{ index: 0, delta: { content: words.repeat(20) }, finish_reason: "stop" }],
  });
  const told = event({ choices: [], usage: { ...usage, prompt_tokens: 7 } });
  for (const [pause, state] of [
    [20, "settled"],
    [400, "estimated"],
  ] as const) {
    provider.script("m", { headers: eventStream, steps: [event(said("hi")), finish, { pause }, told, done] });
    const response = await robo.chat({ stream: true });
    const reader = response.body?.getReader();
    let text = "";
    while (!text.includes("finish_reason")) text += new TextDecoder().decode((await reader?.read())?.value);
    await reader?.cancel();
    for (let tries = 0; tries < 50 && (await row(response))?.state === "open"; tries++) await Bun.sleep(20);
    expect(await row(response)).toMatchObject({ state, delivery: "cut" });
  }
});

test("an answer behind a byte order mark, under a type said twice, is one", async () => {
  const body = `\uFEFF${JSON.stringify({ choices: [{ index: 0, message: { content: "hi" } }], usage })}`;
  for (const type of ["application/json, application/json", "text/json; charset=utf-8"]) {
    provider.script("m", { headers: { "content-type": type }, steps: [body] });
    const response = await robo.chat({});
    expect(response.status).toBe(200);
    expect(await row(response)).toMatchObject({ state: "settled", input: 9 });
  }
});

test("an empty answer is none, whatever length it announces, and another provider is asked", async () => {
  provider.script("two", whole("hi"));
  provider.script("one", {
    headers: { "content-type": "application/json", "content-length": "0" },
    steps: [],
  });
  const response = await robo.chat({ model: "backed" });
  expect([response.status, response.headers.get("x-specgate-attempts")]).toEqual([200, "2"]);
});

test("what the gateway adds at the end stands apart from an event that was left open", async () => {
  const open = `data: ${JSON.stringify({ ...said("hi"), usage })}`;
  provider.script("m", stream(event(said("ho")), open));
  const response = await robo.chat({ stream: true }, { headers: { "x-specgate-meta": "sse" } });
  expect(await response.text()).toContain(`${open}\n\n: specgate `);
});

const post = (body: object) => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});
const textOf = (script: Script): string => Buffer.from(bodyOf(script)).toString();
