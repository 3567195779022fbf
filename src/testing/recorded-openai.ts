/**
 * Chat completions, text completions and embeddings of OpenAI itself, and pieces that its imitators share.
 */
import { data, document, type Recorded, stream } from "./recorded.ts";

export const chat = "chat/completions";
export const base = {
  id: "chatcmpl-Bx3nYd",
  object: "chat.completion.chunk",
  created: 1_764_500_000,
  model: "gpt-4o-mini-2024-07-18",
};
export const delta = (content: string, more: object = {}) => ({
  ...base,
  ...more,
  choices: [{ index: 0, delta: { content }, logprobs: null, finish_reason: null }],
});
export const finish = (more: object = {}) => ({
  ...base,
  choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: "stop" }],
  ...more,
});
export const counts = (prompt: number, completion: number, more: object = {}) => ({
  prompt_tokens: prompt,
  completion_tokens: completion,
  total_tokens: prompt + completion,
  ...more,
});

/** platform.openai.com, "Chat completions" and "Streaming". */
const chats: Recorded[] = [
  stream(
    chat,
    "OpenAI: usage in a chunk of its own",
    data(
      {
        ...base,
        choices: [
          { index: 0, delta: { role: "assistant", content: "", refusal: null }, finish_reason: null },
        ],
        usage: null,
      },
      delta("Grüß ", { usage: null }),
      delta("สวัสดี 🌍", { usage: null }),
      finish({ usage: null }),
      {
        ...base,
        choices: [],
        usage: counts(19, 10, {
          prompt_tokens_details: { cached_tokens: 16, audio_tokens: 0 },
          completion_tokens_details: {
            reasoning_tokens: 0,
            audio_tokens: 0,
            accepted_prediction_tokens: 0,
            rejected_prediction_tokens: 0,
          },
        }),
      },
      "[DONE]",
    ),
    {
      usage: { input: 19, output: 10, cached_read: 16, reasoning: 0, audio: 0 },
      final: true,
      terminal: "done",
      text: "Grüß สวัสดี 🌍",
    },
  ),
  stream(
    chat,
    "OpenAI: tool calls, and reasoning that nobody sees",
    data(
      {
        ...base,
        model: "gpt-5",
        choices: [
          {
            index: 0,
            delta: {
              role: "assistant",
              content: null,
              tool_calls: [
                { index: 0, id: "call_1", type: "function", function: { name: "weather", arguments: "" } },
              ],
            },
            finish_reason: null,
          },
        ],
      },
      {
        ...base,
        model: "gpt-5",
        choices: [
          {
            index: 0,
            delta: { tool_calls: [{ index: 0, function: { arguments: '{"city":"Zürich"}' } }] },
            finish_reason: null,
          },
        ],
      },
      { ...base, model: "gpt-5", choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] },
      {
        ...base,
        model: "gpt-5",
        choices: [],
        usage: counts(80, 212, { completion_tokens_details: { reasoning_tokens: 192 } }),
      },
      "[DONE]",
    ),
    {
      usage: { input: 80, output: 212, reasoning: 192 },
      final: true,
      terminal: "done",
      text: 'weather{"city":"Zürich"}',
    },
  ),
  stream(
    chat,
    "OpenAI: audio, with an id that a later call may name",
    data(
      {
        ...base,
        model: "gpt-4o-audio-preview",
        choices: [
          {
            index: 0,
            delta: { role: "assistant", audio: { id: "audio_67c8", transcript: "Good " } },
            finish_reason: null,
          },
        ],
      },
      {
        ...base,
        model: "gpt-4o-audio-preview",
        choices: [{ index: 0, delta: { audio: { data: "UklGRiQAAABXQVZF" } }, finish_reason: null }],
      },
      {
        ...base,
        model: "gpt-4o-audio-preview",
        choices: [
          {
            index: 0,
            delta: { audio: { transcript: "day", expires_at: 1_764_503_600 } },
            finish_reason: null,
          },
        ],
      },
      finish(),
      {
        ...base,
        choices: [],
        usage: counts(30, 60, {
          prompt_tokens_details: { audio_tokens: 12, text_tokens: 18 },
          completion_tokens_details: { audio_tokens: 44, text_tokens: 16 },
        }),
      },
      "[DONE]",
    ),
    {
      usage: { input: 30, output: 60, audio: 56, audio_input: 12, audio_output: 44 },
      final: true,
      terminal: "done",
      kept: ["audio_67c8"],
      text: "Good day",
    },
  ),
  stream(
    chat,
    "Azure OpenAI: the prompt's filter first, in a chunk without choices",
    data(
      {
        choices: [],
        created: 0,
        id: "",
        model: "",
        object: "",
        prompt_filter_results: [{ prompt_index: 0 }],
      },
      delta("ok"),
      finish(),
      { ...base, choices: [], usage: counts(5, 1) },
      "[DONE]",
    ),
    { usage: { input: 5, output: 1 }, final: true, terminal: "done", text: "ok" },
  ),
  document(
    chat,
    "OpenAI: one document",
    {
      ...base,
      object: "chat.completion",
      choices: [
        {
          index: 0,
          message: {
            role: "assistant",
            content: "Hi",
            refusal: null,
            annotations: [],
            audio: { id: "audio_1", data: "AA==", transcript: " there", expires_at: 1 },
          },
          finish_reason: "stop",
        },
      ],
      usage: counts(8, 3, { prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 } }),
      service_tier: "default",
    },
    { usage: { input: 8, output: 3, cached_read: 0, audio: 0 }, kept: ["audio_1"], text: "Hi there" },
  ),
];

