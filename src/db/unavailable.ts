/**
 * Which errors mean "no database" rather than "wrong statement": they become one Failure, the rest reach the store as
 * they came, so that it can read `code`.
 */
import { Failure } from "../platform/failure.ts";

/** Connection lost or refused, as postgres.js and the operating system name it. */
const lost = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "CONNECTION_DESTROYED",
  "CONNECT_TIMEOUT",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOENT",
  "EACCES",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EAI_FAIL",
  "ERR_SOCKET_CLOSED",
  "ERR_STREAM_DESTROYED",
]);

/** Too many connections, disk full, out of memory, read-only after a failover, cancelled by a time limit. */
const unable = new Set(["53300", "53100", "53200", "25006", "57014", "55P03", "25P03"]);

export function mapUnavailable(error: unknown): unknown {
  const code = codeOf(error);
  return isLost(error) || (code !== null && unable.has(code)) ? unavailable(error) : error;
}

/** True when the connection is gone with the statement: 08 is "connection exception", 57P "the server is going down". */
export function isLost(error: unknown): boolean {
  const code = codeOf(error);
  return code !== null && (lost.has(code) || code.startsWith("08") || code.startsWith("57P"));
}

export const unavailable = (cause?: unknown): Failure =>
  new Failure("unavailable", "unavailable", "The database does not answer right now. Try again.", { cause });

/** The SQLSTATE of a database error, or the operating system's name for it. */
export function codeOf(error: unknown): string | null {
  if (typeof error !== "object" || error === null || !("code" in error)) return null;
  return typeof error.code === "string" ? error.code : null;
}
