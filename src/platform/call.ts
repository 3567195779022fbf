/**
 * One request as the edge met it: its id, its trace, its caller's address. Made once, before anything can go wrong,
 * so that every answer and every log line of the request carries the same id.
 */
import { newId, type RequestId } from "./ids.ts";

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
  /** The caller's address; asked of the socket when somebody wants to know. */
  readonly ip: string | null;
  /** Lifts Bun's idle timeout for this connection; a stream sends its own heartbeats. */
  readonly stayOpen: () => void;
};

const traceparentForm = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/;
const traceIdForm = /^[0-9a-f]{32}$/;

const calls = new WeakMap<Request, Call>();

export function beginCall(
  request: Request,
  url: URL,
  connection: { address: () => string | null; stayOpen: () => void },
): Call {
  const sent = request.headers.get("traceparent");
  const parsed = sent === null ? null : traceparentForm.exec(sent);
  const short = parsed ? null : request.headers.get("x-trace-id");
  const call: Call = {
    id: newId("req"),
    request,
    url,
    startedAt: performance.now(),
    traceparent: parsed ? sent : null,
    traceId: parsed?.[1] ?? (short !== null && traceIdForm.test(short) ? short : null),
    get ip() {
      return connection.address();
    },
    stayOpen: connection.stayOpen,
  };
  calls.set(request, call);
  return call;
}

/** The call that the edge began for this request. Every request passes the edge first, so a miss is a wiring mistake. */
export function callOf(request: Request): Call {
  const call = calls.get(request);
  if (call === undefined) throw new Error("a request reached a route without passing the edge");
  return call;
}
