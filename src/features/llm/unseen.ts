/**
 * Whether a call's tokens can be counted from what passes through the gateway. Pictures, documents and sounds, what a
 * provider keeps or looks up by itself, cannot; nor can an answer that is more than text.
 *
 * It is asked where a call was left before its provider said what it used, so it errs towards "cannot".
 */
import type { LlmEndpoint } from "../../platform/config.ts";
import type { Member } from "../../platform/json.ts";
import { type Outline, outlineOf, stringAt } from "./outline.ts";
import { keyCounts } from "./size.ts";

/** Where the gateway sees only a part of what a call uses: thoughts or audio that come out, pictures or files that go in. */
export type Unseen = {
  readonly output: boolean;
  readonly input: boolean;
  /** Of what goes in, what the provider itself reads while it answers. */
  readonly lookUps: boolean;
};

type AskedBody = {
  readonly endpoint: LlmEndpoint;
  readonly bytes: Uint8Array;
  readonly members: readonly Member[];
};

/** Each stands once in a part that is not text. */
const partKeys: Partial<Record<LlmEndpoint, readonly string[]>> = {
  "chat/completions": [
    "image_url",
    "input_audio",
    "audio_url",
    "video_url",
    "document_url",
    "file_data",
    "file_url",
  ],
  responses: ["image_url", "input_audio", "audio_url", "video_url", "file_data", "file_url"],
  messages: ["source"],
};

/** At the top of a body: the provider is to search, or to run a plugin. */
export const searchKeys: readonly string[] = [
  "web_search_options",
  "search_parameters",
  "search_settings",
  "enable_search",
  "compound_custom",
  "plugins",
  "extra_body",
];

/** Or to ask others. */
const lookUpKeys = new Set([...searchKeys, "mcp_servers", "data_sources"]);

/** Tools that the caller runs itself, so that what they say is in the body; the provider runs all others. */
export const ownTools =
  /^(?:function|custom|bash_\d+|text_editor_\d+|computer.*|memory_\d+|local_shell|apply_patch)$/;

export function hasUnseenInput(asked: AskedBody): boolean {
  const { endpoint, bytes, members } = asked;
  if (looksUp(asked)) return true;
  const keys = partKeys[endpoint] ?? [];
  if (keys.length === 0) return false;
  const count = keyCounts(bytes, members);
  return keys.some((key) => count(key) > 0);
}

/** True when the provider itself may read more while it answers: it searches, runs code, or asks others. */
export function looksUp({ bytes, members }: Omit<AskedBody, "endpoint">): boolean {
  if (members.some(({ key, kind }) => lookUpKeys.has(key) && kind !== "null")) return true;
  const tools = members.find(({ key }) => key === "tools");
  return tools !== undefined && hasProvidersTool(bytes, outlineOf(bytes, tools.start));
}

function hasProvidersTool(bytes: Uint8Array, tools: Outline): boolean {
  if (tools.kind !== "array") return false;
  return tools.items.some(
    (tool) =>
      tool.kind === "object" &&
      tool.members.some(
        ([key, value]) => key === "type" && value.kind === "string" && !ownTools.test(stringAt(bytes, value)),
      ),
  );
}

/** True when sounds or pictures are asked for: what is seen of them while they pass is not what they cost. */
export function hasUnseenOutput({ bytes, members }: AskedBody): boolean {
  return members.some(({ key, kind, start }) => {
    if (kind === "null") return false;
    if (key === "audio") return true;
    if (key !== "modalities") return false;
    const asked = outlineOf(bytes, start);
    if (asked.kind !== "array") return true;
    return asked.items.some((item) => item.kind !== "string" || stringAt(bytes, item) !== "text");
  });
}
