/**
 * The one text of an audit row that is hashed: a JSON array of every column but the hash, each as a string or null.
 *
 * Postgres makes it when the row is written (store.ts), because only there the id and the transaction are known; it is
 * made again here when the row is checked. Both spell it alike: `json_build_array` puts ", " between its elements and
 * escapes exactly what `JSON.stringify` escapes in text that a database can hold.
 */
import { createHash } from "node:crypto";

export const canonicalText = (columns: readonly (string | null)[]): string =>
  `[${columns.map((column) => JSON.stringify(column)).join(", ")}]`;

export const sha256 = (text: string | Uint8Array): Buffer => createHash("sha256").update(text).digest();

/** What a seal's hash covers: its own columns, the seal before it, and the hash over its rows' hashes. */
export type SealHead = {
  readonly epoch: number;
  readonly no: number;
  /** As `auditTime` spells it. */
  readonly at: string;
  readonly fromXid: string;
  readonly toXid: string;
  readonly rows: number;
  readonly prevHash: Uint8Array;
  readonly keyId: string;
};

export const sealHash = (head: SealHead, rowsHash: Uint8Array): Buffer =>
  sha256(
    canonicalText([
      String(head.epoch),
      String(head.no),
      head.at,
      head.fromXid,
      head.toXid,
      String(head.rows),
      hex(head.prevHash),
      head.keyId,
      hex(rowsHash),
    ]),
  );

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** What the first seal of an epoch has before it. */
export const noSeal = (): Buffer => Buffer.alloc(32);
