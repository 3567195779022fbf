/**
 * Lets a call in or turns it away before it costs anything: body, attribution, and how many streams may be open.
 *
 * What it lets in it must be told of when it is over: `release` gives back the memory and the stream's place.
 */
import { type BodyRoom, readBody, requireJson } from "../../platform/body.ts";
import type { LimitsConfig, LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { OpenedBy } from "../../platform/guard.ts";
import { type Attribution, attributionOf, type LocateWork } from "./attribution.ts";
import { type LlmRequest, parseRequest } from "./request.ts";

export type Admission = {
  readonly asked: LlmRequest;
  readonly attribution: Attribution;
  /** Safe to call more than once. */
  readonly release: () => void;
};

export class Admittance {
  readonly #limits: () => LimitsConfig["llm"];
  readonly #room: BodyRoom = { bytes: 0 };
  readonly #streams = new Map<string, number>();
  #streamsOpen = 0;
  #closed = false;

  readonly #locate: LocateWork;

  constructor(limits: () => LimitsConfig["llm"], locate: LocateWork) {
    this.#limits = limits;
    this.#locate = locate;
  }

  get streamsOpen(): number {
    return this.#streamsOpen;
  }

  /** Lets nobody in any more. */
  close(): void {
    this.#closed = true;
  }

  async admit(endpoint: LlmEndpoint, { request, principal }: OpenedBy): Promise<Admission> {
    if (this.#closed) throw new Failure("unavailable", "unavailable", "The gateway is shutting down.");
    requireJson(request);
    const found = attributionOf(request.headers, principal, this.#locate);
    const attribution = found instanceof Promise ? await found : found;
    const { bodyBytesMax, bodiesInFlightBytesMax } = this.#limits();
    const body = await readBody(request, { bodyBytesMax, roomBytesMax: bodiesInFlightBytesMax }, this.#room);
    try {
      const asked = parseRequest(endpoint, body.bytes);
      const leave = asked.stream ? this.#enter(principal.credentialId) : () => {};
      return { asked, attribution, release: once(leave, body.release) };
    } catch (error) {
      body.release();
      throw error;
    }
  }

  /** Takes a place for one stream; gives back the function that frees it. */
  #enter(credential: string): () => void {
    const { streamsPerToken, streamsMax } = this.#limits();
    const open = this.#streams.get(credential) ?? 0;
    if (open >= streamsPerToken) {
      throw new Failure(
        "rate",
        "rate_limit_exceeded",
        `This credential may hold ${streamsPerToken} streams open at once.`,
        {
          retryAfterSeconds: 1,
        },
      );
    }
    if (this.#streamsOpen >= streamsMax) {
      throw new Failure(
        "unavailable",
        "unavailable",
        "The gateway holds as many streams open as it may. Try again.",
        {
          retryAfterSeconds: 1,
        },
      );
    }
    this.#streams.set(credential, open + 1);
    this.#streamsOpen++;
    return () => {
      const left = (this.#streams.get(credential) ?? 1) - 1;
      if (left === 0) this.#streams.delete(credential);
      else this.#streams.set(credential, left);
      this.#streamsOpen--;
    };
  }
}

function once(...steps: (() => void)[]): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    for (const step of steps) step();
  };
}
