/**
 * Versions of rows that may be changed: an integer in the body, the same as a strong ETag, and `If-Match` for whoever
 * wants to change only what it has seen (RFC 9110 section 13.1.1).
 */
import { z } from "zod";
import { Failure } from "./failure.ts";

/** `value` as JSON with its ETag. */
export function versioned<Value extends { version: number }>(value: Value, status = 200): Response {
  return Response.json(value, {
    status,
    headers: { "cache-control": "no-store", etag: `"${value.version}"` },
  });
}

/** The version that the caller has seen; null when it does not care. Throws 400 for anything but one of our ETags. */
export function seenVersion(request: Request): number | null {
  const header = request.headers.get("if-match")?.trim();
  if (header === undefined || header === "*") return null;
  const version = /^"(\d{1,9})"$/.exec(header)?.[1];
  if (version !== undefined) return Number(version);
  throw new Failure("invalid", "invalid_request", 'If-Match takes one ETag of this resource, such as "3".');
}

/** The same as a tool's argument. */
export const ifVersion = z
  .int()
  .min(0)
  .optional()
  .describe("Change it only if it is still at this `version`; leave it out not to care.");

/** Throws 412 `stale_version` when the row has moved on. */
export function requireVersion(row: { version: number }, seen: number | null): void {
  if (seen === null || row.version === seen) return;
  throw new Failure(
    "stale",
    "stale_version",
    `This is at version ${row.version} now, not ${seen}. Read it again and repeat the change.`,
  );
}
