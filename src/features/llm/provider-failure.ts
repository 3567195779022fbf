/**
 * What a failed call to a provider means: for the caller, for the books, which must know whether anything was sent, and
 * for whoever decides whether to ask once more.
 */
import { asFailure, Failure } from "../../platform/failure.ts";
import { connectTimeout } from "../../platform/first-contact.ts";

/** Bun's names for "there was no connection to send anything on", and the gateway's own for one that was not waited for. */
const connectErrors = new Set([
  "ConnectionRefused",
  "FailedToOpenSocket",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "DNSException",
  connectTimeout,
]);
export const isConnectError = (error: unknown): boolean =>
  connectErrors.has(String((error as { code?: unknown } | null)?.code));

export function providerFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if ((error as { code?: unknown } | null)?.code === connectTimeout)
    return new Failure("upstream_timeout", "provider_timeout", "The provider took no connection in time.", {
      cause: error,
    });
  if (isConnectError(error)) {
    return new Failure("upstream", "provider_error", "The provider cannot be reached.", { cause: error });
  }
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === "string" || error instanceof DOMException) {
    return new Failure("upstream", "provider_error", "The provider's connection failed before it answered.", {
      cause: error,
    });
  }
  return asFailure(error);
}

/** An answer that another attempt may turn into a better one (what is the caller's own fault stays so). */
export const isPassing = (status: number): boolean =>
  status === 408 || status === 409 || status === 429 || status >= 500;

/**
 * Who may turn an error into an answer: anyone, the same target `again` included; only another one (`elsewhere`); or
 * `nobody`. The provider's own word (`x-should-retry`, which the SDKs heed too) is worth more than its status.
 */
export function remedyOf(status: number, word: string | null): "again" | "elsewhere" | "nobody" {
  if (word === "true") return "again";
  if (isPassing(status)) return word === "false" ? "elsewhere" : "again";
  return operatorsOwn.has(status) || status < 400 ? "elsewhere" : "nobody";
}

/** Credential, credit, permission and model are the gateway's own at a provider, as is the address; another one has others. */
const operatorsOwn = new Set([401, 402, 403, 404]);

/** A provider's 401. The caller's credential is good, and no answer may say otherwise. */
export const credentialRefused = (): Failure =>
  new Failure("upstream", "provider_error", "The provider refused the gateway's own credential.");

/** An answer that speaks against the provider's health: too many requests do not, nor does any other refusal. */
export const isIllness = (status: number): boolean => status === 408 || status >= 500;

/** How long a provider asks to be left alone (RFC 9110 section 10.2.3, and OpenAI's own header); null when it does not. */
export function retryAfterMs(headers: Headers, nowMs: number): number | null {
  const exact = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (exact >= 0) return exact;
  const said = headers.get("retry-after");
  if (said === null) return null;
  if (/^\d+(?:\.\d+)?$/.test(said)) return Number(said) * 1000;
  const at = Date.parse(said);
  return Number.isNaN(at) ? null : Math.max(0, at - nowMs);
}
