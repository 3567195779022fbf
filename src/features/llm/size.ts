/**
 * How much a call may come to, judged by its body alone: an upper bound of what goes in, and how many answers come out.
 *
 * Both err on the dear side, for money is set aside by them. A token is at least one byte of text, so a body has no more
 * tokens of text than it has bytes; what an image or a document counts for has little to do with its bytes, or it is not
 * in the body at all. No bound is known for what a provider's own tools read in the middle of a call: usage beyond what
 * was held is charged all the same, and an alarm tells of it.
 */
import { holds } from "../../platform/bytes.ts";
import type { LlmEndpoint } from "../../platform/config.ts";
import type { Member } from "../../platform/json.ts";
import { hasLetterEscapes } from "./kept.ts";
import { type Outline, outlineOf } from "./outline.ts";

/** What providers put around a conversation's turns. */
const framingTokens = 1_000;
/** Their own tools stand in a body by name alone; what a model reads of each is hundreds of tokens, in the worst case thousands. */
const toolsTokens = 10_000;
/** The dearest way to see one: gpt-4o-mini counts 2,833 tokens and 5,667 for each of up to eight tiles. */
const imageTokensMax = 50_000;
/** A document, a video or an earlier conversation can fill the longest context that is sold. */
const fileTokensMax = 1_000_000;

const documentType = Buffer.from('"document"');

type Media = { images: readonly string[]; files: readonly string[] };

/** Keys that each stand once in a part that is not text. */
const mediaOf: Partial<Record<LlmEndpoint, Media>> = {
  "chat/completions": { images: ["image_url"], files: ["file", "video_url", "audio_url", "document_url"] },
  responses: { images: ["image_url"], files: ["file_url", "file_data", "video_url"] },
  messages: { images: ["source"], files: [] },
};

export function inputTokensMaxOf(
  endpoint: LlmEndpoint,
  bytes: Uint8Array,
  members: readonly Member[],
  namesKept: boolean,
): number {
  if (endpoint === "messages/count_tokens") return 0;
  const media = mediaOf[endpoint];
  const kept = namesKept ? fileTokensMax : 0;
  const tools = members.some(({ key }) => key === "tools") ? toolsTokens : 0;
  const text = bytes.length + framingTokens + tools + kept;
  if (media === undefined) return text;
  const count = keyCounts(bytes, members);
  const images = sum(media.images.map(count));
  // Anthropic's parts have one key for both, and their type beside it.
  const isDocument = endpoint === "messages" && (hasLetterEscapes(bytes) || holds(bytes, documentType));
  const files = sum(media.files.map(count));
  return text + images * (isDocument ? fileTokensMax : imageTokensMax) + files * fileTokensMax;
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

/** How often a key stands in a body, at any depth, however it is written. */
export const keyCounts = (bytes: Uint8Array, members: readonly Member[]): ((key: string) => number) =>
  hasLetterEscapes(bytes) ? outlinedKeys(bytes, members) : (key) => keysIn(bytes, key);

/** How often a key stands in the bytes: its name in quotes, and a colon behind it. */
function keysIn(bytes: Uint8Array, key: string): number {
  // Without the first quote: a body full of quotes would be looked at slowly.
  const name = Buffer.from(`${key}"`);
  let count = 0;
  for (let at = find(bytes, name, 0); at !== -1; at = find(bytes, name, at + 1)) {
    let next = at + name.length;
    while (isSpace(bytes[next])) next++;
    if (bytes[next] === 0x3a && bytes[at - 1] === 0x22) count++;
  }
  return count;
}

const find = (bytes: Uint8Array, name: Buffer, from: number): number =>
  Buffer.prototype.indexOf.call(bytes as Buffer, name, from);

const isSpace = (byte: number | undefined): boolean =>
  byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/** For a body whose keys may be written with escapes. */
function outlinedKeys(bytes: Uint8Array, members: readonly Member[]): (key: string) => number {
  const counts = new Map<string, number>();
  const visit = (node: Outline): void => {
    if (node.kind === "array") for (const item of node.items) visit(item);
    if (node.kind !== "object") return;
    for (const [key, value] of node.members) {
      counts.set(key, (counts.get(key) ?? 0) + 1);
      visit(value);
    }
  };
  for (const { start } of members) visit(outlineOf(bytes, start));
  return (key) => counts.get(key) ?? 0;
}

/** `n` or `best_of`, whichever is more, for each prompt. */
export function answersOf(
  bytes: Uint8Array,
  asked: { n: number | null; bestOf: number | null; promptAt: Member | null },
): number {
  const each = Math.max(1, asked.n ?? 1, asked.bestOf ?? 1);
  return each * promptsIn(bytes, asked.promptAt);
}

/** A list of texts, or of lists of tokens, is as many prompts; a list of numbers is one. */
function promptsIn(bytes: Uint8Array, promptAt: Member | null): number {
  if (promptAt?.kind !== "array") return 1;
  const list = outlineOf(bytes, promptAt.start);
  if (list.kind !== "array") return 1;
  return list.items.every((item) => item.kind === "other") ? 1 : list.items.length;
}
