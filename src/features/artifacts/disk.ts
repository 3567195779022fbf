/**
 * Artifacts on the gateway's own disk, in plain files under one directory: the store of a gateway that has no other.
 *
 * It signs its own URLs and answers them at /blobs, as an S3 store would: what a URL does not say cannot be done with it.
 * One process serves a directory; commands beside it may list, read and remove.
 */
import type { Call } from "../../platform/call.ts";
import { type Clock, systemClock } from "../../platform/clock.ts";
import { notFound } from "../../platform/failure.ts";
import { asBlobFailure, type BlobFile } from "./blob-download.ts";
import { asStorageFailure, BlobFiles, isKey, noRoom } from "./blob-files.ts";
import { createSending } from "./blob-sending.ts";
import { createUploads, type UploadLimits, usualUploadLimits } from "./blob-upload.ts";
import { type BlobUrlNeeds, createBlobUrls, type UploadClaim } from "./blob-url.ts";
import type { ListedObject, ObjectStore, StoredObject } from "./object-store.ts";

export type DiskNeeds = Omit<BlobUrlNeeds, "clock"> & {
  /** Tells the disks of several instances apart: what is on another\'s cannot be served, and must not be taken for gone. */
  place: string;
  /** Made when the first bytes come. */
  root: string;
  clock?: Pick<Clock, "now">;
  limits?: Partial<UploadLimits>;
};

export type Disk = ObjectStore & {
  /** Answers a PUT at /blobs. */
  receive(call: Call): Promise<Response>;
  /** Answers a GET at /blobs. */
  serve(call: Call): Promise<Response>;
  /** Begins no more uploads and downloads, and lets those under way finish for so long. */
  drain(waitMs: number): Promise<void>;
  /** Removes what killed uploads left, when nobody has touched it for so long; returns how many. For `serve` alone. */
  sweepPartials(olderThanMs: number): Promise<number>;
};

/** Less than this and the journal is in danger: not ready. */
const readyBytesMin = 64 * 1024 * 1024;

export function createDisk(needs: DiskNeeds): Disk {
  const { root, clock = systemClock() } = needs;
  const files = new BlobFiles(root);
  const urls = createBlobUrls({ ...needs, clock });
  const uploads = createUploads(files, { ...usualUploadLimits, ...needs.limits });
  const sending = createSending();
  const received = createMemory();
  const drain = async (waitMs: number): Promise<void> => {
    await Promise.all([uploads.drain(waitMs), sending.drain(waitMs)]);
  };
  return {
    place: needs.place,
    presignPut: async (terms) => urls.upload({ ...terms, key: ownKey(terms.key) }),
    presignGet: async (terms) => urls.download({ ...terms, key: ownKey(terms.key) }),
    find: (key) => guarded(async () => storedAs(await files.find(key), received.find(key))),
    read: (key) => guarded(async () => Bun.file(there(await files.find(key)).path).stream()),
    remove: (key) =>
      guarded(async () => {
        received.forget(key);
        await files.remove(key);
      }),
    list: (prefix) => guardedList(files.list(prefix)),
    check: () =>
      guarded(async () => {
        await files.checkWritable();
        if ((await files.freeBytes()) < readyBytesMin) throw noRoom();
      }),
    drain,
    close: () => drain(0),
    receive: (call) =>
      answered(async () => {
        const claim = urls.readUpload(asked(call));
        const etag = await uploads.receive(call, claim);
        received.remember(claim);
        return new Response(null, { headers: { etag: `"${etag}"`, "cache-control": "no-store" } });
      }),
    serve: (call) =>
      answered(async () => {
        const claim = urls.readDownload(asked(call));
        return sending.send(call, there(await guarded(() => files.open(claim.key))), claim);
      }),
    sweepPartials: (olderThanMs) => guarded(() => files.sweepPartials(clock.now() - olderThanMs)),
  };
}

const asked = ({ request, url }: Call) => ({ method: request.method, url, headers: request.headers });

function ownKey(key: string): string {
  if (!isKey(key)) throw new Error(`${JSON.stringify(key)} is no key of the local store`);
  return key;
}

function there<File extends BlobFile>(file: File | null): File {
  if (file === null) throw notFound("There are no bytes here, or not any more.");
  return file;
}

function storedAs(file: BlobFile | null, claim: UploadClaim | undefined): StoredObject | null {
  if (file === null) return null;
  const { sizeBytes, etag } = file;
  return { sizeBytes, etag, contentType: claim?.contentType ?? null, sha256: claim?.sha256 ?? null };
}

type Memory = {
  remember(claim: UploadClaim): void;
  find(key: string): UploadClaim | undefined;
  forget(key: string): void;
};

/** What came last, so that a completion right after need not read it all again. After a restart it is read. */
function createMemory(entriesMax = 1_000): Memory {
  const claims = new Map<string, UploadClaim>();
  return {
    remember(claim) {
      claims.set(claim.key, claim);
      for (const key of claims.keys()) {
        if (claims.size <= entriesMax) break;
        claims.delete(key);
      }
    },
    find: (key) => claims.get(key),
    forget: (key) => claims.delete(key),
  };
}

async function answered(run: () => Promise<Response>): Promise<Response> {
  try {
    return await run();
  } catch (error) {
    throw asBlobFailure(error);
  }
}

async function guarded<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw asStorageFailure(error);
  }
}

async function* guardedList(found: AsyncIterable<ListedObject>): AsyncIterable<ListedObject> {
  try {
    yield* found;
  } catch (error) {
    throw asStorageFailure(error);
  }
}
