/**
 * How the local store's objects leave: whole or one range of them, as a file to save and never as a page to run.
 *
 * The bytes go from the disk to the socket by the runtime, so that memory does not grow with them. Ranges and conditions
 * are those of RFC 9110 sections 13 and 14, without multipart answers.
 */
import type { FileHandle } from "node:fs/promises";
import { attachmentOf } from "../../platform/content-disposition.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import type { DownloadClaim } from "./blob-url.ts";

/** A file of the store, as it was just found. */
export type BlobFile = { readonly path: string; readonly sizeBytes: number; readonly etag: string };
/** The same, and readable until it is closed, whatever happens to its name. */
export type OpenBlob = BlobFile & { readonly handle: FileHandle };

/** 200, 206 or 304, the first two sent from the open file. Throws 416 `range_not_satisfiable`. */
export function downloadResponse(asked: Headers, file: OpenBlob, claim: DownloadClaim): Response {
  const etag = `"${file.etag}"`;
  const headers: Record<string, string> = { ...fixedHeaders, etag };
  if (names(asked.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
  const range = isFresh(asked.get("if-range"), etag) ? rangeOf(asked.get("range"), file.sizeBytes) : null;
  const { from, to } = range ?? { from: 0, to: file.sizeBytes };
  headers["content-type"] = claim.contentType;
  headers["content-disposition"] = attachmentOf(claim.name);
  headers["content-length"] = String(to - from);
  if (range !== null) headers["content-range"] = `bytes ${from}-${to - 1}/${file.sizeBytes}`;
  // Of a bare descriptor Bun 1.4.5 sends no part: the answer hangs. Under this path it opens the same file again.
  const bytes = Bun.file(`/dev/fd/${file.handle.fd}`).slice(from, to);
  return new Response(bytes, { status: range === null ? 200 : 206, headers });
}

/** What the failure says, said as safely as a file is: the address is no page's either way. */
export function asBlobFailure(error: unknown): Failure {
  const { kind, code, message, cause, retryAfterSeconds, headers } = asFailure(error);
  return new Failure(kind, code, message, {
    cause,
    headers: { ...safeHeaders, ...headers },
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}

const safeHeaders = {
  "content-security-policy": "sandbox; default-src 'none'",
  "cross-origin-resource-policy": "cross-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

const fixedHeaders = {
  "accept-ranges": "bytes",
  // Kept by the caller's own browser at most, and never shown without asking whether the URL still holds.
  "cache-control": "private, no-cache",
  ...safeHeaders,
};

/** `to` is exclusive. */
export type ByteRange = { readonly from: number; readonly to: number };

/** Null serves the whole: no range, several, or one that is no range at all (RFC 9110 section 14.2). */
export function rangeOf(header: string | null, sizeBytes: number): ByteRange | null {
  const [, first = "", last = ""] = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? "") ?? [];
  if (first === "" && last === "") return null;
  if (first === "") {
    const from = Math.max(sizeBytes - Number(last), 0);
    if (from >= sizeBytes) throw unsatisfiable(sizeBytes);
    return { from, to: sizeBytes };
  }
  const from = Number(first);
  if (last !== "" && Number(last) < from) return null;
  if (from >= sizeBytes) throw unsatisfiable(sizeBytes);
  return { from, to: last === "" ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) };
}

/** Compared weakly (RFC 9110 section 13.1.2). */
const names = (header: string | null, etag: string): boolean =>
  (header ?? "").split(",").some((one) => one.trim() === "*" || one.trim().replace(/^W\//, "") === etag);

/** A date is no ETag: then the whole goes out, which is always right. */
const isFresh = (ifRange: string | null, etag: string): boolean =>
  ifRange === null || ifRange.trim() === etag;

const unsatisfiable = (sizeBytes: number): Failure =>
  new Failure("range", "range_not_satisfiable", `There are ${sizeBytes} bytes, and none in this range.`, {
    headers: { "content-range": `bytes */${sizeBytes}` },
  });
