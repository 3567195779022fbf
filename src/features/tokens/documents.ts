/**
 * Client ID metadata documents, fetched from addresses that strangers choose (draft-ietf-oauth-client-id-metadata-document):
 * public https only, small, quick, and as JSON.
 */
import { Failure } from "../../platform/failure.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import { scanObject } from "../../platform/json.ts";
import type { FetchDocument } from "./registration.ts";

const bytesMax = 16_384;
const timeoutMs = 5_000;
const usualCacheSeconds = 300;

export function createFetchDocument(fetch: GuardedFetch): FetchDocument {
  return async (url) => {
    const headers = { accept: "application/json" };
    const response = await fetch(url, { headers }, { bytesMax, timeoutMs });
    if (response.status !== 200) throw unfit(`It answers ${response.status}, not 200.`);
    const type = response.headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
    if (!/^application\/([\w.-]+\+)?json$/.test(type)) throw unfit("It is not application/json.");
    const bytes = await response.bytes();
    scanObject(bytes);
    return { body: JSON.parse(new TextDecoder().decode(bytes)), cacheSeconds: cacheSecondsOf(response) };
  };
}

/** RFC 9111 section 5.2.2, as far as one document needs it. */
function cacheSecondsOf({ headers }: Response): number {
  const directives = headers.get("cache-control")?.toLowerCase() ?? "";
  if (/\bno-(store|cache)\b/.test(directives)) return 0;
  const seconds = /\bmax-age=(\d{1,9})\b/.exec(directives)?.[1];
  return seconds === undefined ? usualCacheSeconds : Number(seconds);
}

const unfit = (why: string): Failure => new Failure("invalid", "invalid_client", why);
