/**
 * The body of a call, read no further than the gateway must: the model, whether it streams, whether usage was asked for,
 * how much it may come to, what it names of the provider's. All other bytes are the caller's and reach the provider as
 * they came.
 *
 * A budget trusts the numbers read here, so a number that a provider could read in another way is refused.
 */
import { copyRange } from "../../platform/bytes.ts";
import type { LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { type Member, parseMember, scanMember, scanObject } from "../../platform/json.ts";
import { keptIdsOf } from "./kept.ts";
import { type BoughtBeside, boughtBesideBy, pricedApartBy, pricedKeys } from "./priced-apart.ts";
import { modelNameMax } from "./route.ts";
import { answersOf, inputTokensMaxOf } from "./size.ts";
import { hasUnseenInput, hasUnseenOutput, looksUp } from "./unseen.ts";

export type LlmRequest = {
  readonly endpoint: LlmEndpoint;
  readonly bytes: Uint8Array;
  readonly model: string;
  readonly stream: boolean;
  /** True when the caller asked for the usage chunk itself, and so gets to see it. */
  readonly asksUsage: boolean;
  /** No more input tokens than these can come of the body, as far as the body tells. Found when it is first asked for. */
  readonly inputTokensMax: number;
  /** The caller's own limit of output tokens for each answer; null when there is none. */
  readonly outputTokensMax: number | null;
  /** How many answers are asked for: `n`, or `best_of`, for each prompt. */
  readonly answers: number;
  /** True when the caller asks for reasoning that the answer need not show, or that it is not shown. */
  readonly asksReasoning: boolean;
  /** Ids of what a provider keeps, such as an earlier response, that the call refers to and that may have been recorded. */
  readonly keptIds: readonly string[];
  /**
   * True when more may go in than can be counted in the body: media, what the provider keeps, tools that it runs itself.
   * Found when it is asked for, and so are the next three.
   */
  readonly hasUnseenInput: boolean;
  /** True when the provider itself may read more while it answers. */
  readonly looksUp: boolean;
  /** True when sounds or pictures are asked for. */
  readonly hasUnseenOutput: boolean;
  /** The keys of the body that make the call cost something other than its model's price. */
  readonly pricedApart: readonly string[];
  /** What is bought beside the model's tokens. Found when it is asked for. */
  readonly boughtBeside: BoughtBeside | null;
  readonly modelAt: Member;
  /** `stream_options`, when the body has it, and its `include_usage`. */
  readonly optionsAt: Member | null;
  readonly includeUsageAt: Member | null;
};

/** What is read of a body, at its top. */
const readKeys = [
  "model",
  "stream",
  "stream_options",
  "n",
  "best_of",
  "prompt",
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
  "max_new_tokens",
  "n_predict",
  "num_predict",
  "reasoning_effort",
  "reasoning",
  "thinking",
  "include_reasoning",
  "reasoning_format",
  "background",
  "deferred",
  "previous_response_id",
  "conversation",
  "container",
] as const;
type Found = Partial<Record<(typeof readKeys)[number], Member>>;
const isRead: ReadonlySet<string> = new Set([...readKeys, ...pricedKeys]);

/** Where each endpoint's own limit of output stands. A provider may not know the others, and write on. */
const limitKeys = {
  "chat/completions": ["max_completion_tokens", "max_tokens"],
  completions: ["max_tokens"],
  responses: ["max_output_tokens"],
  messages: ["max_tokens"],
  embeddings: [],
  "messages/count_tokens": [],
} as const satisfies Record<LlmEndpoint, readonly (typeof readKeys)[number][]>;

/** Their answers are one document, whatever the body says. */
const neverStreams: ReadonlySet<LlmEndpoint> = new Set(["embeddings", "messages/count_tokens"]);
const usageEndpoints: ReadonlySet<LlmEndpoint> = new Set(["chat/completions", "completions"]);

/**
 * Throws `invalid_request`, `invalid_json`, `duplicate_key` or `background_refused`, saying what would be right.
 */
export function parseRequest(endpoint: LlmEndpoint, bytes: Uint8Array): LlmRequest {
  const members = scanObject(bytes);
  const found = findRead(members);
  const { name: model, at: modelAt } = modelOf(bytes, found.model);
  requireKind(found.stream, "boolean", "stream", "`stream` must be true or false.");
  const optionsAt = found.stream_options ?? null;
  requireKind(optionsAt, "object", "stream_options", "`stream_options` must be an object.");
  refuseLater(bytes, found);
  const options = optionsAt?.kind === "object" ? scanMember(bytes, optionsAt) : [];
  const includeUsageAt = options.find((member) => member.key === "include_usage") ?? null;
  const keptIds = keptIdsOf(endpoint, bytes, members);
  let inputTokensMax: number | null = null;
  return {
    endpoint,
    bytes,
    get inputTokensMax() {
      inputTokensMax ??= inputTokensMaxOf(endpoint, bytes, members, keptIds.length > 0);
      return inputTokensMax;
    },
    outputTokensMax: outputTokensMaxOf(endpoint, bytes, found),
    answers: answersOf(bytes, {
      n: wholeNumber(bytes, found.n),
      bestOf: endpoint === "completions" ? wholeNumber(bytes, found.best_of) : null,
      promptAt: endpoint === "completions" ? (found.prompt ?? null) : null,
    }),
    asksReasoning: asksReasoning(bytes, found),
    keptIds,
    get hasUnseenInput() {
      return keptIds.length > 0 || hasUnseenInput({ endpoint, bytes, members });
    },
    get looksUp() {
      return looksUp({ bytes, members });
    },
    get hasUnseenOutput() {
      return hasUnseenOutput({ endpoint, bytes, members });
    },
    get pricedApart() {
      return pricedApartBy(bytes, members);
    },
    get boughtBeside() {
      return boughtBesideBy(bytes, members);
    },
    model,
    stream: !neverStreams.has(endpoint) && isTrue(bytes, found.stream),
    asksUsage: usageEndpoints.has(endpoint) && isTrue(bytes, includeUsageAt),
    modelAt,
    optionsAt,
    includeUsageAt,
  };
}

/** Longer than any name can be, written all in escapes. */
const modelBytesMax = modelNameMax * 12;

function modelOf(bytes: Uint8Array, member: Member | undefined): { name: string; at: Member } {
  if (member?.kind === "string") {
    const isLong = member.end - member.start > modelBytesMax;
    const name = isLong ? null : String(parseMember(bytes, member));
    if (name === null || name.length > modelNameMax)
      throw invalid("model", `\`model\` must have at most ${modelNameMax} characters.`);
    if (name !== "") return { name, at: member };
  }
  throw invalid("model", "`model` must be the name of a model, as a string.");
}

function findRead(members: readonly Member[]): Found {
  const found: Found = {};
  for (const member of members) {
    const { key } = member;
    if (isRead.has(key)) found[key as keyof Found] = member;
    // Folded, no key becomes shorter than it is.
    else if (key.length <= lookalikeMax && !/^[a-z0-9_]*$/.test(key)) refuseLookalike(key);
  }
  return found;
}

const lookalikeMax = 64;

/** Some providers read keys without regard to case: to them `MAX_TOKENS` is a limit, and the last one counts. */
function refuseLookalike(key: string): void {
  const folded = key.toUpperCase().toLowerCase();
  if (isRead.has(folded)) throw invalid(folded, `\`${folded}\` must be written in lower case.`);
}

function requireKind(
  member: Member | null | undefined,
  kind: Member["kind"],
  path: string,
  message: string,
): void {
  if (member && member.kind !== kind && member.kind !== "null") throw invalid(path, message);
}

/** A call that goes on behind the gateway's back has no end that the books could see. */
function refuseLater(bytes: Uint8Array, { background, deferred }: Found): void {
  for (const member of [background, deferred]) {
    if (member === undefined || member.kind === "null") continue;
    if (member.kind === "boolean" && !isTrue(bytes, member)) continue;
    const message = `\`${member.key}\` must be false: the gateway answers only calls that it sees to their end.`;
    throw new Failure("invalid", "background_refused", message, {
      errors: [{ path: member.key, code: "invalid", message }],
    });
  }
}

const isTrue = (bytes: Uint8Array, member: Member | null | undefined): boolean =>
  member?.kind === "boolean" && bytes[member.start] === 0x74;

/** Beyond anything a model writes; larger numbers are limits that mean none. */
const tokensMax = 1_000_000_000;

/** Null when there is none. Throws for what is not a whole number from `least` up. */
function wholeNumber(bytes: Uint8Array, member: Member | undefined, least: 0 | -1 = 0): number | null {
  if (member === undefined || member.kind === "null") return null;
  const value = member.kind === "number" ? parseMember(bytes, member) : null;
  if (typeof value === "number" && Number.isInteger(value) && value >= least)
    return Math.min(value, tokensMax);
  throw invalid(member.key, `\`${member.key}\` must be a whole number from 0 up.`);
}

/** Where a limit stands elsewhere, or at a server of one's own: llama.cpp heeds `n_predict` before `max_tokens`. */
const allLimitKeys = [
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
  "max_new_tokens",
  "n_predict",
  "num_predict",
] as const;

/** The highest of all keys, for which of two a provider minds is its own affair; none without one of the endpoint's own. */
function outputTokensMaxOf(endpoint: LlmEndpoint, bytes: Uint8Array, found: Found): number | null {
  const limitOf = (key: keyof Found) => wholeNumber(bytes, found[key], -1);
  const limits = allLimitKeys.map(limitOf).filter((limit) => limit !== null);
  if (endpoint === "embeddings" || endpoint === "messages/count_tokens") return 0;
  const isLimited = limitKeys[endpoint].some((key) => limitOf(key) !== null);
  // To some providers 0 is no limit at all, to some it is spelled -1.
  return !isLimited || limits.some((limit) => limit <= 0) ? null : Math.max(...limits);
}

const reasoningBytesMax = 1_024;

function asksReasoning(bytes: Uint8Array, found: Found): boolean {
  const { reasoning_effort, reasoning, thinking, include_reasoning, reasoning_format } = found;
  return (
    // OpenRouter's older key, and Groq's.
    isSet(bytes, include_reasoning, (shown) => Boolean(shown)) ||
    isSet(bytes, reasoning_format, (format) => format !== "hidden") ||
    isSet(bytes, reasoning_effort, (effort) => effort === "none") ||
    isSet(
      bytes,
      reasoning,
      ({ effort, enabled }) => effort === "none" || (enabled === false && effort === undefined),
    ) ||
    isSet(bytes, thinking, ({ type }) => type === "disabled")
  );
}

/** True when the member is there and does not say no. */
function isSet(
  bytes: Uint8Array,
  member: Member | undefined,
  declines: (value: Record<string, unknown> & string) => boolean,
): boolean {
  if (member === undefined || member.kind === "null") return false;
  if (member.end - member.start > reasoningBytesMax) return true;
  return !declines(parseMember(bytes, member) as Record<string, unknown> & string);
}

/** The body for the provider: its own model name, and `include_usage` where the gateway needs it; else byte for byte. */
export function providerBody(request: LlmRequest, model: string, setUsage: boolean): Uint8Array<ArrayBuffer> {
  const edits: Edit[] = [];
  const { modelAt } = request;
  if (model !== request.model)
    edits.push({ start: modelAt.start, end: modelAt.end, text: JSON.stringify(model) });
  if (setUsage) edits.push(usageEdit(request));
  return apply(request.bytes, edits);
}

type Edit = { start: number; end: number; text: string };

function usageEdit({ bytes, optionsAt, includeUsageAt }: LlmRequest): Edit {
  if (includeUsageAt) return { start: includeUsageAt.start, end: includeUsageAt.end, text: "true" };
  if (optionsAt?.kind === "null") {
    return { start: optionsAt.start, end: optionsAt.end, text: '{"include_usage":true}' };
  }
  if (optionsAt) {
    const isEmpty = /^\{\s*\}$/.test(Buffer.from(bytes.subarray(optionsAt.start, optionsAt.end)).toString());
    return {
      start: optionsAt.start + 1,
      end: optionsAt.start + 1,
      text: `"include_usage":true${isEmpty ? "" : ","}`,
    };
  }
  // `model` is there, so the object is not empty and a comma is right.
  const closing = bytes.lastIndexOf(0x7d);
  return { start: closing, end: closing, text: ',"stream_options":{"include_usage":true}' };
}

function apply(bytes: Uint8Array, edits: Edit[]): Uint8Array<ArrayBuffer> {
  const texts = edits
    .sort((a, b) => a.start - b.start)
    .map((edit) => ({ ...edit, bytes: Buffer.from(edit.text) }));
  const grown = texts.reduce((sum, edit) => sum + edit.bytes.length - (edit.end - edit.start), 0);
  const edited = new Uint8Array(bytes.length + grown);
  let from = 0;
  let to = 0;
  for (const edit of texts) {
    to = copyRange(bytes, from, edit.start, edited, to);
    to = copyRange(edit.bytes, 0, edit.bytes.length, edited, to);
    from = edit.end;
  }
  copyRange(bytes, from, bytes.length, edited, to);
  return edited;
}

const invalid = (path: string, message: string): Failure =>
  new Failure("invalid", "invalid_request", message, { errors: [{ path, code: "invalid", message }] });
