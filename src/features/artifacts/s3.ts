/**
 * Artifacts in a bucket of a store that speaks S3: R2, AWS, Ceph and their like.
 *
 * Bytes go between callers and the store; the gateway signs, looks, lists and removes. The store's word is taken for what
 * it computed itself, a checksum is passed on only when it is the whole object's. Whatever the store cannot say
 * in S3 is an outage (503), never an object that is not there.
 */
import type { GetObjectCommandOutput } from "@aws-sdk/client-s3";
import type { S3Config } from "../../platform/config.ts";
import { type Failure, notFound } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import type { ListedObject, ObjectStore, StoredObject } from "./object-store.ts";
import { defaultTimeouts, openS3, type S3Kit, type S3Timeouts } from "./s3-client.ts";
import { codeOf, NotS3, statusOf, storageUnavailable } from "./s3-failure.ts";
import { signDownload, signUpload } from "./s3-signing.ts";

export type S3Needs = { log?: Log; timeouts?: Partial<S3Timeouts>; now?: () => number };

export function createS3Store(config: S3Config, needs: S3Needs = {}): ObjectStore {
  return new S3Store(config, needs);
}

const checkedForMs = 5_000;
/** A store that is back shall be noticed soon. */
const failedForMs = 1_000;

class S3Store implements ObjectStore {
  readonly place: string;
  readonly #config: S3Config;
  readonly #log: Log | undefined;
  readonly #timeouts: S3Timeouts;
  readonly #now: () => number;
  #kit: Promise<S3Kit> | null = null;
  #checked: { untilMs: number; result: Promise<void> } | null = null;
  #isDown = false;

  constructor(config: S3Config, { log, timeouts, now = Date.now }: S3Needs) {
    this.place = `s3 ${new URL(config.endpoint).host} ${config.bucket}`;
    this.#config = config;
    this.#log = log;
    this.#timeouts = { ...defaultTimeouts, ...timeouts };
    this.#now = now;
  }

