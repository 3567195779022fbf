/**
 * URLs of the local store: whoever holds one may do exactly what it says, until its second comes.
 *
 * What is signed is the text of the request: method, path and query and, for an upload, the headers that say what the
 * bytes are. URL parsers, Bun's too, resolve dot segments (`/./`, `/x/%2e%2e/`) and turn `\` into `/` before anybody sees
 * the path, so these spellings are the same text. Nothing else is decoded before it is compared: another escape, another
 * order, a parameter too many, a fragment or a letter in another case is refused. Only then is anything read from it.
 */
import { timingSafeEqual } from "node:crypto";
import type { Clock } from "../../platform/clock.ts";
import { Failure } from "../../platform/failure.ts";
import { percentEncoded } from "../../platform/percent.ts";
import type { DownloadTerms, SignedDownload, SignedUpload, UploadTerms } from "./object-store.ts";

/** What a valid upload has promised to be. */
export type UploadClaim = Pick<UploadTerms, "key" | "contentType" | "sizeBytes" | "sha256">;
export type DownloadClaim = Pick<DownloadTerms, "key" | "name" | "contentType">;

/** What of a request is looked at. */
export type Asked = {
  readonly method: string;
  readonly url: Pick<URL, "pathname" | "search" | "hash">;
  readonly headers: Headers;
};

export type BlobUrls = {
  upload(terms: UploadTerms): SignedUpload;
  download(terms: DownloadTerms): SignedDownload;
  /** Throws 403 `signature_mismatch` or `url_expired`, and 411 `length_required`. */
  readUpload(asked: Asked): UploadClaim;
  /** Throws 403 `signature_mismatch` or `url_expired`. */
  readDownload(asked: Asked): DownloadClaim;
};

export type BlobUrlNeeds = {
  /** 32 secret bytes that sign nothing else. */
  key: Uint8Array;
  publicUrl: () => string;
  clock: Pick<Clock, "now">;
};

/** No URL of ours lives longer, so one that says so was not made by us, or long ago by a clock gone wrong. */
const ttlSecondsMax = 7 * 86_400;
const signedHeaders = ["content-length", "content-type", "if-none-match", "x-amz-checksum-sha256"] as const;

export function createBlobUrls({ key, publicUrl, clock }: BlobUrlNeeds): BlobUrls {
  const sign = (text: string): string => new Bun.CryptoHasher("sha256", key).update(text).digest("base64url");
  const expiry = (ttlSeconds: number): number => Math.floor(clock.now() / 1000) + ttlSeconds;
  const check = (asked: Asked, form: RegExp, headers: string): RegExpExecArray => {
    const parts = form.exec(asked.url.pathname + asked.url.search + asked.url.hash);
    const [, text = "", , exp = ""] = parts ?? [];
    const sig = asked.url.search.slice(-43);
    if (parts === null || !isSame(sig, sign(`${asked.method}\n${text}${headers}`)))
      throw mismatch(asked.method);
    const seconds = Number(exp) - clock.now() / 1000;
    if (seconds > ttlSecondsMax) throw mismatch(asked.method);
    if (seconds <= 0) throw expired();
    return parts;
  };
  return {
    upload({ key, contentType, sizeBytes, sha256, ttlSeconds }) {
      const exp = expiry(ttlSeconds);
      const headers = {
        "content-type": contentType,
        "if-none-match": "*",
        "x-amz-checksum-sha256": Buffer.from(sha256, "hex").toString("base64"),
      };
      const target = `/blobs/${key}?exp=${exp}`;
      const sent = new Headers({ ...headers, "content-length": String(sizeBytes) });
      const url = `${publicUrl()}${target}&sig=${sign(`PUT\n${target}${headerText(sent)}`)}`;
      return { method: "PUT", url, headers, expiresAt: new Date(exp * 1000) };
    },
    download({ key, name, contentType, ttlSeconds }) {
      const exp = expiry(ttlSeconds);
      const target = `/blobs/${key}?exp=${exp}&type=${percentEncoded(contentType)}&name=${percentEncoded(name)}`;
      const url = `${publicUrl()}${target}&sig=${sign(`GET\n${target}`)}`;
      return { url, expiresAt: new Date(exp * 1000) };
    },
    readUpload(asked) {
      const { headers } = asked;
      if (!headers.has("content-length")) throw lengthRequired();
      const [, , key = ""] = check(asked, uploadForm, headerText(headers));
      return {
        key,
        contentType: headers.get("content-type") ?? "",
        sizeBytes: Number(headers.get("content-length")),
        sha256: Buffer.from(headers.get("x-amz-checksum-sha256") ?? "", "base64").toString("hex"),
      };
    },
    readDownload(asked) {
      const [, , key = "", , type = "", name = ""] = check(asked, downloadForm, "");
      return { key, contentType: decodeURIComponent(type), name: decodeURIComponent(name) };
    },
  };
}

/** Each: the signed text, the key, the expiry, and what else it holds. */
const uploadForm = /^(\/blobs\/([\w.\-/]+)\?exp=(\d{1,12}))&sig=[\w-]{43}$/;
const downloadForm =
  /^(\/blobs\/([\w.\-/]+)\?exp=(\d{1,12})&type=([\w.~%-]*)&name=([\w.~%-]*))&sig=[\w-]{43}$/;

/** As sent: a header that came twice arrives joined, and is another text. */
const headerText = (headers: Headers): string =>
  signedHeaders.map((name) => `\n${name}:${headers.get(name) ?? ""}`).join("");

/** The signatures' texts, not their bytes: the last letter of 43 has bits to spare, and could be another. */
const isSame = (sent: string, right: string): boolean => {
  const bytes = Buffer.from(sent);
  return bytes.length === right.length && timingSafeEqual(bytes, Buffer.from(right));
};

const mismatch = (method: string): Failure =>
  new Failure(
    "forbidden",
    "signature_mismatch",
    method === "PUT"
      ? "The signature does not fit. Use the URL as it was given, with exactly the headers that came with it and the length that was announced."
      : "The signature does not fit. Use the URL as it was given, with the method it was given for.",
  );

const expired = (): Failure =>
  new Failure("forbidden", "url_expired", "The time of this URL is over. Ask the gateway for a new one.");

const lengthRequired = (): Failure =>
  new Failure("no_length", "length_required", "Send the bytes with a Content-Length, and not in chunks.");
