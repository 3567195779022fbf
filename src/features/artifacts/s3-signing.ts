/**
 * URLs that a store which speaks S3 takes for one object, one method and a short time (Signature Version 4, in the query).
 *
 * What an upload has to be stands in signed headers: length, type, checksum, and that nothing is there yet. None of them
 * may wander into the query, where a store would not compare them with what arrives.
 */

import type { S3Config } from "../../platform/config.ts";
import { attachmentOf } from "../../platform/content-disposition.ts";
import { percentEncoded } from "../../platform/percent.ts";
import type { DownloadTerms, SignedDownload, SignedUpload, UploadTerms } from "./object-store.ts";
import type { S3Kit } from "./s3-client.ts";

export type Place = Pick<S3Config, "endpoint" | "bucket">;
type Presigner = S3Kit["presigner"];
type Unsigned = { method: "PUT" | "GET"; headers: Record<string, string>; query: Record<string, string> };

/** `now`: milliseconds; a signature knows seconds only. */
export async function signUpload(
  presigner: Presigner,
  place: Place,
  terms: UploadTerms,
  now: number,
): Promise<SignedUpload> {
  const headers = {
    "content-type": terms.contentType,
    "if-none-match": "*",
    "x-amz-checksum-sha256": Buffer.from(terms.sha256, "hex").toString("base64"),
  };
  const unsigned: Unsigned = {
    method: "PUT",
    headers: { ...headers, "content-length": String(terms.sizeBytes) },
    query: {},
  };
  return { method: "PUT", headers, ...(await sign(presigner, place, terms, unsigned, now)) };
}

export function signDownload(
  presigner: Presigner,
  place: Place,
  terms: DownloadTerms,
  now: number,
): Promise<SignedDownload> {
  const query = {
    "response-content-disposition": attachmentOf(terms.name),
    "response-content-type": terms.contentType,
  };
  return sign(presigner, place, terms, { method: "GET", headers: {}, query }, now);
}

async function sign(
  presigner: Presigner,
  { endpoint, bucket }: Place,
  { key, ttlSeconds }: { key: string; ttlSeconds: number },
  unsigned: Unsigned,
  now: number,
): Promise<{ url: string; expiresAt: Date }> {
  const { protocol, hostname, port } = new URL(endpoint);
  const path = `/${bucket}/${key.split("/").map(percentEncoded).join("/")}`;
  const names = Object.keys(unsigned.headers);
  const signedAt = Math.floor(now / 1_000) * 1_000;
  const { query = {} } = await presigner.presign(
    { protocol, hostname, path, ...unsigned, ...(port !== "" && { port: Number(port) }) },
    {
      expiresIn: ttlSeconds,
      signingDate: new Date(signedAt),
      signableHeaders: new Set([...names, "host"]),
      unhoistableHeaders: new Set(names),
    },
  );
  const pairs = Object.entries(query).map(
    ([name, value]) => `${percentEncoded(name)}=${percentEncoded(String(value))}`,
  );
  return { url: `${endpoint}${path}?${pairs.join("&")}`, expiresAt: new Date(signedAt + ttlSeconds * 1_000) };
}
