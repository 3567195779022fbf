/**
 * Chat completions of those who imitate OpenAI's.
 */
import { data, document, type Recorded, stream } from "./recorded.ts";
import { base, chat, counts, delta, finish } from "./recorded-openai.ts";

/** ai.google.dev, "OpenAI compatibility"; docs.x.ai, "Reasoning". */
const hidden: Recorded[] = [
  stream(
    chat,
    "Gemini: thoughts stand in the total alone",
    data(
      {
        choices: [{ delta: { content: "Paris", role: "assistant" }, index: 0 }],
        created: 1_764_500_000,
        id: "aBcD",
        model: "gemini-2.5-flash",
        object: "chat.completion.chunk",
        usage: { completion_tokens: 1, prompt_tokens: 9, total_tokens: 60 },
      },
      {
        choices: [{ delta: { role: "assistant" }, finish_reason: "stop", index: 0 }],
        created: 1_764_500_000,
        id: "aBcD",
        model: "gemini-2.5-flash",
        object: "chat.completion.chunk",
        usage: { completion_tokens: 7, prompt_tokens: 9, total_tokens: 345 },
      },
      "[DONE]",
    ),
    { usage: { input: 9, output: 336, reasoning: 329 }, final: false, terminal: "done", text: "Paris" },
  ),
  document(
    chat,
    "xAI: reasoning beside the completion",
    {
      ...base,
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "8", reasoning_content: "5+3" },
          finish_reason: "stop",
        },
      ],
      usage: {
        prompt_tokens: 26,
        completion_tokens: 1,
        total_tokens: 300,
        prompt_tokens_details: { text_tokens: 26, cached_tokens: 25 },
        completion_tokens_details: { reasoning_tokens: 273 },
      },
    },
    { usage: { input: 26, output: 274, cached_read: 25, reasoning: 273 }, text: "5+38" },
  ),
];

