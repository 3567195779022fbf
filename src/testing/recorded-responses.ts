/**
 * OpenAI's responses and Anthropic's messages.
 */
import { data, document, named, type Recorded, stream } from "./recorded.ts";

const response = (more: object) => ({
  id: "resp_68ab",
  object: "response",
  created_at: 1_764_500_000,
  background: false,
  error: null,
  incomplete_details: null,
  model: "gpt-5-mini",
  output: [],
  previous_response_id: null,
  store: true,
  status: "in_progress",
  usage: null,
  ...more,
});
const message = (text: string) => ({
  id: "msg_68ab",
  type: "message",
  status: "completed",
  role: "assistant",
  content: [{ type: "output_text", annotations: [], logprobs: [], text }],
});
const used = (input: number, cached: number, output: number, reasoning: number) => ({
  input_tokens: input,
  input_tokens_details: { cached_tokens: cached },
  output_tokens: output,
  output_tokens_details: { reasoning_tokens: reasoning },
  total_tokens: input + output,
});
const opening = [
  { type: "response.created", sequence_number: 0, response: response({}) },
  { type: "response.in_progress", sequence_number: 1, response: response({}) },
];
const textDelta = (delta: string, sequence: number) => ({
  type: "response.output_text.delta",
  sequence_number: sequence,
  item_id: "msg_68ab",
  output_index: 1,
  content_index: 0,
  delta,
  logprobs: [],
  obfuscation: "x8Gq",
});

/** platform.openai.com, "Responses" and "Streaming events"; docs.vllm.ai; openrouter.ai, "Responses API". */
const responses: Recorded[] = [
  stream(
    "responses",
    "OpenAI: a response with reasoning and a container",
    named(
      ...opening,
      {
        type: "response.reasoning_summary_text.delta",
        sequence_number: 2,
        item_id: "rs_68ab",
        output_index: 0,
        summary_index: 0,
        delta: "Thinking. ",
      },
      textDelta("Día ", 3),
      textDelta("日 🌞", 4),
      {
        type: "response.completed",
        sequence_number: 5,
        response: response({
          status: "completed",
          output: [
            { id: "rs_68ab", type: "reasoning", summary: [{ type: "summary_text", text: "Thinking. " }] },
            {
              id: "ci_68ab",
              type: "code_interpreter_call",
              status: "completed",
              code: "1",
              container_id: "cntr_68ab",
              outputs: [],
            },
            message("Día 日 🌞"),
          ],
          usage: used(120, 64, 90, 70),
        }),
      },
    ),
    {
      usage: { input: 120, output: 90, cached_read: 64, reasoning: 70 },
      final: true,
      terminal: "done",
      kept: ["resp_68ab", "cntr_68ab", "rs_68ab", "ci_68ab", "msg_68ab"],
      text: "Thinking. Día 日 🌞",
    },
  ),
  stream(
    "responses",
    "OpenAI: cut at the limit of tokens",
    named(...opening, textDelta("Only ", 2), {
      type: "response.incomplete",
      sequence_number: 3,
      response: response({
        status: "incomplete",
        incomplete_details: { reason: "max_output_tokens" },
        output: [message("Only ")],
        usage: used(10, 0, 16, 0),
      }),
    }),
    {
      usage: { input: 10, output: 16, cached_read: 0, reasoning: 0 },
      final: true,
      terminal: "done",
      kept: ["resp_68ab", "msg_68ab"],
      text: "Only ",
    },
  ),
  stream(
    "responses",
    "OpenAI: failed without numbers",
    named(...opening, textDelta("Ups", 2), {
      type: "response.failed",
      sequence_number: 3,
      response: response({ status: "failed", error: { code: "server_error", message: "The model failed." } }),
    }),
    { usage: null, terminal: "error", kept: ["resp_68ab"], text: "Ups" },
  ),
  stream(
    "responses",
    "OpenAI: an error event",
    named(...opening, {
      type: "error",
      sequence_number: 2,
      code: "rate_limit_exceeded",
      message: "Slow down.",
      param: null,
    }),
    { usage: null, terminal: "error", text: "" },
  ),
  stream(
    "responses",
    "OpenRouter: data lines alone, and [DONE] behind the end",
    data(
      ...opening,
      textDelta("Hi", 2),
      {
        type: "response.output_item.added",
        output_index: 2,
        item: { type: "function_call", id: "fc_1", call_id: "call_1", name: "f", arguments: "" },
      },
      { type: "response.function_call_arguments.delta", item_id: "fc_1", delta: "{}" },
      {
        type: "response.completed",
        response: response({
          status: "completed",
          output: [],
          usage: { input_tokens: 5, output_tokens: 6, total_tokens: 11 },
        }),
      },
      "[DONE]",
    ),
    { usage: { input: 5, output: 6 }, final: true, terminal: "done", kept: ["resp_68ab"], text: "Hif{}" },
  ),
  document(
    "responses",
    "OpenAI: one document",
    response({
      status: "completed",
      output: [message("Whole")],
      usage: { ...used(9, 8, 7, 0), input_tokens_details: { cached_tokens: 8, cache_write_tokens: 1 } },
    }),
    {
      usage: { input: 9, output: 7, cached_read: 8, cache_write: 1, reasoning: 0 },
      kept: ["resp_68ab", "msg_68ab"],
      text: "Whole",
    },
  ),
];

