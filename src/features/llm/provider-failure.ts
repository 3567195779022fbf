/**
 * What a failed call to a provider means: for the caller, and for the books, which must know whether anything was sent.
 */
import { asFailure, Failure } from "../../platform/failure.ts";

/** Bun's names for "there was no connection to send anything on". */
const connectErrors = new Set([
  "ConnectionRefused",
  "FailedToOpenSocket",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "DNSException",
]);
export const isConnectError = (error: unknown): boolean =>
  connectErrors.has(String((error as { code?: unknown } | null)?.code));

export function providerFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
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
