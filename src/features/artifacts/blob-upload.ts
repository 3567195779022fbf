/**
 * How bytes come into the local store: counted, hashed and written as they arrive, and given their name only when all of
 * them are there and right. Whatever else happens, nothing is left.
 *
 * One upload of a key at a time: a newer one cuts the older off, so that a retry after a dead connection always works and
 * one URL never holds more than one place. Memory holds a chunk of each; the journal shares the disk, so its room is kept.
 */
import { type FileHandle, open, rm } from "node:fs/promises";
import type { Call } from "../../platform/call.ts";
import { Failure } from "../../platform/failure.ts";
import { asStorageFailure, type BlobFiles, closing, noRoom } from "./blob-files.ts";
import type { UploadClaim } from "./blob-url.ts";

export type UploadLimits = {
  /** Under way at once, of all callers. */
  readonly uploadsMax: number;
  /** Of these, for one project or one person's attachments. */
  readonly uploadsPerOwnerMax: number;
  /** What stays free on the disk when everything that is under way has come. */
  readonly spareBytes: number;
  /** Over each `paceSeconds`; who sends less is cut off. */
  readonly bytesPerSecondMin: number;
  readonly paceSeconds: number;
  readonly uploadSecondsMax: number;
  /** Between two chunks. */
  readonly idleSeconds: number;
};

export const usualUploadLimits: UploadLimits = {
  uploadsMax: 256,
  uploadsPerOwnerMax: 64,
  spareBytes: 256 * 1024 * 1024,
  bytesPerSecondMin: 1024,
  paceSeconds: 60,
  uploadSecondsMax: 3600,
  idleSeconds: 30,
};

/** The most that Bun's idle timeout can be: for the disk to take what has come. */
const settleSeconds = 255;
/** Hashing is done on the event loop, so in pieces that take a fraction of a millisecond. */
const pieceBytes = 256 * 1024;

export type Uploads = {
  /** The ETag of what is stored then. Throws what the callers' contract says of `PUT /blobs/…`. */
  receive(call: Call, claim: UploadClaim): Promise<string>;
  /** Takes no more, lets what is under way finish for so long, cuts off the rest, and waits until it has cleaned up. */
  drain(waitMs: number): Promise<void>;
};

