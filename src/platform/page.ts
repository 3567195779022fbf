/**
 * Pages of a list: how many rows, and where to go on. A cursor is opaque and sealed, so that nobody steers a list to a
 * place that it would not have handed out; it belongs to one list and is refused by every other.
 */
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import { z } from "zod";
import { invalidQuery } from "./query.ts";

const pageLimitMax = 200;
const pageLimitDefault = 50;

/** What every list takes: `limit` and `cursor`. */
export const pageQuery = {
  limit: z
    .string()
    .regex(/^\d{1,9}$/, "A whole number.")
    .transform(Number)
    .pipe(z.number().min(1).max(pageLimitMax))
    .default(pageLimitDefault),
  cursor: z.string().max(1_024).optional(),
};

export type Page<Row> = { data: Row[]; next_cursor: string | null };

export type Cursors = {
  /** `list` names the list; `position` is the sort key of the last row that was handed out. */
  seal(list: string, position: readonly string[]): string;
  /** Throws 400 when this list never handed it out. */
  open(list: string, cursor: string): string[];
};

const cipherName = "aes-256-gcm";
const [nonceBytes, tagBytes] = [12, 16];

/**
 * The first secret (32 bytes) seals, all open: the same ones on every instance, so that a page may come from another.
 * What a cursor holds is nobody's business: numbers that all tenants share, for one.
 */
export function createCursors(...secrets: [Uint8Array, ...Uint8Array[]]): Cursors {
  return {
    seal(list, position) {
      const text = JSON.stringify(position);
      // Of the place itself, so that one place has one cursor, by which a reader may know an event again.
      const nonce = createHmac("sha256", secrets[0])
        .update(`${list}\0${text}`)
        .digest()
        .subarray(0, nonceBytes);
      const cipher = createCipheriv(cipherName, secrets[0], nonce).setAAD(Buffer.from(list));
      const sealed = Buffer.concat([cipher.update(text), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64url");
    },
    open(list, cursor) {
      const bytes = Buffer.from(cursor, "base64url");
      for (const secret of secrets) {
        const text = bytes.length > nonceBytes + tagBytes ? opened(bytes, secret, list) : null;
        if (text !== null) return JSON.parse(text);
      }
      throw invalidQuery([
        {
          path: "cursor",
          code: "invalid",
          message: "This is no cursor of this list. Leave it out to begin anew.",
        },
      ]);
    },
  };
}

/** Null for what this secret did not seal for this list. */
function opened(bytes: Buffer, secret: Uint8Array, list: string): string | null {
  const nonce = bytes.subarray(0, nonceBytes);
  const cipher = createDecipheriv(cipherName, secret, nonce, { authTagLength: tagBytes });
  cipher.setAAD(Buffer.from(list)).setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes));
  try {
    const text = cipher.update(bytes.subarray(nonceBytes + tagBytes));
    return Buffer.concat([text, cipher.final()]).toString();
  } catch {
    return null;
  }
}

/** `rows` holds one more than `limit` when there is a next page. */
export function pageOf<Row>(rows: Row[], limit: number, cursorOf: (last: Row) => string): Page<Row> {
  const data = rows.slice(0, limit);
  const last = data.at(-1);
  return { data, next_cursor: rows.length > limit && last !== undefined ? cursorOf(last) : null };
}
