/**
 * Lets a call in or turns it away before it costs anything: body, attribution, and how many streams may be open.
 *
 * What it lets in it must be told of when it is over: `release` gives back the memory and the stream's place.
 */
import { type BodyRoom, readBody, requireJson } from "../../platform/body.ts";
import type { LimitsConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { OpenedBy } from "../../platform/guard.ts";
import type { Principal } from "../../platform/principal.ts";
import { type Completion, parseCompletion } from "./completion.ts";

export type Admission = {
  readonly completion: Completion;
  readonly tags: Record<string, string> | null;
  readonly sessionId: string | null;
  /** Safe to call more than once. */
  readonly release: () => void;
};

export class Admittance {
  readonly #limits: () => LimitsConfig["llm"];
  readonly #room: BodyRoom = { bytes: 0 };
  readonly #streams = new Map<string, number>();
  #streamsOpen = 0;
  #closed = false;

  constructor(limits: () => LimitsConfig["llm"]) {
    this.#limits = limits;
  }

  get streamsOpen(): number {
    return this.#streamsOpen;
  }

  /** Lets nobody in any more. */
  close(): void {
    this.#closed = true;
  }

  async admit({ request, principal }: OpenedBy): Promise<Admission> {
    if (this.#closed) throw new Failure("unavailable", "unavailable", "The gateway is shutting down.");
    requireJson(request);
    const tags = tagsOf(request.headers.get("x-specgate-tags"));
    const sessionId = attributionOf(request.headers, principal);
    const { bodyBytesMax, bodiesInFlightBytesMax } = this.#limits();
    const body = await readBody(request, { bodyBytesMax, roomBytesMax: bodiesInFlightBytesMax }, this.#room);
    try {
      const completion = parseCompletion(body.bytes);
      const leave = completion.stream ? this.#enter(principal.credentialId) : () => {};
      return { completion, tags, sessionId, release: once(leave, body.release) };
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

const tagForm = /^([A-Za-z0-9_.-]{1,64})=([^,=]{1,128})$/;

/** `x-specgate-tags: team=red, run=42`: at most eight. */
function tagsOf(header: string | null): Record<string, string> | null {
  if (header === null) return null;
  const pairs = header.split(",").map((pair) => tagForm.exec(pair.trim()));
  if (pairs.length > 8 || pairs.some((pair) => pair === null)) {
    throw new Failure(
      "invalid",
      "invalid_request",
      "`x-specgate-tags` takes up to 8 `name=value` pairs, separated by commas.",
    );
  }
  return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? "", pair?.[2] ?? ""]));
}

/** A call may be charged only to what its credential is bound to. */
function attributionOf(headers: Headers, principal: Principal): string | null {
  for (const name of ["x-specgate-iteration", "x-specgate-task"]) {
    if (headers.has(name))
      throw new Failure("invalid", "invalid_request", `\`${name}\` is not in this version.`);
  }
  const session = headers.get("x-specgate-session");
  if (session === null || session === principal.sessionId) return principal.sessionId;
  throw new Failure(
    "invalid",
    "invalid_request",
    "`x-specgate-session` must name the session this credential is bound to.",
  );
}
