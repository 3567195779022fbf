/**
 * A bucket, tried with the very URLs that callers get: a probe is uploaded, found, downloaded and deleted, and what must be
 * refused is sent as well. Nothing stays behind.
 *
 * Of a store's answer only status, error code and date are shown: the rest may repeat keys and signatures.
 */
import type { ObjectStore, SignedUpload } from "../features/artifacts/object-store.ts";
import type { S3Config } from "../platform/config.ts";
import { asFailure, Failure } from "../platform/failure.ts";
import { createGuardedFetch, type GuardedInit } from "../platform/guarded-fetch.ts";
import type { Finding } from "./doctor.ts";
import { checkCors } from "./doctor-cors.ts";

/** Asks the store as callers do, wherever the operator has put it. */
export type Ask = (url: string, init?: GuardedInit) => Promise<Response>;

/** `origins` are those of pages that upload and download. */
export async function checkBucket(
  store: ObjectStore,
  config: S3Config,
  origins: readonly string[],
): Promise<Finding[]> {
  const fetchGuarded = createGuardedFetch();
  const ask: Ask = (url, init) => fetchGuarded(url, init, { reach: "private" });
  const bucket = `bucket ${config.bucket} at ${new URL(config.endpoint).host}`;
  const probe = new Probe(store, ask);
  const skew = await skewWords(ask, config.endpoint);
  try {
    await store.check();
    const facts = await probe.run();
    const warnings = skew === null ? probe.warnings : [...probe.warnings, skew];
    return [
      { name, status: "ok", message: `${bucket}: ${facts.join("; ")}` },
      ...warnings.map((message): Finding => ({ name, status: "warning", message: `${bucket}: ${message}` })),
      ...(await checkCors(ask, `${config.endpoint}/${config.bucket}/${probe.key}`, origins)),
    ];
  } catch (error) {
    const why = [asFailure(error).message, ...(skew === null ? [] : [skew])].join(" ");
    return [{ name, status: "failure", message: `${bucket}: ${why}` }];
  } finally {
    await probe.remove().catch(() => undefined);
  }
}

const name = "storage";
const ttlSeconds = 60;

class Probe {
  readonly key = `projects/doctor/${crypto.randomUUID()}/probe.txt`;
  readonly warnings: string[] = [];
  readonly #store: ObjectStore;
  readonly #ask: Ask;
  readonly #text = `specgate doctor ${crypto.randomUUID()}\n`;
  readonly #other = this.key.replace("probe", "other");
  readonly #loose = this.key.replace("probe", "loose");

  constructor(store: ObjectStore, ask: Ask) {
    this.#store = store;
    this.#ask = ask;
  }