  async presignPut(terms: Parameters<ObjectStore["presignPut"]>[0]) {
    const { presigner } = await this.#open();
    return signUpload(presigner, this.#config, terms, this.#now());
  }

  async presignGet(terms: Parameters<ObjectStore["presignGet"]>[0]) {
    const { presigner } = await this.#open();
    return signDownload(presigner, this.#config, terms, this.#now());
  }

  async find(key: string): Promise<StoredObject | null> {
    const found = await this.#send(
      ({ client, sdk }, signal) =>
        client.send(
          new sdk.HeadObjectCommand({ Bucket: this.#config.bucket, Key: key, ChecksumMode: "ENABLED" }),
          { abortSignal: signal },
        ),
      // The answer to a HEAD says no more than its status; AWS hides what is not there from a key that may not list.
      (error) => statusOf(error) === 404 || statusOf(error) === 403,
    );
    if (found === null) {
      await this.#probe();
      return null;
    }
    const { ContentLength: sizeBytes, ContentType: contentType = null, ETag: etag } = found;
    if (sizeBytes === undefined || !etag)
      throw this.#unavailable(new NotS3("an object without length or tag"));
    return { sizeBytes, contentType, sha256: wholeSha256(found), etag: etag.replace(/^"|"$/g, "") };
  }

  async read(key: string): Promise<ReadableStream<Uint8Array>> {
    const found = await this.#get(key);
    if (found?.Body === undefined) throw notFound("There is no such object.");
    const reader = found.Body.transformToWebStream().getReader();
    return new ReadableStream({
      pull: async (controller) => {
        const piece = await reader.read().catch((error) => controller.error(this.#unavailable(error)));
        if (piece?.done) controller.close();
        else if (piece) controller.enqueue(piece.value);
      },
      cancel: (reason) => reader.cancel(reason),
    });
  }

  async remove(key: string): Promise<void> {
    const removed = await this.#send(
      ({ client, sdk }, signal) =>
        client.send(new sdk.DeleteObjectCommand({ Bucket: this.#config.bucket, Key: key }), {
          abortSignal: signal,
        }),
      (error) => codeOf(error) === "NoSuchKey",
    );
    // Whatever else answers 200 to everything has removed nothing.
    if (removed !== null && removed.$metadata.httpStatusCode !== 204)
      throw this.#unavailable(new NotS3("a DELETE that is not answered with 204"));
  }

  async *list(prefix: string): AsyncIterable<ListedObject> {
    for (let after: string | undefined, more = true; more; ) {
      const page = await this.#page(prefix, after);
      for (const { Key: key, Size: sizeBytes = 0, LastModified: modifiedAt } of page.Contents ?? []) {
        if (key !== undefined && modifiedAt !== undefined) yield { key, sizeBytes, modifiedAt };
      }
      after = page.NextContinuationToken;
      more = page.IsTruncated === true && after !== undefined;
    }
  }

  check(): Promise<void> {
    const now = performance.now();
    if (this.#checked !== null && now < this.#checked.untilMs) return this.#checked.result;
    const checked = { untilMs: now + this.#timeouts.answerMs + checkedForMs, result: this.#probe() };
    checked.result.then(
      () => this.#turned(false, checked, checkedForMs),
      (error) => this.#turned(true, checked, failedForMs, error),
    );
    this.#checked = checked;
    return checked.result;
  }

  async close(): Promise<void> {
    const kit = await this.#kit?.catch(() => null);
    kit?.client.destroy();
  }

  #open(): Promise<S3Kit> {
    this.#kit ??= openS3(this.#config, this.#timeouts);
    return this.#kit;
  }

  #turned(isDown: boolean, checked: { untilMs: number }, forMs: number, error?: unknown): void {
    checked.untilMs = performance.now() + forMs;
    if (isDown && !this.#isDown) this.#log?.warn("object store unavailable", { place: this.place, error });
    if (!isDown && this.#isDown) this.#log?.info("object store available again", { place: this.place });
    this.#isDown = isDown;
  }

  /** A GET of nothing asks for everything that matters: the way there, the key, its secret and the bucket. */
  async #probe(): Promise<void> {
    const found = await this.#get(probeKey, "AccessDenied");
    if (found === null) return;
    await found.Body?.transformToWebStream().cancel();
    throw this.#unavailable(new NotS3("an object that nobody put"));
  }

  /** Null when there is none. */
  async #get(key: string, alsoMissing?: string): Promise<GetObjectCommandOutput | null> {
    const found = await this.#send(
      ({ client, sdk }, signal) =>
        client.send(new sdk.GetObjectCommand({ Bucket: this.#config.bucket, Key: key }), {
          abortSignal: signal,
        }),
      (error) => codeOf(error) === "NoSuchKey" || codeOf(error) === alsoMissing,
    );
    if (found !== null && !found.ETag) throw this.#unavailable(new NotS3("an object without a tag"));
    return found;
  }

  #unavailable(cause: unknown): Failure {
    return storageUnavailable(this.#config.bucket, cause);
  }

  async #page(prefix: string, after: string | undefined) {
    const { bucket } = this.#config;
    const page = await this.#send(({ client, sdk }, signal) =>
      client.send(
        new sdk.ListObjectsV2Command({
          Bucket: bucket,
          Prefix: prefix,
          ...(after !== undefined && { ContinuationToken: after }),
        }),
        { abortSignal: signal },
      ),
    );
    // A page of somebody else's, read as a list, is an empty one: an empty bucket must say so itself.
    if (page?.Name !== bucket) throw this.#unavailable(new NotS3("a list that names no bucket"));
    return page;
  }

  /** Null when it failed as expected. */
  async #send<T>(
    ask: (kit: S3Kit, signal: AbortSignal) => Promise<T>,
    isExpected: (error: unknown) => boolean = () => false,
  ): Promise<T | null> {
    const kit = await this.#open();
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), this.#timeouts.answerMs);
    try {
      return await ask(kit, deadline.signal);
    } catch (error) {
      if (isExpected(error)) return null;
      throw this.#unavailable(error);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Below none of the prefixes under which artifacts are. */
const probeKey = "specgate-probe/nothing";

/** A checksum of checksums, as of an upload in parts, ends with their number; it is not the bytes'. */
function wholeSha256({ ChecksumSHA256: text }: { ChecksumSHA256?: string | undefined }): string | null {
  if (text === undefined || text.includes("-")) return null;
  const bytes = Buffer.from(text, "base64");
  return bytes.length === 32 ? bytes.toString("hex") : null;
}
