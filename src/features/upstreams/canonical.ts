/**
 * The one text of a definition, and the hash that pins it.
 *
 * In the spirit of RFC 8785: members sorted by their UTF-16 code units, no white space, numbers and strings as JavaScript
 * prints them. Whatever order or spelling a server sends, and whatever the database makes of it, one definition has one
 * text. Every member counts, also those that nobody here knows.
 */
import { createHash } from "node:crypto";

/** Deeper than any schema that a client could use. */
export const depthMax = 64;

/** Throws a `RangeError` for what is nested deeper than `depthMax`. */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > depthMax) throw new RangeError("nested too deep");
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member, depth + 1)}`);
  return `{${members.join(",")}}`;
}

/** SHA-256 of a canonical text, hexadecimal. */
export const pinOf = (canonical: string): string => createHash("sha256").update(canonical).digest("hex");