  /** What is as it should be, in words. Throws when artifacts cannot be kept there at all. */
  async run(): Promise<string[]> {
    const upload = await this.#store.presignPut(this.#terms(this.key));
    await expectDone(await this.#put(upload, this.#text), "An upload by a signed URL");
    const found = await this.#store.find(this.key);
    if (found === null)
      throw refusal(
        "An object that was just uploaded is not found: the key would be one that may also read.",
      );
    const again = await this.#put(upload, this.#text);
    if (again.ok) this.warnings.push(overwrites);
    if (!(await this.#isListed())) this.warnings.push(unlisted);
    const checksBytes = await this.#refusesOtherBytes();
    if (await this.#takesUnsignedHeaders()) this.warnings.push(unsigned);
    await this.#download();
    await this.remove();
    if ((await this.#store.find(this.key)) !== null)
      throw refusal("A deleted object is still there: nothing could ever be purged.");
    const reading = "tells no SHA-256, so objects up to 64 MB are read back at completion";
    return [
      "uploaded, downloaded and deleted by signed URLs",
      found.sha256 === null ? reading : "tells SHA-256",
      checksBytes ? "refuses other bytes" : "takes other bytes, which completion finds",
    ];
  }

  async remove(): Promise<void> {
    await Promise.all([this.key, this.#other, this.#loose].map((key) => this.#store.remove(key)));
  }

  /** As many, so that only a checksum can tell. */
  async #refusesOtherBytes(): Promise<boolean> {
    const upload = await this.#store.presignPut(this.#terms(this.#other));
    return !(await this.#put(upload, this.#text.toUpperCase())).ok;
  }

  /** One that does no harm. AWS refuses them all; others take every one. */
  async #takesUnsignedHeaders(): Promise<boolean> {
    const upload = await this.#store.presignPut(this.#terms(this.#loose));
    const headers = { ...upload.headers, "x-amz-meta-unsigned": "1" };
    return (await this.#put({ ...upload, headers }, this.#text)).ok;
  }

  async #isListed(): Promise<boolean> {
    try {
      for await (const { key } of this.#store.list(this.key)) if (key === this.key) return true;
      return false;
    } catch {
      return false;
    }
  }

  async #download(): Promise<void> {
    const terms = { key: this.key, name: "probe.txt", contentType: "text/plain", ttlSeconds };
    const answer = await this.#ask((await this.#store.presignGet(terms)).url);
    await expectDone(answer, "A download by a signed URL");
    if ((await answer.text()) !== this.#text)
      throw refusal("A download by a signed URL gave other bytes than were uploaded.");
  }

  #put({ url, headers }: SignedUpload, text: string): Promise<Response> {
    return this.#ask(url, {
      method: "PUT",
      headers: new Headers({ ...headers }),
      body: new TextEncoder().encode(text),
    });
  }

  #terms(key: string) {
    const sha256 = new Bun.CryptoHasher("sha256").update(this.#text).digest("hex");
    return { key, contentType: "text/plain", sizeBytes: this.#text.length, sha256, ttlSeconds };
  }
}

const overwrites =
  "does not honour If-None-Match, so an upload's URL can replace the object until it expires: keep artifacts.put_ttl_seconds short";

const unsigned =
  "takes headers that nobody signed, so whoever holds an upload's URL may make its object public: let the bucket's policy forbid x-amz-acl";

const unlisted =
  "lists no objects to this key, so those that a crash left over are never swept: the key would be one that may list";

const refusal = (message: string): Failure => new Failure("unavailable", "storage_unavailable", message);

async function expectDone(answer: Response, deed: string): Promise<void> {
  if (answer.ok) return;
  const code = /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(await answer.text())?.[1] ?? "";
  const hint = hints[code] ?? "";
  throw refusal(
    `${deed} was refused: ${`${answer.status} ${code}`.trim()}${hint === "" ? "." : `: ${hint}.`}`,
  );
}

const otherRegion = "S3_REGION or S3_ENDPOINT is not the bucket's";
const hints: Record<string, string> = {
  AccessDenied: "the key would be one that may read, write, delete and list in this bucket",
  AuthorizationHeaderMalformed: otherRegion,
  AuthorizationQueryParametersError: otherRegion,
  PermanentRedirect: otherRegion,
  InvalidAccessKeyId: "S3_ACCESS_KEY_ID is unknown to the store",
  NoSuchBucket: "make it, or correct S3_BUCKET",
  NotImplemented: "the store would know If-None-Match and SHA-256 checksums in a PUT",
  RequestTimeTooSkewed: "the clocks of store and gateway would agree",
  SignatureDoesNotMatch: "S3_SECRET_ACCESS_KEY would be that key's own",
};

/** Stores refuse signatures from a quarter of an hour away; from less, URLs live shorter or longer than they say. */
const skewSecondsMax = 60;

async function skewWords(ask: Ask, endpoint: string): Promise<string | null> {
  const answer = await ask(endpoint).catch(() => null);
  const skew = Math.round((Date.parse(answer?.headers.get("date") ?? "") - Date.now()) / 1_000);
  if (!(Math.abs(skew) > skewSecondsMax)) return null;
  const side = skew < 0 ? "behind" : "ahead of";
  return `The store's clock is ${Math.abs(skew)} s ${side} this machine's: set both by NTP.`;
}
