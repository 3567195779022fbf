/**
 * How the local store's objects leave: whole or one range of them, as a file to save and never as a page to run.
 *
 * The bytes go from the disk to the socket by the runtime, so that memory does not grow with them. Ranges and conditions
 * are those of RFC 9110 sections 13 and 14, without multipart answers.
 */
import type { Call } from "../../platform/call.ts";
import { Failure } from "../../platform/failure.ts";
import { type DownloadClaim, encode } from "./blob-url.ts";

/** A file of the store, as it was just found. */
export type BlobFile = { readonly path: string; readonly sizeBytes: number; readonly etag: string };

/** 200, 206 or 304. Throws 416 `range_not_satisfiable`. */
export function downloadResponse(asked: Headers, file: BlobFile, claim: DownloadClaim): Response {
  const etag = `"${file.etag}"`;
  const headers: Record<string, string> = { ...fixedHeaders, etag };
  if (names(asked.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
  const range = isFresh(asked.get("if-range"), etag) ? rangeOf(asked.get("range"), file.sizeBytes) : null;
  const { from, to } = range ?? { from: 0, to: file.sizeBytes };
  headers["content-type"] = claim.contentType;
  headers["content-disposition"] = contentDisposition(claim.name);
  headers["content-length"] = String(to - from);
  if (range !== null) headers["content-range"] = `bytes ${from}-${to - 1}/${file.sizeBytes}`;
  return new Response(Bun.file(file.path).slice(from, to), { status: range === null ? 200 : 206, headers });
}

/** Sockets take that much at once, so whoever is slow with less is not seen. */
const seenBytes = 1024 * 1024;
const slowestBytesPerSecond = 4 * 1024;
const openSecondsMax = 3600;

/**
 * Lets a slow reader rest. Bun goes back to the server's idle timeout with every piece that leaves, and between two
 * pieces a slow reader may work through megabytes of the socket's: so it is told again and again, for as long as the
 * whole would take at the slowest. Nobody tells when a file has left; to move the timeout of an answer that has is nothing.
 */
export function keepOpen({ stayOpen, request }: Call, sizeBytes: number): void {
  if (sizeBytes <= seenBytes) return;
  stayOpen(60);
  const pulse = setInterval(() => stayOpen(60), 3_000);
  const stop = () => {
    clearInterval(pulse);
    clearTimeout(end);
  };
  const end = setTimeout(stop, Math.min(openSecondsMax, sizeBytes / slowestBytesPerSecond) * 1000);
  request.signal.addEventListener("abort", stop, { once: true });
}

const fixedHeaders = {
  "accept-ranges": "bytes",
  // Kept by the caller's own browser at most, and never shown without asking whether the URL still holds.
  "cache-control": "private, no-cache",
  "content-security-policy": "sandbox; default-src 'none'",
  "cross-origin-resource-policy": "cross-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
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

/** `attachment` with a name for every client, and the true one for those that know RFC 8187. */
export function contentDisposition(name: string): string {
  const ascii = name.replace(/[^\w .-]/g, "_");
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encode(name)}`;
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
