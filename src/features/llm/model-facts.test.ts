import { expect, test } from "bun:test";
import { hidesReasoning, outputTokensMaxOf } from "./model-facts.ts";
import { parseRequest } from "./request.ts";

const asked = (body: object = {}) =>
  parseRequest("chat/completions", new Uint8Array(Buffer.from(JSON.stringify({ model: "m", ...body }))));

test("no model is taken to write less than it can", () => {
  const rows: [string, number | null, number][] = [
    ["gpt-4o-mini", 128_000, 16_384],
    ["openai/gpt-4o-2024-08-06", null, 16_384],
    ["ft:gpt-4o-mini-2024-07-18:acme::abc", null, 16_384],
    ["gpt-4.1-nano", null, 32_768],
    ["gpt-4-turbo", null, 8_192],
    ["gpt-5-mini", 400_000, 128_000],
    ["o4-mini", null, 100_000],
    ["claude-3-haiku-20240307", null, 4_096],
    ["claude-3-5-sonnet-latest", null, 8_192],
    ["claude-opus-4-1-20250805", null, 32_000],
    ["claude-opus-4-20250514", null, 32_000],
    ["claude-opus-4-5", null, 64_000],
    ["anthropic/claude-sonnet-4-5-20250929", null, 64_000],
    ["us.anthropic.claude-haiku-4-5", null, 64_000],
    ["claude-opus-4-6", null, 128_000],
    ["claude-sonnet-5-5", null, 128_000],
    ["gemini-2.5-pro", null, 65_536],
    ["models/gemini-2.0-flash", null, 8_192],
    ["llama3.2", 8_000, 8_000],
    ["something-new", null, 128_000],
    ["something-large", 2_000_000, 128_000],
  ];
  for (const [model, context, tokens] of rows)
    expect([model, outputTokensMaxOf(model, context)]).toEqual([model, tokens]);
});

test("models that think out of sight are known, and so is a call that asks for it", () => {
  const hidden = [
    "o1",
    "o3-mini",
    "openai/o4-mini",
    "gpt-5",
    "gpt-5.1-codex",
    "gemini-2.5-flash",
    "gemini-3-pro-preview",
    "gemini-flash-latest",
    "grok-4",
    "claude-opus-5-5",
    "claude-haiku-5-5",
    "claude-fable-5-1",
    "sonar-deep-research",
    "openrouter/auto",
  ];
  for (const model of hidden) expect([model, hidesReasoning(model, asked())]).toEqual([model, true]);
  const open = [
    "gpt-4o",
    "gpt-4.1",
    "claude-sonnet-4-5",
    "claude-opus-4-20250514",
    "claude-3-5-haiku-latest",
    "deepseek-reasoner",
    "deepseek-r1",
    "llama3.2",
    "gemini-2.0-flash",
    "mistral-small",
  ];
  for (const model of open) expect([model, hidesReasoning(model, asked())]).toEqual([model, false]);
  expect(hidesReasoning("llama3.2", asked({ reasoning_effort: "low" }))).toBe(true);
});
