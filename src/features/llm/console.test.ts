import { afterAll, describe, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { events, json } from "../../testing/provider-script.ts";
import { asStream, asWhole } from "./console-body.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());
const { provider, robo, row } = gateway;
const { olga, ada } = await gateway.people();

const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const whole = json({ choices: [{ index: 0, message: { role: "assistant", content: "hi" } }], usage });
const stream = events([{ choices: [{ index: 0, delta: { content: "hi" } }] }, { choices: [], usage }]);
const question = { model: "openai/m", messages: [{ role: "user", content: "hello" }] };

const send = (who: Actor, path: string, body: object | string, headers: Record<string, string> = {}) =>
  who.fetch(`/api/llm/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
const refusal = async (response: Response) => {
  const { error } = (await response.json()) as { error: { code: string } };
  return `${response.status} ${error.code}`;
};

test("a person's browser is answered, whole or as a stream, and the calls are on the person's account", async () => {
  provider.script("m", whole);
  const answer = await send(olga, "chat", question);
  expect(await answer.json()).toMatchObject({ usage });
  expect(await row(answer)).toMatchObject({ userId: olga.id, keyId: null, costNano: 15_000 });
  provider.script("m", stream);
  for (const body of [question, { ...question, stream: true }, { ...question, stream: null }]) {
    const streamed = await send(olga, "stream", body);
    expect(streamed.headers.get("content-type")).toContain("text/event-stream");
    expect(await streamed.text()).toEndWith("data: [DONE]\n\n");
    expect(provider.received.at(-1)?.json).toMatchObject({ stream: true });
    expect(await row(streamed)).toMatchObject({ stream: true, state: "settled", userId: olga.id });
  }
});

test("the path and the body say the same, or nothing is asked", async () => {
  const asked = provider.received.length;
  expect(await refusal(await send(olga, "chat", { ...question, stream: true }))).toBe("400 invalid_request");
  expect(await refusal(await send(olga, "stream", { ...question, stream: false }))).toBe(
    "400 invalid_request",
  );
  expect(await refusal(await send(olga, "stream", { ...question, stream: "yes" }))).toBe(
    "400 invalid_request",
  );
  expect(await refusal(await send(olga, "stream", "{}"))).toBe("400 invalid_request");
  expect(await refusal(await send(olga, "stream", "[]"))).toBe("400 invalid_json");
  expect(provider.received.length).toBe(asked);
});

test("no bearer opens it, and no other site", async () => {
  const { key } = await gateway.keys.create(localActor, {
    owner: { userEmail: olga.email },
    scope: "llm:chat",
  });
  for (const path of ["chat", "stream"]) {
    expect(await refusal(await send(gateway.nobody, path, question))).toBe("401 invalid_api_key");
    expect(await refusal(await send(robo, path, question))).toBe("403 people_only");
    expect(await refusal(await send(gateway.as(key), path, question))).toBe("403 sign_in_needed");
    // With both the bearer decides.
    expect(await refusal(await send(olga, path, question, { authorization: `Bearer ${key}` }))).toBe(
      "403 sign_in_needed",
    );
    expect(await refusal(await send(olga, path, question, { "sec-fetch-site": "cross-site" }))).toBe(
      "403 cross_site",
    );
    expect((await send(ada, path, question, { origin: "https://evil.example" })).status).toBe(403);
  }
});

test("its errors are OpenAI's, whatever the caller says it speaks", async () => {
  const response = await send(
    olga,
    "chat",
    { ...question, model: "nope" },
    { "anthropic-version": "2023-06-01" },
  );
  expect(await refusal(response)).toBe("404 model_not_found");
});

describe("the body of a stream", () => {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  test("keeps every byte beside `stream`", () => {
    const rows: [string, string][] = [
      ["{}", '{"stream":true}'],
      [' { "model" : "x" }\n', ' {"stream":true, "model" : "x" }\n'],
      ['{"a":{"stream":false},"stream" : null }', '{"a":{"stream":false},"stream" : true }'],
      ['{"stream":true,"x":1.50}', '{"stream":true,"x":1.50}'],
    ];
    for (const [sent, read] of rows) expect(text(asStream(Buffer.from(sent)))).toBe(read);
  });
  test("of a whole answer stays as it is", () => {
    for (const sent of ['{"stream":false}', '{"stream":null}', "{}"])
      expect(text(asWhole(Buffer.from(sent)))).toBe(sent);
  });
});
