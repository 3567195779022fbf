/**
 * What the relay and the meter need to know about one endpoint's answers. Each provider kind has its own file.
 */
import type { Usage } from "../../db/ledger.ts";
import type { Failure } from "../../platform/failure.ts";

/** What one event of a stream says to the books. */
export type Sight = {
  /** Tokens that this event reports, where it reports any; null fields say nothing. */
  readonly usage: Usage | null;
  /** True when it exists only to carry usage, and so is hidden from a caller who did not ask for it. */
  readonly usageOnly: boolean;
  /** Set on the event after which nothing more is to come: the answer is complete, or the provider says it failed. */
  readonly terminal: "done" | "error" | null;
  /** Ids of what the provider keeps of this answer (a response, a container, audio) for later calls to refer to. */
  readonly kept?: readonly string[];
};

export type Wire = {
  /** Byte strings, one of which stands in every event that `look` needs to see. All others pass unread. */
  readonly markers: readonly Buffer[];
  look(event: Uint8Array): Sight;
  /** The text that this event adds to the answer, for counting tokens that nobody else counted. */
  textOf(event: Uint8Array): string;
  /** The same two questions for an answer that is one JSON document. */
  usageOfBody(body: unknown): Usage | null;
  textOfBody(body: unknown): string;
  keptOfBody(body: unknown): readonly string[];
  /** The text that a request asks a model to read, for the same purpose. */
  textOfRequest(body: unknown): string;
  /** An error in the middle of a stream, in the shape this provider's own clients understand. */
  errorEvent(failure: Failure): Uint8Array;
};

export const noUsage: Usage = {
  input: null,
  output: null,
  cached_read: null,
  cache_write: null,
  reasoning: null,
  audio: null,
};

/** Later reports replace earlier ones field by field; they are cumulative, so nothing is ever added up. */
export function mergeUsage(before: Usage | null, report: Usage): Usage {
  if (before === null) return report;
  return {
    input: report.input ?? before.input,
    output: report.output ?? before.output,
    cached_read: report.cached_read ?? before.cached_read,
    cache_write: report.cache_write ?? before.cache_write,
    reasoning: report.reasoning ?? before.reasoning,
    audio: report.audio ?? before.audio,
  };
}

/** Beyond any one call, and small enough that its cost at any price is a number the ledger can keep. */
const tokensMax = 1_000_000_000;

/** A count of tokens as a provider sent it; anything but a whole number from zero up is nothing said. */
export const tokens = (value: unknown): number | null =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= tokensMax ? value : null;

export const record = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};

export const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
