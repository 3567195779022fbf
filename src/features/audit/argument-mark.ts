/**
 * The mark of a call's arguments: an HMAC over their one canonical spelling. Two calls with the same arguments have the
 * same mark, on every instance that shares the signing secret; without the secret nobody can find out what was sent by
 * trying what it might have been.
 */

/** What arguments are marked with, from the secret that signs tokens. */
export const argumentKey = (secret: string): Uint8Array =>
  new Bun.CryptoHasher("sha256", new TextEncoder().encode(secret)).update("specgate mcp arguments").digest();

/** 64 hex digits; null when nothing was sent, or more than could have come in a request. */
export function markOf(key: Uint8Array, args: unknown): string | null {
  if (args === undefined || args === null) return null;
  const text = canonicalJson(args);
  return text === null ? null : new Bun.CryptoHasher("sha256", key).update(text).digest("hex");
}

const depthMax = 100;
const charactersMax = 4 * 1024 * 1024;

/** Members in the order of their names, no white space; null when it is too deep or too long to be spelled. */
export function canonicalJson(value: unknown): string | null {
  const spelling = { pieces: [] as string[], characters: 0 };
  return spell(value, spelling, 0) ? spelling.pieces.join("") : null;
}

type Spelling = { readonly pieces: string[]; characters: number };

function spell(value: unknown, spelling: Spelling, depth: number): boolean {
  if (depth > depthMax) return false;
  if (Array.isArray(value)) return spellAll(value, spelling, depth, ["[", "]"], () => "");
  if (typeof value === "object" && value !== null) {
    const members = value as Record<string, unknown>;
    const names = Object.keys(members)
      .filter((name) => members[name] !== undefined)
      .sort();
    const values = names.map((name) => members[name]);
    return spellAll(values, spelling, depth, ["{", "}"], (at) => `${JSON.stringify(names[at])}:`);
  }
  return put(spelling, JSON.stringify(value) ?? "null");
}

function spellAll(
  values: readonly unknown[],
  spelling: Spelling,
  depth: number,
  [open, close]: readonly [string, string],
  nameOf: (at: number) => string,
): boolean {
  put(spelling, open);
  for (const [at, value] of values.entries()) {
    if (!put(spelling, (at === 0 ? "" : ",") + nameOf(at)) || !spell(value, spelling, depth + 1))
      return false;
  }
  return put(spelling, close);
}

function put(spelling: Spelling, piece: string): boolean {
  spelling.characters += piece.length;
  if (spelling.characters > charactersMax) return false;
  spelling.pieces.push(piece);
  return true;
}