const start = (usage: object, more: object = {}) => ({
  type: "message_start",
  message: {
    model: "claude-sonnet-4-5-20250929",
    id: "msg_01Xy",
    type: "message",
    role: "assistant",
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage,
    ...more,
  },
});
const textBlock = { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } };
const blockDelta = (delta: object, index = 0) => ({ type: "content_block_delta", index, delta });
const blockStop = { type: "content_block_stop", index: 0 };
const stop = { type: "message_stop" };
const ended = (usage: object, delta: object = {}) => ({
  type: "message_delta",
  delta: { stop_reason: "end_turn", stop_sequence: null, ...delta },
  usage,
});

/** platform.claude.com, "Streaming messages", "Prompt caching", "Thinking", "Code execution", "Compaction". */
const messages: Recorded[] = [
  stream(
    "messages",
    "Anthropic: caches, of which one is kept for an hour",
    `${named(
      start({
        input_tokens: 21,
        cache_creation_input_tokens: 900,
        cache_read_input_tokens: 2_000,
        cache_creation: { ephemeral_5m_input_tokens: 400, ephemeral_1h_input_tokens: 500 },
        output_tokens: 2,
        service_tier: "standard",
      }),
      textBlock,
    )}event: ping\ndata: {"type": "ping"}\n\n${named(
      blockDelta({ type: "text_delta", text: "Olá, " }),
      blockDelta({ type: "text_delta", text: "世界 🎉" }),
      blockStop,
      ended({
        input_tokens: 21,
        cache_creation_input_tokens: 900,
        cache_read_input_tokens: 2_000,
        output_tokens: 15,
      }),
      stop,
    )}`,
    {
      usage: { input: 2_921, output: 15, cached_read: 2_000, cache_write: 900, cache_write_long: 500 },
      final: true,
      terminal: "done",
      text: "Olá, 世界 🎉",
    },
  ),
  stream(
    "messages",
    "Anthropic: thinking and a tool, the end's usage without its cache",
    named(
      start({
        input_tokens: 472,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 1_000,
        output_tokens: 2,
      }),
      {
        type: "content_block_start",
        index: 0,
        content_block: { type: "thinking", thinking: "", signature: "" },
      },
      blockDelta({ type: "thinking_delta", thinking: "Let me see. " }),
      blockDelta({ type: "signature_delta", signature: "EqQBCgIYAhIM" }),
      blockStop,
      {
        type: "content_block_start",
        index: 1,
        content_block: { type: "tool_use", id: "toolu_01", name: "weather", input: {} },
      },
      blockDelta({ type: "input_json_delta", partial_json: '{"city":' }, 1),
      blockDelta({ type: "input_json_delta", partial_json: '"Rom"}' }, 1),
      { type: "content_block_stop", index: 1 },
      {
        type: "message_delta",
        delta: { stop_reason: "tool_use", stop_sequence: null },
        usage: { output_tokens: 89, output_tokens_details: { thinking_tokens: 30 } },
      },
      stop,
    ),
    {
      usage: { input: 1_472, output: 89, cached_read: 1_000, cache_write: 0, reasoning: 30 },
      final: true,
      terminal: "done",
      text: 'Let me see. weather{"city":"Rom"}',
    },
  ),
  stream(
    "messages",
    "vLLM and others: counts at the end alone, of the plain input",
    named(
      start({ input_tokens: 0, output_tokens: 0 }),
      textBlock,
      blockDelta({ type: "text_delta", text: "Hi" }),
      blockStop,
      ended({ input_tokens: 25, output_tokens: 3 }),
      stop,
    ),
    { usage: { input: 25, output: 3 }, final: true, terminal: "done", text: "Hi" },
  ),
  stream(
    "messages",
    "Anthropic: overloaded in the middle",
    `${named(start({ input_tokens: 5, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 1 }), textBlock, blockDelta({ type: "text_delta", text: "Wel" }))}event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n`,
    {
      usage: { input: 5, output: null, cached_read: 0, cache_write: 0 },
      final: false,
      terminal: "error",
      text: "Wel",
    },
  ),
  stream(
    "messages",
    "Anthropic: a container, a file it left, a compaction billed apart",
    named(
      start(
        { input_tokens: 100, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 1 },
        { container: { id: "container_011", expires_at: "2026-11-30T12:00:00Z" } },
      ),
      {
        type: "content_block_start",
        index: 0,
        content_block: {
          type: "bash_code_execution_tool_result",
          tool_use_id: "srvtoolu_1",
          content: {
            type: "bash_code_execution_result",
            stdout: "",
            stderr: "",
            return_code: 0,
            content: [{ type: "bash_code_execution_output", file_id: "file_011" }],
          },
        },
      },
      blockStop,
      ended(
        {
          input_tokens: 100,
          cache_creation_input_tokens: 0,
          cache_read_input_tokens: 0,
          output_tokens: 50,
          iterations: [
            {
              type: "compaction",
              input_tokens: 180_000,
              output_tokens: 3_500,
              cache_read_input_tokens: 0,
              cache_creation_input_tokens: 0,
            },
            {
              type: "message",
              input_tokens: 100,
              output_tokens: 50,
              cache_read_input_tokens: 0,
              cache_creation_input_tokens: 0,
            },
          ],
        },
        { container: { id: "container_011", expires_at: "2026-11-30T12:00:00Z" } },
      ),
      stop,
    ),
    {
      usage: { input: 180_100, output: 3_550, cached_read: 0, cache_write: 0 },
      final: true,
      terminal: "done",
      kept: ["container_011", "file_011"],
      text: "",
    },
  ),
  document(
    "messages",
    "Anthropic: one document",
    {
      id: "msg_01Xy",
      type: "message",
      role: "assistant",
      model: "claude-opus-5-5",
      content: [
        { type: "text", text: "Done." },
        { type: "tool_use", id: "toolu_1", name: "f", input: { a: 1 } },
      ],
      stop_reason: "tool_use",
      container: null,
      usage: {
        input_tokens: 10,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 30,
        cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
        output_tokens: 12,
      },
    },
    { usage: { input: 40, output: 12, cached_read: 30, cache_write: 0 }, text: 'Done.f{"a":1}' },
  ),
  document(
    "messages/count_tokens",
    "Anthropic: counted tokens",
    { input_tokens: 14 },
    { usage: { input: 0, output: 0 }, text: "" },
  ),
];

export const recordedResponses: readonly Recorded[] = [...responses, ...messages];
