/**
 * Pages of a list: how many rows, and where to go on. A cursor is opaque and signed, so that nobody steers a list to a
 * place that it would not have handed out; it belongs to one list and is refused by every other.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { invalidQuery } from "./query.ts";

const pageLimitMax = 200;
const pageLimitDefault = 50;

/** What every list takes: `limit` and `cursor`. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(pageLimitMax).default(pageLimitDefault),
  cursor: z.string().max(1_024).optional(),
};

export type Page<Row> = { data: Row[]; next_cursor: string | null };

export type Cursors = {
  /** `list` names the list; `position` is the sort key of the last row that was handed out. */
  seal(list: string, position: readonly string[]): string;
  /** Throws 400 when this list never handed it out. */
  open(list: string, cursor: string): string[];
};

const tagBytes = 16;

/** The first secret seals, all open: the same ones on every instance, so that a page may come from another. */
export function createCursors(...secrets: [Uint8Array, ...Uint8Array[]]): Cursors {
  const tagOf = (secret: Uint8Array, list: string, text: string): Buffer =>
    createHmac("sha256", secret).update(`cursor\0${list}\0${text}`).digest().subarray(0, tagBytes);
  return {
    seal(list, position) {
      const text = JSON.stringify(position);
      return Buffer.concat([tagOf(secrets[0], list, text), Buffer.from(text)]).toString("base64url");
    },
    open(list, cursor) {
      const bytes = Buffer.from(cursor, "base64url");
      const text = bytes.subarray(tagBytes).toString();
      const tag = bytes.subarray(0, tagBytes);
      const isOurs = (secret: Uint8Array) => timingSafeEqual(tag, tagOf(secret, list, text));
      if (tag.length === tagBytes && secrets.some(isOurs)) return JSON.parse(text);
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

/** `rows` holds one more than `limit` when there is a next page. */
export function pageOf<Row>(rows: Row[], limit: number, cursorOf: (last: Row) => string): Page<Row> {
  const data = rows.slice(0, limit);
  const last = data.at(-1);
  return { data, next_cursor: rows.length > limit && last !== undefined ? cursorOf(last) : null };
}
