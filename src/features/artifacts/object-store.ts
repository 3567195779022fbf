/**
 * Where the bytes of artifacts are: behind one type the gateway's own disk (disk.ts) and any store that speaks S3 (s3.ts).
 *
 * Nothing goes through the gateway's memory as a whole. Callers send and fetch bytes themselves, with URLs signed for one
 * object, one method and a short time. A store decides nothing about who may do what, and knows no row.
 */

/** What an upload has to be, exactly: all of it is signed, and what differs is refused by the store. */
export type UploadTerms = {
  readonly key: string;
  readonly contentType: string;
  readonly sizeBytes: number;
  /** 64 lower-case hexadecimal digits. */
  readonly sha256: string;
  readonly ttlSeconds: number;
};

export type SignedUpload = {
  readonly method: "PUT";
  readonly url: string;
  /** What the caller must send beside `content-length`, which every client sends by itself. */
  readonly headers: Readonly<Record<string, string>>;
  readonly expiresAt: Date;
};

export type DownloadTerms = {
  readonly key: string;
  /** What it is saved as; any text of one line. */
  readonly name: string;
  readonly contentType: string;
  readonly ttlSeconds: number;
};

export type SignedDownload = { readonly url: string; readonly expiresAt: Date };

/** What a store knows of an object that is whole. */
export type StoredObject = {
  readonly sizeBytes: number;
  /** Null where the store keeps none. */
  readonly contentType: string | null;
  /** As the store itself computed it, 64 lower-case hexadecimal digits; null where it cannot tell. */
  readonly sha256: string | null;
  /** Without its quotes. */
  readonly etag: string;
};

export type ListedObject = { readonly key: string; readonly sizeBytes: number; readonly modifiedAt: Date };

/** Every method throws 503 `storage_unavailable` when the store does not answer as it should. */
export type ObjectStore = {
  /** Tells stores apart on an artifact's row: `local`, or `s3` with endpoint and bucket. */
  readonly place: string;
  presignPut(terms: UploadTerms): Promise<SignedUpload>;
  presignGet(terms: DownloadTerms): Promise<SignedDownload>;
  /** Null when there is no such object, or not yet all of it. */
  find(key: string): Promise<StoredObject | null>;
  /** The bytes, from an object that is there; for checking them. */
  read(key: string): Promise<ReadableStream<Uint8Array>>;
  /** Nothing there is as good as done. */
  remove(key: string): Promise<void>;
  /** Every object below the prefix, in no promised order. */
  list(prefix: string): AsyncIterable<ListedObject>;
  /** Rejects with the reason while the store cannot be used; cheap enough to be asked every second. */
  check(): Promise<void>;
  close(): Promise<void>;
};
