/** The packages that people call models with, unmodified, in front of the compiled binary: one call of each kind. */
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { embed, generateText, streamText } from "ai";
import OpenAI from "openai";
import { answer } from "../../src/testing/provider-answers.ts";
import type { World } from "../chaos/world.ts";
import { type Check, expect, expectEqual } from "./checks.ts";

const eight = "word1 word2 word3 word4 word5 word6 word7 word8 ";
const messages = [{ role: "user" as const, content: "hello out there" }];

export async function llmSdks(check: Check, world: World): Promise<void> {
  world.provider.script("sdk", answer());
  const { url } = world.gateway;
  const { token } = await world.caller();
  await check("the openai package speaks chat, completions, responses, embeddings and models", () =>
    openai(new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 })),
  );
  await check("the @anthropic-ai/sdk package speaks messages, counted tokens and models", () =>
    anthropic(new Anthropic({ baseURL: url, apiKey: token, maxRetries: 0 })),
  );
  await check("the ai package speaks responses, chat, messages and embeddings", () => ai(`${url}/v1`, token));
}

async function openai(client: OpenAI): Promise<void> {
  const model = "openai/sdk";
  const chat = await client.chat.completions.create({ model, messages });
  expectEqual([chat.choices[0]?.message.content, chat.usage?.total_tokens], [eight, 19], "chat");
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
    text += chunk.choices[0]?.delta.content ?? "";
  expectEqual(text, eight, "streamed chat");
  expectEqual(
    (await client.completions.create({ model, prompt: "hi" })).choices[0]?.text,
    eight,
    "completion",
  );
  expectEqual((await client.responses.create({ model, input: "hi" })).output_text, eight, "response");
  const streamed = await client.responses.stream({ model, input: "hi" }).finalResponse();
  expectEqual([streamed.output_text, streamed.usage?.output_tokens], [eight, 8], "streamed response");
  const { data } = await client.embeddings.create({ model, input: ["a", "b"] });
  expectEqual(
    data.map(({ embedding }) => embedding.length),
    [3, 3],
    "embeddings",
  );
  const ids = (await client.models.list()).data.map(({ id }) => id);
  expect(ids.includes("fast"), `models: ${ids}`);
}

async function anthropic(client: Anthropic): Promise<void> {
  const ask = { model: "claude/sdk", max_tokens: 100, messages };
  const [block] = (await client.messages.create(ask)).content;
  expect(block?.type === "text" && block.text === eight, `message: ${Bun.inspect(block)}`);
  const { usage } = await client.messages.stream(ask).finalMessage();
  expectEqual([usage.input_tokens, usage.output_tokens], [11, 8], "streamed message");
  const counted = await client.messages.countTokens({ model: ask.model, messages });
  expectEqual(counted.input_tokens, 11, "counted tokens");
  const ids: string[] = [];
  for await (const { id } of client.models.list()) ids.push(id);
  expect(ids.includes("fast"), `models: ${ids}`);
}

async function ai(baseURL: string, apiKey: string): Promise<void> {
  const [one, other] = [createOpenAI({ baseURL, apiKey }), createAnthropic({ baseURL, apiKey })];
  const models = [one("openai/sdk"), one.chat("openai/sdk"), other("claude/sdk")];
  for (const model of models) {
    const usual = { model, prompt: "hi", maxOutputTokens: 100, maxRetries: 0 };
    expectEqual((await generateText(usual)).text, eight, "text");
    const stream = streamText(usual);
    expectEqual([await stream.text, (await stream.usage).outputTokens], [eight, 8], "streamed text");
  }
  const { embedding } = await embed({ model: one.textEmbeddingModel("openai/sdk"), value: "hi" });
  expectEqual(embedding.length, 3, "embedding");
}