/** openrouter.ai, docs.mistral.ai, console.groq.com, api-docs.deepseek.com, platform.moonshot.ai, docs.perplexity.ai. */
const others: Recorded[] = [
  stream(
    chat,
    "OpenRouter: comments between events, cache writes and cost in the usage",
    `: OPENROUTER PROCESSING\n\n${data(
      {
        id: "gen-1",
        provider: "Anthropic",
        model: "anthropic/claude-sonnet-4.5",
        object: "chat.completion.chunk",
        created: 1,
        choices: [
          { index: 0, delta: { role: "assistant", content: "", reasoning: "Hm. " }, finish_reason: null },
        ],
      },
      {
        id: "gen-1",
        choices: [
          {
            index: 0,
            delta: { role: "assistant", content: "Yes" },
            finish_reason: null,
            native_finish_reason: null,
          },
        ],
      },
    )}: OPENROUTER PROCESSING\n\n${data(
      {
        id: "gen-1",
        choices: [
          {
            index: 0,
            delta: { role: "assistant", content: "" },
            finish_reason: "stop",
            native_finish_reason: "end_turn",
          },
        ],
      },
      {
        id: "gen-1",
        choices: [],
        usage: {
          prompt_tokens: 2_100,
          completion_tokens: 30,
          total_tokens: 2_130,
          cost: 0.0101,
          is_byok: false,
          prompt_tokens_details: {
            cached_tokens: 100,
            cache_write_tokens: 1_900,
            audio_tokens: 0,
            video_tokens: 0,
          },
          cost_details: { upstream_inference_cost: null },
          completion_tokens_details: { reasoning_tokens: 8, image_tokens: 0 },
        },
      },
      "[DONE]",
    )}`,
    {
      usage: { input: 2_100, output: 30, cached_read: 100, cache_write: 1_900, reasoning: 8, audio: 0 },
      final: true,
      terminal: "done",
      text: "Hm. Yes",
    },
  ),
  stream(
    chat,
    "OpenRouter: an error in the middle",
    data(
      { id: "gen-2", choices: [{ index: 0, delta: { content: "Half" }, finish_reason: null }] },
      {
        id: "gen-2",
        error: { code: 502, message: "Upstream error" },
        choices: [{ index: 0, delta: { content: "" }, finish_reason: "error" }],
      },
    ),
    { usage: null, terminal: "error", text: "Half" },
  ),
  stream(
    chat,
    "Mistral: usage on the chunk that finishes",
    data(
      {
        id: "m1",
        object: "chat.completion.chunk",
        created: 1,
        model: "mistral-small-latest",
        choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }],
      },
      {
        id: "m1",
        object: "chat.completion.chunk",
        created: 1,
        model: "mistral-small-latest",
        choices: [{ index: 0, delta: { content: "Ça va" }, finish_reason: null }],
      },
      {
        id: "m1",
        object: "chat.completion.chunk",
        created: 1,
        model: "mistral-small-latest",
        choices: [{ index: 0, delta: { content: "" }, finish_reason: "stop" }],
        usage: { prompt_tokens: 12, total_tokens: 15, completion_tokens: 3 },
      },
      "[DONE]",
    ),
    { usage: { input: 12, output: 3 }, final: false, terminal: "done", text: "Ça va" },
  ),
  stream(
    chat,
    "Groq: usage below x_groq",
    data(
      {
        ...base,
        choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }],
        x_groq: { id: "req_01" },
      },
      delta("Fast"),
      {
        ...finish(),
        x_groq: {
          id: "req_01",
          usage: {
            queue_time: 0.03,
            prompt_tokens: 40,
            prompt_time: 0.001,
            completion_tokens: 2,
            completion_time: 0.01,
            total_tokens: 42,
            total_time: 0.011,
          },
        },
      },
      "[DONE]",
    ),
    { usage: { input: 40, output: 2 }, final: false, terminal: "done", text: "Fast" },
  ),
  stream(
    chat,
    "DeepSeek: cache hits beside the details",
    `${data({ ...base, choices: [{ index: 0, delta: { role: "assistant", content: null, reasoning_content: "想" }, finish_reason: null }] })}: keep-alive\n\n${data(
      delta("好"),
      {
        ...finish(),
        usage: counts(64, 9, {
          prompt_cache_hit_tokens: 60,
          prompt_cache_miss_tokens: 4,
          completion_tokens_details: { reasoning_tokens: 5 },
        }),
      },
      "[DONE]",
    )}`,
    {
      usage: { input: 64, output: 9, cached_read: 60, reasoning: 5 },
      final: false,
      terminal: "done",
      text: "想好",
    },
  ),
  stream(
    chat,
    "Moonshot: usage inside of the choice",
    data(
      delta("月"),
      {
        ...base,
        choices: [
          {
            index: 0,
            delta: {},
            finish_reason: "stop",
            usage: { prompt_tokens: 19, completion_tokens: 13, total_tokens: 32, cached_tokens: 8 },
          },
        ],
      },
      "[DONE]",
    ),
    { usage: { input: 19, output: 13, cached_read: 8 }, final: false, terminal: "done", text: "月" },
  ),
  stream(
    chat,
    "Perplexity: cumulative in every chunk, and no [DONE]",
    data(
      { ...delta("One"), usage: counts(7, 1) },
      { ...delta(" two"), usage: counts(7, 2) },
      { ...finish(), usage: counts(7, 3) },
    ),
    { usage: { input: 7, output: 3 }, final: false, terminal: null, text: "One two" },
  ),
  stream(
    chat,
    "Anthropic's OpenAI-compatible address",
    data(
      {
        id: "msg_01",
        choices: [{ index: 0, delta: { content: "Hello", role: "assistant" } }],
        created: 1,
        model: "claude-sonnet-4-5",
        object: "chat.completion.chunk",
      },
      {
        id: "msg_01",
        choices: [{ index: 0, delta: { content: "" }, finish_reason: "stop" }],
        created: 1,
        model: "claude-sonnet-4-5",
        object: "chat.completion.chunk",
      },
      {
        id: "msg_01",
        choices: [],
        created: 1,
        model: "claude-sonnet-4-5",
        object: "chat.completion.chunk",
        usage: counts(10, 4),
      },
      "[DONE]",
    ),
    { usage: { input: 10, output: 4 }, final: true, terminal: "done", text: "Hello" },
  ),
];

