/**
 * What the relay and the meter need to know about one endpoint's answers. Each provider kind has its own file.
 */
import type { Usage } from "../../db/ledger.ts";
import type { Failure } from "../../platform/failure.ts";

/** One of the passes that a call was answered in, where each is billed for itself. */
export type Pass = {
  readonly usage: Usage;
  /** Who did it; null for the call's own model. */
  readonly model: string | null;
};

/**
 * By the word of a body that may change a call's price (`service_tier`, `speed`): whether the provider took another price
 * than the model's own. Left out where it does not say.
 */
export type PricedApart = Readonly<Record<string, boolean>>;

/** What a provider reports: the tokens of the whole call, and why they may not cost what so many tokens do. */
export type Report = Usage & {
  /** Their tokens are among the others. */
  readonly passes?: readonly Pass[];
  readonly pricedApart?: PricedApart;
};

/** What one event of a stream says to the books. */
export type Sight = {
  /** Tokens that this event reports, where it reports any; null fields say nothing. */
  readonly usage: Report | null;
  /** True when it exists only to carry usage, and so is hidden from a caller who did not ask for it. */
  readonly usageOnly: boolean;
  /** True when `usage` is that of the whole answer, so that a cut after this event changes nothing. */
  readonly final?: boolean;
  /** Set on the event after which nothing more is to come: the answer is complete, or the provider says it failed. */
  readonly terminal: "done" | "error" | null;
  /** Ids of what the provider keeps of this answer (a response, a container, audio) for later calls to refer to. */
  readonly kept?: readonly string[];
};

export type Wire = {
  /** Byte strings, one of which stands in every event that `look` needs to see. All others pass unread. */
  readonly markers: readonly Buffer[];
  look(event: Uint8Array): Sight;
  /** What an event is that repeats the whole answer and may be too large to be held, told by its first bytes. */
  terminalOf?(head: Uint8Array): Sight["terminal"];
  /** The text that this event adds to the answer, for counting tokens that nobody else counted. */
  textOf(event: Uint8Array): string;
  /** The same two questions for an answer that is one JSON document. */
  usageOfBody(body: unknown): Report | null;
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
  const merged: Usage = {
    input: mergedInput(before, report),
    output: report.output ?? before.output,
    cached_read: report.cached_read ?? before.cached_read,
    cache_write: report.cache_write ?? before.cache_write,
    reasoning: report.reasoning ?? before.reasoning,
    audio: report.audio ?? before.audio,
  };
  for (const part of pricedParts) {
    const count = report[part] ?? before[part];
    if (count !== undefined && count !== null) merged[part] = count;
  }
  return merged;
}

const pricedParts = ["cache_write_long", "audio_input", "audio_output"] as const;

/** Where the cache counts beside the input, a later report that leaves the cache out must not take it off the total. */
function mergedInput(before: Usage, report: Usage): number | null {
  if (report.input === null || before.input === null) return report.input ?? before.input;
  const tellsCache = report.cached_read !== null || report.cache_write !== null;
  return tellsCache ? report.input : Math.max(report.input, before.input);
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

export const text = (value: unknown): string => (typeof value === "string" ? value : "");

export const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Providers send what they like; what is not JSON says nothing. */
export function parseJson(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return null;
  }
}

/** What Postgres can store and no header or log stumbles over; every provider's ids are such. */
const idForm = /^[\x21-\x7e]{1,128}$/;

export const isKeptId = (value: unknown): value is string => typeof value === "string" && idForm.test(value);

/** Of what stands where an id should, the ids; any other is none that a later call could name. */
export const ids = (values: readonly unknown[]): string[] => values.filter(isKeptId);

/** Token ids in place of a text: as many tokens as ids, said in a text that counts as many. */
export const textOfTokenIds = (count: number): string => " a".repeat(count);
