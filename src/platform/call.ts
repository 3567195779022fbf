/**
 * One request as the edge met it: its id, its trace, its caller's address and origin. Made once, before anything can go wrong,
 * so that every answer and every log line of the request carries the same id.
 */
import { newId, type RequestId } from "./ids.ts";
import { type CallerBehind, plainAddress } from "./proxies.ts";

export type Call = {
  readonly id: RequestId;
  readonly request: Request;
  readonly url: URL;
  /** `performance.now()` when the edge saw the request. */
  readonly startedAt: number;
  /** The W3C `traceparent` as received, when it is well formed. */
  readonly traceparent: string | null;
  /** 32 hex digits: of `traceparent`, or of `x-trace-id` alone. */
  readonly traceId: string | null;
  /** The Origin header as sent; programs that are no browser send none. */
  readonly origin: string | null;
  /**
   * A page of another origin than the public URL's sent this, `null` included. It may be allowed to call, with a bearer
   * alone: whoever reads cookies must not look at them here.
   */
  readonly crossOrigin: boolean;
  /** The socket's other end, a proxy perhaps; asked of the socket when somebody wants to know. */
  readonly peer: string | null;
  /** The caller's address: the peer's, or what trusted proxies say; found out when somebody wants to know. */
  readonly ip: string | null;
  /** Through which tool a change was asked for; the audit of whatever it changes says so. Null everywhere but at /mcp. */
  via: Via | null;
  /** Moves Bun's idle timeout for this connection; without a number there is none, because a stream sends its own heartbeats. */
  readonly stayOpen: (seconds?: number) => void;
};

export type Via = {
  /** What stands in the audit row's details. */
  readonly details: Readonly<Record<string, unknown>>;
  /** Set by the audit log once a row says it. */
  isRecorded: boolean;
};

const traceparentForm = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/;
const traceIdForm = /^[0-9a-f]{32}$/;

const calls = new WeakMap<Request, Call>();

/** What the edge knows beside the request. What is left out trusts nobody. */
export type Surroundings = {
  /** Of the socket's other end. */
  address: () => string | null;
  stayOpen: (seconds?: number) => void;
  publicUrl?: () => string;
  callerBehind?: CallerBehind;
};

export function beginCall(request: Request, url: URL, around: Surroundings): Call {
  const call = new BegunCall(request, url, around);
  calls.set(request, call);
  return call;
}

/** A class for its getters: on the prototype they cost a request nothing. */
class BegunCall implements Call {
  readonly id = newId("req");
  readonly startedAt = performance.now();
  readonly traceparent: string | null;
  readonly traceId: string | null;
  readonly origin: string | null;
  readonly crossOrigin: boolean;
  readonly stayOpen: (seconds?: number) => void;
  via: Via | null = null;
  readonly #around: Surroundings;

  constructor(
    readonly request: Request,
    readonly url: URL,
    around: Surroundings,
  ) {
    const sent = request.headers.get("traceparent");
    const parsed = sent === null ? null : traceparentForm.exec(sent);
    const short = parsed ? null : request.headers.get("x-trace-id");
    this.traceparent = parsed ? sent : null;
    this.traceId = parsed?.[1] ?? (short !== null && traceIdForm.test(short) ? short : null);
    this.origin = request.headers.get("origin");
    this.crossOrigin = this.origin !== null && this.origin !== around.publicUrl?.();
    this.stayOpen = around.stayOpen;
    this.#around = around;
  }

  get peer(): string | null {
    const address = this.#around.address();
    return address === null ? null : plainAddress(address);
  }

  get ip(): string | null {
    const { peer } = this;
    const { callerBehind } = this.#around;
    if (peer === null || callerBehind === undefined) return peer;
    return callerBehind(peer, this.request.headers.get("x-forwarded-for"));
  }
}

/** The call that the edge began for this request. Every request passes the edge first, so a miss is a wiring mistake. */
export function callOf(request: Request): Call {
  const call = calls.get(request);
  if (call === undefined) throw new Error("a request reached a route without passing the edge");
  return call;
}
