/**
 * By what a task is known again in the next list: the caller's key, else its reference within its spec, else what it says.
 *
 * Two spellings of one text meet in one key; two texts never do. Nothing is dropped, in no script: tone marks and signs
 * are what `C`, `C++` and two Thai titles differ in. Parts are joined as JSON, so that none can pass for a piece of another.
 */
import { sha256 } from "../../platform/digest.ts";
import { nfkc } from "../../platform/nfkc.ts";

export const dedupeKeyCharactersMax = 200;

export type Keyed = {
  readonly dedupeKey?: string | undefined;
  readonly taskRef?: string | null | undefined;
  readonly title?: string | undefined;
  readonly originatingSpec?: string | null | undefined;
  readonly acceptanceCriteria?: string | null | undefined;
};

/** At most 200 characters, or null for what has neither key, nor reference, nor title. */
export function dedupeKeyOf(task: Keyed): string | null {
  const { dedupeKey, taskRef = null, title, originatingSpec: spec = null, acceptanceCriteria = null } = task;
  if (dedupeKey !== undefined) return dedupeKey;
  if (taskRef !== null) return referenceKey(JSON.stringify([spec, normalised(taskRef)]));
  if (title === undefined) return null;
  const said = [spec, title, acceptanceCriteria].map((part) => (part === null ? null : normalised(part)));
  return `sha256:${hexOf(JSON.stringify(said))}`;
}

/** A long one is hashed, so that every key may be sent back; what is not hashed begins with a bracket. */
function referenceKey(reference: string): string {
  const key = `ref:${reference}`;
  return key.length <= dedupeKeyCharactersMax ? key : `ref:sha256:${hexOf(reference)}`;
}

/** NFKC, without regard to case or to the amount of white space. Applied twice it changes nothing more. */
export const normalised = (text: string): string =>
  // Folding may leave a letter beside a mark that compose.
  nfkc(folded(nfkc(text)))
    .replace(/\s+/g, " ")
    .trim();

/** What lower-casing alone keeps apart: ß from SS, and the sigma that ends a word from all others. */
const folded = (text: string): string => text.toLowerCase().replaceAll("ß", "ss").replaceAll("ς", "σ");

const hexOf = (text: string): string => Buffer.from(sha256(text)).toString("hex");
