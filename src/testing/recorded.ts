/**
 * Answers as providers give them, written from their public documentation, each with what the books must read in it.
 * Byte for byte in each provider's own manner: spaces, line ends, order of keys, comments.
 */
import type { Usage } from "../db/ledger.ts";
import type { LlmEndpoint } from "../platform/config.ts";

export type Recorded = {
  /** Whose answer, and what is odd about it. */
  readonly name: string;
  readonly endpoint: LlmEndpoint;
  /** The text of the body: a stream of events, or one document. */
  readonly body: string;
  readonly streams: boolean;
  /** Fields that are not named are null; null altogether when the provider reports nothing. */
  readonly usage: Partial<Usage> | null;
  /** False when a cut just before the end of the stream must be counted. */
  readonly final?: boolean;
  readonly terminal?: "done" | "error" | null;
  readonly kept?: readonly string[];
  /** What the model wrote, as far as it is text. */
  readonly text: string;
};

export const stream = (
  endpoint: LlmEndpoint,
  name: string,
  body: string,
  read: Omit<Recorded, "name" | "endpoint" | "body" | "streams">,
): Recorded => ({ name, endpoint, body, streams: true, ...read });

export const document = (
  endpoint: LlmEndpoint,
  name: string,
  body: object,
  read: Omit<Recorded, "name" | "endpoint" | "body" | "streams">,
): Recorded => ({ name, endpoint, body: JSON.stringify(body), streams: false, ...read });

/** `data:` lines as most send them. */
export const data = (...events: (object | string)[]): string =>
  events.map((event) => `data: ${typeof event === "string" ? event : JSON.stringify(event)}\n\n`).join("");

/** Events with a name, as Anthropic and OpenAI's responses send them. */
export const named = (...events: ({ type: string } & Record<string, unknown>)[]): string =>
  events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("");
