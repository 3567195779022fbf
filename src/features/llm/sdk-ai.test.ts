/** The `ai` package with `@ai-sdk/openai` and `@ai-sdk/anthropic`, unmodified, in front of the gateway. */
import { afterAll, expect, test } from "bun:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embed, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";
import { startGateway } from "../../testing/gateway.ts";
import { answer, refuse } from "../../testing/provider-answers.ts";

const gateway = await startGateway({
  yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER" }
  claude: { kind: anthropic, base_url: "PROVIDER" }
models:
  smart: { targets: [{ provider: claude, model: words }], retries: 0 }
`,
});
afterAll(() => gateway.close());
const { provider, robo } = gateway;
const baseURL = `${gateway.url}/v1`;
const openai = createOpenAI({ baseURL, apiKey: robo.bearer });
const anthropic = createAnthropic({ baseURL, apiKey: robo.bearer });

const eight = "word1 word2 word3 word4 word5 word6 word7 word8 ";
/** Every way the SDK has to ask for a text. */
const ways = (name: string) => [
  { way: "responses", model: openai(`openai/${name}`) },
  { way: "chat", model: openai.chat(`openai/${name}`) },
  { way: "messages", model: anthropic(`claude/${name}`) },
];
const usual = { prompt: "hello", maxOutputTokens: 100, maxRetries: 0 };

test("a text is made whole and streamed, with its tokens", async () => {
  for (const { model } of ways("words")) {
    const whole = await generateText({ ...usual, model });
    expect([whole.text, whole.usage.inputTokens, whole.usage.outputTokens]).toEqual([eight, 11, 8]);
    const stream = streamText({ ...usual, model });
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    expect([text, (await stream.usage).outputTokens]).toEqual([eight, 8]);
  }
  expect((await generateText({ ...usual, model: anthropic("smart") })).text).toBe(eight);
});

test("a tool runs between two rounds", async () => {
  const weather = tool({
    description: "The weather",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sun over ${city}`,
  });
  for (const { way, model } of ways("round")) {
    provider.script(
      "round",
      answer({ tool: { name: "weather", input: { city: "Zürich" } } }),
      answer({ content: "It is sunny." }),
    );
    const { text, steps } = await generateText({
      ...usual,
      model,
      tools: { weather },
      stopWhen: isStepCount(3),
    });
    expect([way, text, steps.length]).toEqual([way, "It is sunny.", 2]);
    expect(new TextDecoder().decode(provider.received.at(-1)?.body)).toContain("sun over Zürich");
  }
});

test("a value is embedded", async () => {
  const { embedding, usage } = await embed({
    model: openai.textEmbeddingModel("openai/words"),
    value: "hello",
  });
  expect([embedding, usage.tokens]).toEqual([[0.25, -0.5, 1], 11]);
});

test("a refusal is told apart by what may be tried again", async () => {
  const refused = async (model: ReturnType<typeof ways>[number]["model"]) => {
    const error = await generateText({ ...usual, model }).catch((failure) => failure);
    expect(error).toBeInstanceOf(APICallError);
    return error as APICallError;
  };
  provider.script("busy", refuse(429));
  provider.script("wrong", refuse(400));
  for (const { model } of ways("busy")) {
    const { statusCode, isRetryable } = await refused(model);
    expect([statusCode, isRetryable]).toEqual([429, true]);
  }
  for (const { model } of ways("wrong")) {
    const { statusCode, isRetryable } = await refused(model);
    expect([statusCode, isRetryable]).toEqual([400, false]);
  }
});
