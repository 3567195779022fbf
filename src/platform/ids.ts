/**
 * Ids: a prefix and a UUIDv7 as 32 lower-case hex digits, so that they sort by time and say what they name.
 */
export const prefixes = [
  "usr",
  "prj",
  "ses",
  "itr",
  "tsk",
  "rpt",
  "chk",
  "gev",
  "wvr",
  "apv",
  "art",
  "cli",
  "key",
  "bud",
  "hok",
  "dlv",
  "cht",
  "req",
  "evt",
  "sgn",
] as const;

export type Prefix = (typeof prefixes)[number];
declare const brand: unique symbol;
export type Id<P extends Prefix> = `${P}_${string}` & { readonly [brand]?: P };

export type RequestId = Id<"req">;

export function newId<P extends Prefix>(prefix: P): Id<P> {
  return `${prefix}_${Bun.randomUUIDv7().replaceAll("-", "")}` as Id<P>;
}

const tail = /^[0-9a-f]{32}$/;

/** True when `text` is spelled as an id of this kind; says nothing about whether such a thing exists. */
export function isId<P extends Prefix>(prefix: P, text: string): text is Id<P> {
  return text.startsWith(`${prefix}_`) && tail.test(text.slice(prefix.length + 1));
}
