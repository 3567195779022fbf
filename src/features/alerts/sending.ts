/**
 * One try to send an alert: a signed POST as Standard Webhooks has it, to where the guarded fetch lets it go.
 *
 * What comes back is a status and a sentence of ours. A receiver's words, its redirects and its answer's length are its
 * own affair: nothing of them is kept, followed or waited for.
 */
import type { Clock } from "../../platform/clock.ts";
import { Failure } from "../../platform/failure.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import type { Message } from "./contract.ts";
import { reachOf } from "./destination.ts";
import { signatureOf } from "./signing.ts";

export type Alert = { hookId: string; url: string; messageId: string; message: Message };

/** `gone`: the receiver wants no more of it. `stopped`: the signal ended it, and nobody knows whether it arrived. */
export type Sent =
  | { outcome: "delivered"; status: number }
  | { outcome: "failed"; status: number | null; error: string }
  | { outcome: "gone"; status: number; error: string }
  | { outcome: "stopped" };

/** Never rejects. */
export type SendAlert = (alert: Alert, key: Uint8Array, signal: AbortSignal) => Promise<Sent>;

export type SendingNeeds = {
  fetch: GuardedFetch;
  clock: Pick<Clock, "now">;
  version: string;
  allowsPrivateNetwork: () => boolean;
  timeoutMs?: number;
};

const usualTimeoutMs = 10_000;

export function createSendAlert(needs: SendingNeeds): SendAlert {
  const { fetch, clock, version, allowsPrivateNetwork, timeoutMs = usualTimeoutMs } = needs;
  return async ({ hookId, url, messageId, message }, key, signal) => {
    const { type, timestamp, data } = message;
    const body = JSON.stringify({ type, timestamp, data });
    const timestampSeconds = Math.floor(clock.now() / 1_000);
    const headers = {
      "content-type": "application/json",
      "user-agent": `specgate/${version}`,
      "webhook-id": messageId,
      "webhook-timestamp": String(timestampSeconds),
      "webhook-signature": signatureOf(key, hookId, { id: messageId, timestampSeconds, body }),
    };
    // What was allowed when the hook was made may be so no longer.
    const rules = { reach: reachOf(allowsPrivateNetwork()), bytesMax: null, timeoutMs };
    try {
      const response = await fetch(url, { method: "POST", headers, body, signal }, rules);
      void response.body?.cancel().catch(() => {});
      return judge(response.status);
    } catch (error) {
      if (signal.aborted) return { outcome: "stopped" };
      return { outcome: "failed", status: null, error: sentence(error) };
    }
  };
}

function judge(status: number): Sent {
  if (status >= 200 && status < 300) return { outcome: "delivered", status };
  if (status === 410)
    return { outcome: "gone", status, error: "The receiver answered 410: it wants no more." };
  const error =
    status >= 300 && status < 400
      ? `The receiver answered ${status}; a redirect is not followed, and 2xx would be right.`
      : `The receiver answered ${status}; 2xx would be right.`;
  return { outcome: "failed", status, error };
}

const sentence = (error: unknown): string =>
  error instanceof Failure ? error.message : "The alert could not be sent.";
