/** Makes the calls that were thought up, many at once, and notes what their callers heard. */
import { bodyOf, type Plan } from "./plans.ts";

export type Heard = {
  plan: Plan;
  /** Null when the caller left before a status came, or the gateway died. */
  status: number | null;
  requestId: string | null;
  body: Uint8Array;
  /** The answer came to its end, and not to an accident. */
  whole: boolean;
  left: boolean;
  tookMs: number;
};

export type Target = { url: string; token: string };

export async function make(
  plan: Plan,
  { url, token }: Target,
  onPiece: (piece: Uint8Array) => void = () => {},
): Promise<Heard> {
  const leaving = new AbortController();
  const timer =
    plan.leavesAfterMs === null ? undefined : setTimeout(() => leaving.abort(), plan.leavesAfterMs);
  const startedAt = performance.now();
  const pieces: Uint8Array[] = [];
  let status: number | null = null;
  let requestId: string | null = null;
  let whole = false;
  try {
    const response = await fetch(`${url}/v1/${plan.endpoint}`, {
      method: "POST",
      headers: headersOf(plan, token),
      body: JSON.stringify(bodyOf(plan)),
      signal: leaving.signal,
    });
    status = response.status;
    requestId = response.headers.get("x-request-id");
    for await (const piece of response.body ?? []) {
      pieces.push(piece);
      onPiece(piece);
    }
    whole = true;
  } catch {
    // What was heard until then says it all.
  }
  clearTimeout(timer);
  const tookMs = performance.now() - startedAt;
  const left = leaving.signal.aborted && !whole;
  return { plan, status, requestId, body: Buffer.concat(pieces), whole, left, tookMs };
}

function headersOf(plan: Plan, token: string): Record<string, string> {
  return {
    authorization: `Bearer ${token}`,
    "content-type": "application/json",
    traceparent: `00-${plan.key}-${plan.key.slice(0, 15)}1-01`,
    ...(plan.endpoint.startsWith("messages") ? { "anthropic-version": "2023-06-01" } : {}),
  };
}

/** All of them, `width` at a time, until they are over or `goesOn` says no. */
export async function makeAll(
  plans: Iterable<Plan>,
  target: () => Target,
  options: { width: number; goesOn?: () => boolean; onHeard?: (heard: Heard) => void },
): Promise<Heard[]> {
  const all: Heard[] = [];
  const rest = plans[Symbol.iterator]();
  const { goesOn = () => true, onHeard = () => {} } = options;
  const work = async (): Promise<void> => {
    while (goesOn()) {
      const { value, done } = rest.next();
      if (done) return;
      const heard = await make(value, target());
      all.push(heard);
      onHeard(heard);
    }
  };
  await Promise.all(Array.from({ length: options.width }, work));
  return all;
}