/** platform.openai.com, "Completions (legacy)" and "Embeddings"; docs.mistral.ai; docs.voyageai.com. */
const plain: Recorded[] = [
  stream(
    "completions",
    "OpenAI: text completions",
    data(
      {
        id: "cmpl-1",
        object: "text_completion",
        created: 1,
        choices: [{ text: "Once ", index: 0, logprobs: null, finish_reason: null }],
        model: "gpt-3.5-turbo-instruct",
        usage: null,
      },
      {
        id: "cmpl-1",
        object: "text_completion",
        created: 1,
        choices: [{ text: "upon", index: 0, logprobs: null, finish_reason: "length" }],
        model: "gpt-3.5-turbo-instruct",
        usage: null,
      },
      {
        id: "cmpl-1",
        object: "text_completion",
        created: 1,
        choices: [],
        model: "gpt-3.5-turbo-instruct",
        usage: counts(5, 2),
      },
      "[DONE]",
    ),
    { usage: { input: 5, output: 2 }, final: true, terminal: "done", text: "Once upon" },
  ),
  document(
    "completions",
    "vLLM: text completions, several",
    {
      id: "cmpl-2",
      object: "text_completion",
      choices: [
        { index: 0, text: "a", finish_reason: "stop" },
        { index: 1, text: "b", finish_reason: "stop" },
      ],
      usage: counts(4, 2, { prompt_tokens_details: null }),
    },
    { usage: { input: 4, output: 2 }, text: "ab" },
  ),
  document(
    "embeddings",
    "OpenAI: embeddings",
    {
      object: "list",
      data: [{ object: "embedding", index: 0, embedding: [0.1, -0.2] }],
      model: "text-embedding-3-small",
      usage: { prompt_tokens: 8, total_tokens: 8 },
    },
    { usage: { input: 8, output: 0 }, text: "" },
  ),
  document(
    "embeddings",
    "Voyage: the total alone",
    {
      object: "list",
      data: [{ object: "embedding", embedding: "AAAA", index: 0 }],
      model: "voyage-3.5",
      usage: { total_tokens: 10 },
    },
    { usage: { input: 10, output: 0 }, text: "" },
  ),
];

export const recordedOpenai: readonly Recorded[] = [...chats, ...plain];
