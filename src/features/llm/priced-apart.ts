/**
 * What in a body makes a call cost something other than its tokens at its model's price: another tier of service, a
 * faster mode, another model in its place; and what is bought beside them, a tool with a fee or a second model's work.
 *
 * Where a budget must know the price beforehand neither can be let through. Elsewhere both pass: of the first nobody
 * knows the cost unless the answer says that it was not taken (outcome.ts), and fees are in no book.
 */
import { type Member, parseMember } from "../../platform/json.ts";
import { type Outline, type OutlineMember, outlineOf, stringAt } from "./outline.ts";
import { ownTools, searchKeys } from "./unseen.ts";

/** What each may say without a change of price, in any case but lower than the model's own; none where it must not be there. */
const plain: Record<string, ReadonlySet<string>> = {
  service_tier: new Set(["auto", "default", "standard", "standard_only", "on_demand", "flex", "batch"]),
  // Anthropic's: its fast mode costs several times the price.
  speed: new Set(["standard"]),
  inference_geo: new Set(["global"]),
  // OpenRouter's: the provider chooses among models that the caller names, at their prices.
  models: new Set(),
  route: new Set(),
  fallbacks: new Set(),
};

/**
 * Tools that the provider runs for no more than the tokens that come of them; whatever is not known may have a fee. A search
 * has it in the provider's cache as well (`external_web_access: false`).
 */
const freeTools = /^(?:web_fetch_\d+|mcp|mcp_toolset|tool_search.*|namespace)$/;

export const pricedKeys = [...Object.keys(plain), ...searchKeys, "tools"];

const wordBytesMax = 64;

/** The keys; none when the model's own price holds. */
export function pricedApartBy(bytes: Uint8Array, members: readonly Member[]): string[] {
  const apart = members.filter((member) => {
    if (member.kind === "null" || !Object.hasOwn(plain, member.key) || isEmpty(bytes, member)) return false;
    return !(plain[member.key]?.has(wordAt(bytes, member)) ?? false);
  });
  return apart.map(({ key }) => key);
}

function wordAt(bytes: Uint8Array, member: Member): string {
  if (member.kind !== "string" || member.end - member.start > wordBytesMax) return "";
  return String(parseMember(bytes, member));
}

/** The key or the tool, and where it stands; null when the tokens are all that is bought. */
export type BoughtBeside = { readonly path: string; readonly name: string };

export function boughtBesideBy(bytes: Uint8Array, members: readonly Member[]): BoughtBeside | null {
  const key = members.find((member) => searchKeys.includes(member.key) && !isOff(bytes, member))?.key;
  if (key !== undefined) return { path: key, name: key };
  const tools = members.find((member) => member.key === "tools");
  const name = tools === undefined ? null : dearTool(bytes, outlineOf(bytes, tools.start));
  return name === null ? null : { path: "tools", name: name.slice(0, wordBytesMax) };
}

/** Nothing asked for, false, an empty list, a search whose mode is `off`, as xAI has it, or Gemini's free settings. */
function isOff(bytes: Uint8Array, member: Member): boolean {
  if (member.kind === "null" || isEmpty(bytes, member)) return true;
  if (member.kind === "boolean") return parseMember(bytes, member) === false;
  const asked = outlineOf(bytes, member.start);
  if (member.key === "extra_body") return isFreeExtra(asked);
  return member.key === "search_parameters" && wordsOf(bytes, asked, "mode").join() === "off";
}

/** What Gemini's compatible endpoint is told beside OpenAI's members; `extra_body` could name any tool as well. */
const isFreeExtra = (extra: Outline): boolean =>
  extra.kind === "object" &&
  extra.members.every(
    ([key, value]) =>
      key === "google" && value.kind === "object" && value.members.every(([name]) => freeSettings.test(name)),
  );

const freeSettings = /^(?:thinking_?config|cached_?content|thought_tag_marker)$/i;

function isEmpty(bytes: Uint8Array, { kind, start }: Member): boolean {
  if (kind !== "array") return false;
  const found = outlineOf(bytes, start);
  return found.kind === "array" && found.items.length === 0;
}

/** The words under one key: more than one where it is repeated, and a provider may act on any of them. */
const wordsOf = (bytes: Uint8Array, asked: Outline, name: string): string[] =>
  (asked.kind === "object" ? asked.members : []).flatMap(([key, value]) =>
    key === name && value.kind === "string" ? [stringAt(bytes, value)] : [],
  );

/** A shell that the caller runs itself (OpenAI's `environment: {type: "local"}`). */
function isLocal(bytes: Uint8Array, members: readonly OutlineMember[]): boolean {
  const environments = members.filter(([key]) => key === "environment");
  const [where] = environments.map(([, value]) => wordsOf(bytes, value, "type").join());
  return environments.length === 1 && where === "local";
}

/** Where a tool has no type: Anthropic's and Gemini's own ways to write down the caller's functions. */
const isCallers = (members: readonly OutlineMember[]): boolean =>
  members.every(([key]) => /^function(?:_?declarations)?$/i.test(key)) ||
  members.some(([key]) => key === "name");

/** The type of a tool that has a fee, or that another model works in; those inside a group of tools are looked at too. */
function dearTool(bytes: Uint8Array, tools: Outline): string | null {
  if (tools.kind !== "array") return null;
  for (const tool of tools.items) {
    if (tool.kind !== "object") continue;
    const types = wordsOf(bytes, tool, "type");
    if (types.length === 0 && !isCallers(tool.members)) return tool.members[0]?.[0] ?? "tools";
    if (types.length === 1 && types[0] === "shell" && isLocal(bytes, tool.members)) continue;
    const dear = types.find((type) => !ownTools.test(type) && !freeTools.test(type));
    if (dear !== undefined) return dear;
    const [model] = wordsOf(bytes, tool, "model");
    if (model !== undefined) return types[0] ?? model;
    const inner = tool.members.map(([key, value]) => (key === "tools" ? dearTool(bytes, value) : null));
    const found = inner.find((name) => name !== null);
    if (found) return found;
  }
  return null;
}