/** docs.vllm.ai, docs.ollama.com, github.com/ggml-org/llama.cpp (tools/server). */
const local: Recorded[] = [
  stream(
    chat,
    "vLLM: usage so far in every chunk, then in one of its own",
    data(
      {
        id: "chatcmpl-v",
        object: "chat.completion.chunk",
        created: 1,
        model: "qwen",
        choices: [
          { index: 0, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null },
        ],
        prompt_token_ids: null,
        usage: { prompt_tokens: 33, total_tokens: 33, completion_tokens: 0 },
      },
      {
        id: "chatcmpl-v",
        object: "chat.completion.chunk",
        created: 1,
        model: "qwen",
        choices: [
          { index: 0, delta: { content: "A" }, logprobs: null, finish_reason: null, token_ids: null },
        ],
        usage: { prompt_tokens: 33, total_tokens: 34, completion_tokens: 1 },
      },
      {
        id: "chatcmpl-v",
        object: "chat.completion.chunk",
        created: 1,
        model: "qwen",
        choices: [
          { index: 0, delta: { content: "" }, logprobs: null, finish_reason: "stop", stop_reason: null },
        ],
        usage: { prompt_tokens: 33, total_tokens: 35, completion_tokens: 2 },
      },
      {
        id: "chatcmpl-v",
        object: "chat.completion.chunk",
        created: 1,
        model: "qwen",
        choices: [],
        usage: { prompt_tokens: 33, total_tokens: 35, completion_tokens: 2 },
      },
      "[DONE]",
    ),
    { usage: { input: 33, output: 2 }, final: true, terminal: "done", text: "A" },
  ),
  stream(
    chat,
    "Ollama",
    data(
      {
        id: "chatcmpl-12",
        object: "chat.completion.chunk",
        created: 1,
        model: "llama3.2",
        system_fingerprint: "fp_ollama",
        choices: [{ index: 0, delta: { role: "assistant", content: "Hi" }, finish_reason: null }],
      },
      {
        id: "chatcmpl-12",
        object: "chat.completion.chunk",
        created: 1,
        model: "llama3.2",
        system_fingerprint: "fp_ollama",
        choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: "stop" }],
      },
      {
        id: "chatcmpl-12",
        object: "chat.completion.chunk",
        created: 1,
        model: "llama3.2",
        system_fingerprint: "fp_ollama",
        choices: [],
        usage: counts(26, 2),
      },
      "[DONE]",
    ),
    { usage: { input: 26, output: 2 }, final: true, terminal: "done", text: "Hi" },
  ),
  stream(
    chat,
    "llama.cpp: timings beside the usage, no space behind the colon",
    `data:{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1,"id":"chatcmpl-l","model":"gguf","object":"chat.completion.chunk"}\n\ndata:{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Öl"}}],"created":1,"id":"chatcmpl-l","model":"gguf","object":"chat.completion.chunk"}\n\ndata:{"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1,"id":"chatcmpl-l","model":"gguf","object":"chat.completion.chunk"}\n\ndata:{"choices":[],"created":1,"id":"chatcmpl-l","model":"gguf","object":"chat.completion.chunk","usage":{"completion_tokens":4,"prompt_tokens":11,"total_tokens":15},"timings":{"cache_n":7,"prompt_n":4,"prompt_ms":30.1,"predicted_n":4}}\n\ndata: [DONE]\n\n`,
    { usage: { input: 11, output: 4 }, final: true, terminal: "done", text: "Öl" },
  ),
];

export const recordedChats: readonly Recorded[] = [...hidden, ...others, ...local];
