/**
 * Which ids of things kept at the provider a call names: earlier responses, conversations, files, containers, vector
 * stores, stored prompts, audio. All calls of all projects share the provider's account, so an id that one project was
 * given must not work for another; whether it may is for `States` to say.
 *
 * Most bodies name none, and their bytes are only searched for the keys. Where such a key stands, or may stand written
 * with escapes, the outline of the body is walked. Words in prompts, schemas of tools and arguments of calls are not ids.
 */
import { holds } from "../../platform/bytes.ts";
import type { LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { Member } from "../../platform/json.ts";
import { type Outline, type OutlineMember, outlineOf, stringAt } from "./outline.ts";

/** The value of each is an id, or a list of ids, wherever it stands. */
const idKeys = new Set([
  "file_id",
  "file_ids",
  "container_id",
  "vector_store_id",
  "vector_store_ids",
  "skill_id",
  "tunnel_id",
  "previous_response_id",
  "comparison_response_id",
  "previous_message_id",
  // Gemini's kept context, below `extra_body.google`.
  "cached_content",
  "cachedContent",
]);

/** The same, in chats with Mistral's agents and on Ark's kept contexts. */
const chatIdKeys = new Set(["agent_id", "context_id", "conversation_id"]);

/** Addresses of files that were handed to a provider before: Moonshot's, DashScope's (in a system message), Gemini's. */
const fileAddress = /^\s*(?:(?:ms|fileid):\/\/|https:\/\/generativelanguage\.googleapis\.com\/.*\bfiles\/)/i;

/** What decides with them whether an id is one; a second one of these in an object could be the one that counts. */
const decisiveKeys = new Set([
  ...idKeys,
  ...chatIdKeys,
  "type",
  "id",
  "container",
  "audio",
  "input",
  "encrypted_content",
]);

/** Pieces of keys, a quote included, as they stand in a body that names state. A body full of quotes is searched slowly for those that begin with one. */
const markersOf: Partial<Record<LlmEndpoint, readonly Buffer[]>> = {
  "chat/completions": [
    '"file_id',
    '"cached',
    '"audio"',
    '"vector_store',
    'agent_id"',
    'context_id"',
    'conversation_id"',
    // Addresses, the colon behind them perhaps an escape.
    '"ms:',
    '"ms\\',
    "fileid:",
    "fileid\\",
    "generativelanguage",
  ].map((key) => Buffer.from(key)),
  responses: [
    '"id"',
    '"file_id',
    '"container',
    '"vector_store',
    '"skill_id"',
    '"tunnel_id"',
    '_response_id"',
  ].map((key) => Buffer.from(key)),
  messages: ['"file_id', '"skill_id"', '"container', '"previous_message_id"'].map((key) => Buffer.from(key)),
};
const escapeStart = Buffer.from("\\u00");
const letterEscapes = ["\\u004", "\\u005", "\\u006", "\\u007"].map((digits) => Buffer.from(digits));

/** Members of the body that hold the caller's own schemas and labels, which no provider looks anything up by. */
const opaqueMembers = new Set([
  "metadata",
  "response_format",
  "text",
  "output_format",
  "output_config",
  "functions",
]);
/** Anywhere: arguments of calls, and what an earlier answer said of its sources, which comes back as it was. */
const opaqueKeys = new Set(["arguments", "annotations", "citations", "results"]);
/** The same, inside of `tools`. */
const schemaKeys = new Set(["parameters", "input_schema", "output_schema", "input_examples", "schema"]);

/** A letter, or `_`, written as an escape: nobody needs that, but a parser reads it. */
export const hasLetterEscapes = (bytes: Uint8Array): boolean =>
  holds(bytes, escapeStart) && letterEscapes.some((digits) => holds(bytes, digits));

/** Ids in order of appearance, each once. Throws `duplicate_key` where two members could each be the one that counts. */
export function keptIdsOf(endpoint: LlmEndpoint, bytes: Uint8Array, members: readonly Member[]): string[] {
  const dialect = endpoint === "messages/count_tokens" ? "messages" : endpoint;
  const markers = markersOf[dialect];
  if (markers === undefined) return [];
  if (!markers.some((marker) => holds(bytes, marker)) && !namesAtTop(members) && !hasLetterEscapes(bytes))
    return [];
  const walk = new Walk(dialect, bytes);
  for (const { key, start } of members) {
    if (!opaqueMembers.has(key)) walk.member(key, outlineOf(bytes, start));
  }
  return [...walk.ids];
}

const topKeys = new Set(["previous_response_id", "conversation", "prompt", "container"]);
const namesAtTop = (members: readonly Member[]): boolean => members.some(({ key }) => topKeys.has(key));

/** Items of a response that the provider fetches by their id, whatever else is sent with it. */
const fetchedItems = new Set([
  "item_reference",
  "image_generation_call",
  "file_search_call",
  "web_search_call",
  "code_interpreter_call",
]);

class Walk {
  readonly ids = new Set<string>();
  readonly #dialect: LlmEndpoint;
  readonly #bytes: Uint8Array;

  constructor(dialect: LlmEndpoint, bytes: Uint8Array) {
    this.#dialect = dialect;
    this.#bytes = bytes;
  }

  /** One member of the body itself. */
  member(key: string, value: Outline): void {
    const named = key === "conversation" || (key === "prompt" && this.#dialect === "responses");
    if (named || key === "container") this.#take(value.kind === "object" ? memberOf(value, "id") : value);
    if (this.#isIdKey(key)) this.#take(value);
    if (key === "input" && value.kind === "array") for (const item of value.items) this.#item(item);
    // The answer's voice and format, which a top-level `audio` asks for, have no id.
    this.#visit(value, key === "tools");
  }

  /** One item of a response's input. */
  #item(item: Outline): void {
    if (item.kind !== "object" || this.#dialect !== "responses") return;
    const type = this.#textOf(memberOf(item, "type"));
    // `type` may be left out of a message as well as of a reference; a message has something to say.
    const says = this.#textOf(memberOf(item, "role")) !== "" && memberOf(item, "content") !== undefined;
    const isReference = (type === "" || type === "message") && !says;
    const isBare = type === "reasoning" && this.#textOf(memberOf(item, "encrypted_content")) === "";
    if (isReference || isBare || fetchedItems.has(type)) this.#take(memberOf(item, "id"));
  }

  #visit(node: Outline, inTools: boolean): void {
    if (node.kind === "string") this.#takeAddress(node);
    if (node.kind === "array") for (const item of node.items) this.#visit(item, inTools);
    if (node.kind !== "object") return;
    refuseRepeated(node.members);
    const type = this.#textOf(memberOf(node, "type"));
    for (const [key, value] of node.members) {
      if (this.#isOpaque(key, type, inTools)) continue;
      if (this.#isIdKey(key) && !(key === "skill_id" && type === "anthropic")) this.#take(value);
      if (key === "container" && value.kind === "string") this.#take(value);
      if (key === "audio" && value.kind === "object") this.#take(memberOf(value, "id"));
      this.#visit(value, inTools || key === "tools");
    }
  }

  #isOpaque(key: string, type: string, inTools: boolean): boolean {
    if (inTools && schemaKeys.has(key)) return true;
    if (opaqueKeys.has(key)) return true;
    return key === "input" && this.#dialect === "messages" && type.endsWith("tool_use");
  }

  #isIdKey(key: string): boolean {
    return idKeys.has(key) || (this.#dialect === "chat/completions" && chatIdKeys.has(key));
  }

  #takeAddress(value: Extract<Outline, { kind: "string" }>): void {
    if (this.#dialect !== "chat/completions") return;
    const said = this.#textOf(value);
    if (fileAddress.test(said)) this.ids.add(said);
  }

  #take(value: Outline | undefined): void {
    if (value?.kind === "array") for (const item of value.items) this.#take(item);
    const id = this.#textOf(value);
    if (id !== "") this.ids.add(id);
  }

  #textOf(value: Outline | undefined): string {
    return value?.kind === "string" ? stringAt(this.#bytes, value) : "";
  }
}

const memberOf = (node: { readonly members: readonly OutlineMember[] }, key: string): Outline | undefined =>
  node.members.find(([name]) => name === key)?.[1];

function refuseRepeated(members: readonly OutlineMember[]): void {
  const seen = new Set<string>();
  for (const [key] of members) {
    if (!decisiveKeys.has(key)) continue;
    if (seen.has(key)) {
      throw new Failure(
        "invalid",
        "duplicate_key",
        `The key \`${key}\` stands more than once in one object.`,
      );
    }
    seen.add(key);
  }
}