export function createUploads(files: BlobFiles, limits: UploadLimits): Uploads {
  const all = new Set<Upload>();
  const current = new Map<string, Upload>();
  let isClosing = false;

  async function begin(claim: UploadClaim): Promise<Upload> {
    // What has all its bytes is not cut off any more: it is there in a moment, and then this one comes too late.
    for (let older = current.get(claim.key); older?.isWhole; older = current.get(claim.key)) await older.over;
    // Asked after the wait: from here on it is seen by whoever drains.
    if (isClosing) throw closing();
    const older = current.get(claim.key);
    if (older === undefined) checkPlaces(all, claim, limits);
    older?.cut(superseded());
    const upload = new Upload(claim);
    all.add(upload);
    current.set(claim.key, upload);
    return upload;
  }

  function end(upload: Upload): void {
    all.delete(upload);
    if (current.get(upload.claim.key) === upload) current.delete(upload.claim.key);
    upload.end();
  }

  async function store(call: Call, upload: Upload): Promise<string> {
    await files.checkWritable();
    // Asked after this upload has its place: from here on nobody else can store the key.
    if ((await files.find(upload.claim.key)) !== null) throw alreadyUploaded();
    checkRoom(all, upload, (await files.freeBytes()) - limits.spareBytes);
    const partial = files.newPartial();
    try {
      await fill(partial, call, upload, limits);
      return await files.publish(partial, upload.claim.key);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
  }

  return {
    async receive(call, claim) {
      const upload = await begin(claim);
      try {
        return await store(call, upload);
      } catch (error) {
        throw asStorageFailure(error);
      } finally {
        end(upload);
      }
    },
    async drain(waitMs) {
      isClosing = true;
      const over = Promise.all([...all].map((upload) => upload.over));
      await Promise.race([over, Bun.sleep(waitMs)]);
      for (const upload of all) upload.cut(closing());
      await over;
    },
  };
}

/** Throws 503 when all places are taken, or those of this owner. */
function checkPlaces(all: ReadonlySet<Upload>, { key }: UploadClaim, limits: UploadLimits): void {
  if (all.size >= limits.uploadsMax) throw tooMany();
  if (ofOwner(all, key).length >= limits.uploadsPerOwnerMax) throw tooMany();
}

/**
 * Throws 507 when the disk has no room for the upload, and 503 when it only may have none because of what others are
 * promised. Beside one upload of any size, an owner is promised a quarter of the room at most.
 */
function checkRoom(all: ReadonlySet<Upload>, { claim }: Upload, roomBytes: number): void {
  if (claim.sizeBytes > roomBytes) throw noRoom();
  if (sum([...all]) > roomBytes) throw tooMany();
  const own = ofOwner(all, claim.key);
  const largest = Math.max(...own.map((upload) => upload.comingBytes));
  if (sum(own) - largest > roomBytes / 4) throw tooMany();
}

const sum = (uploads: readonly Upload[]): number =>
  uploads.reduce((bytes, { comingBytes }) => bytes + comingBytes, 0);

const ofOwner = (all: ReadonlySet<Upload>, key: string): Upload[] =>
  [...all].filter(({ claim }) => ownerOf(claim.key) === ownerOf(key));

/** The project, or the person whose attachment it is: `projects/{prj}/…`, `chat/uploads/{usr}/…`. */
const ownerOf = (key: string): string => {
  const [kind = "", first, second] = key.split("/");
  return `${kind}/${kind === "projects" ? first : second}`;
};

/** Of Bun's reader and the standard's what both have. */
type Reader = { read(): Promise<{ value?: Uint8Array | undefined }>; cancel(): Promise<void> };

/** One upload under way. */
class Upload {
  receivedBytes = 0;
  /** All bytes are there and right; what follows is the disk's. */
  #isWhole = false;
  readonly #over = Promise.withResolvers<void>();
  #reason: Failure | null = null;
  #reader: Reader | null = null;

  constructor(readonly claim: UploadClaim) {}

  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** What it may still write. */
  get comingBytes(): number {
    return this.claim.sizeBytes - this.receivedBytes;
  }

  /** Resolves when nothing of it is under way any more. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** Whoever waits for bytes is told so at once. */
  cut(reason: Failure): void {
    if (this.#isWhole) return;
    this.#reason ??= reason;
    this.#reader?.cancel().catch(() => undefined);
  }

  /** From here on it cannot be cut. Throws the reason when it has been. */
  seal(): void {
    if (this.#reason !== null) throw this.#reason;
    this.#isWhole = true;
  }

  end(): void {
    this.#reader?.cancel().catch(() => undefined);
    this.#over.resolve();
  }

  /** The next bytes, or null after the last. Throws the reason of a cut. */
  async read(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array | null> {
    if (this.#reason !== null) throw this.#reason;
    this.#reader ??= body?.getReader() ?? null;
    try {
      const chunk = await this.#reader?.read();
      if (this.#reason !== null) throw this.#reason;
      return chunk?.value ?? null;
    } catch (cause) {
      throw this.#reason ?? incomplete(this.claim, this.receivedBytes, cause);
    }
  }
}

async function fill(path: string, call: Call, upload: Upload, limits: UploadLimits): Promise<void> {
  const file = await open(path, "wx", 0o600);
  const pace = keepPace(upload, limits);
  try {
    const sha256 = await drain(file, call, upload, limits);
    if (upload.receivedBytes !== upload.claim.sizeBytes) throw incomplete(upload.claim, upload.receivedBytes);
    if (sha256 !== upload.claim.sha256) throw checksumMismatch();
    upload.seal();
    call.stayOpen(settleSeconds);
    await file.sync();
  } finally {
    pace.stop();
    await file.close();
  }
}

/** Writes all that comes; its SHA-256. Nothing more is read while the disk is busy. */
async function drain(file: FileHandle, call: Call, upload: Upload, limits: UploadLimits): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  const { body } = call.request;
  for (let chunk = await upload.read(body); chunk !== null; chunk = await upload.read(body)) {
    // Bun's idle timeout does not see slow bytes as life.
    call.stayOpen(limits.idleSeconds);
    if (upload.receivedBytes + chunk.length > upload.claim.sizeBytes) throw tooLong(upload.claim);
    for (let at = 0; at < chunk.length; at += pieceBytes) {
      const piece = chunk.subarray(at, at + pieceBytes);
      hasher.update(piece);
      await writeAll(file, piece);
      upload.receivedBytes += piece.length;
    }
  }
  return hasher.digest("hex");
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
}

/** Cuts off who sends too slowly to ever end, or for too long. */
function keepPace(upload: Upload, limits: UploadLimits): { stop(): void } {
  const { bytesPerSecondMin, paceSeconds, uploadSecondsMax } = limits;
  let before = 0;
  const pace = setInterval(() => {
    if (upload.receivedBytes - before < bytesPerSecondMin * paceSeconds) upload.cut(tooSlow());
    before = upload.receivedBytes;
  }, paceSeconds * 1000);
  const end = setTimeout(() => upload.cut(tooSlow()), uploadSecondsMax * 1000);
  return {
    stop() {
      clearInterval(pace);
      clearTimeout(end);
    },
  };
}

const superseded = (): Failure =>
  new Failure("conflict", "upload_superseded", "Another upload of this artifact began after this one.");

const alreadyUploaded = (): Failure =>
  new Failure(
    "stale",
    "already_uploaded",
    "The bytes of this artifact are here already, and stay as they are.",
  );

const tooMany = (): Failure =>
  new Failure("unavailable", "storage_unavailable", "Too many uploads are under way. Try again.", {
    retryAfterSeconds: 5,
  });

const incomplete = ({ sizeBytes }: UploadClaim, received: number, cause?: unknown): Failure =>
  new Failure(
    "invalid",
    "body_incomplete",
    `${received} of ${sizeBytes} bytes came. Send all of them again.`,
    {
      cause,
    },
  );

const tooLong = ({ sizeBytes }: UploadClaim): Failure =>
  new Failure("invalid", "body_incomplete", `More than the announced ${sizeBytes} bytes came.`);

const checksumMismatch = (): Failure =>
  new Failure(
    "invalid",
    "checksum_mismatch",
    "The bytes have another SHA-256 than announced. Send those that were announced, or announce these.",
  );

const tooSlow = (): Failure =>
  new Failure(
    "too_slow",
    "upload_too_slow",
    "The bytes came too slowly. Try again over a better connection.",
  );
