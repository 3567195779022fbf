/**
 * The secrets that this gateway hands out: 256 random bits in base62, so that a double click selects all of one.
 *
 * An API key carries a checksum, so that a typo or a scanner's false alarm is told apart without asking the database.
 * Only SHA-256 of a secret is ever stored: with 256 random bits a slow hash would protect nothing more.
 */
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** 62^43 > 2^256 and 62^6 > 2^32. */
const bodyLength = 43;
const checksumLength = 6;
const keyForm = new RegExp(`^sgk_[0-9A-Za-z]{${bodyLength + checksumLength}}$`);

export function mintKey(): string {
  const unchecked = `sgk_${randomBody()}`;
  return unchecked + checksumOf(unchecked);
}

export const mintClientSecret = (): string => `sgs_${randomBody()}`;
export const mintAuthorizationCode = (): string => `sgo_${randomBody()}`;
export const mintDeviceCode = (): string => `sgd_${randomBody()}`;
export const mintRefreshToken = (): string => `sgr_${randomBody()}`;
export const mintTicket = (): string => `sgt_${randomBody()}`;

/** A refresh token made of the one before it (`bytes` is a keyed hash of that), spelled like any other. */
export const refreshTokenOf = (bytes: Uint8Array): string =>
  `sgr_${base62(BigInt(`0x${Buffer.from(bytes).toString("hex")}`), bodyLength)}`;

export const looksLikeRefreshToken = (text: string): boolean => text.startsWith("sgr_");

/** Four letters and four digits that nobody mixes up, without the hyphen they are shown with: 6 × 10^8 of them. */
export function mintUserCode(): string {
  const pick = (from: string) => from[Number(crypto.getRandomValues(new Uint32Array(1))[0]) % from.length];
  return Array.from({ length: 8 }, (_, at) => pick(at < 4 ? codeLetters : codeDigits)).join("");
}

/** What a person typed, in the spelling that is stored; null when it is none. */
export function parseUserCode(text: string): string | null {
  const code = text.toUpperCase().replace(/[^A-Z0-9]/g, "");
  return userCodeForm.test(code) ? code : null;
}

export const showUserCode = (code: string): string => `${code.slice(0, 4)}-${code.slice(4)}`;

const codeLetters = "BCDFGHJKLMNPQRSTVWXZ";
const codeDigits = "23456789";
const userCodeForm = new RegExp(`^[${codeLetters}]{4}[${codeDigits}]{4}$`);

/** True when `text` is meant to be an API key, rightly spelled or not. */
export const looksLikeKey = (text: string): boolean => text.startsWith("sgk_");

/** True when `text` could have come from `mintKey`; says nothing about whether it did. */
export const isKey = (text: string): boolean =>
  keyForm.test(text) && checksumOf(text.slice(0, -checksumLength)) === text.slice(-checksumLength);

/** What its owner sees of a key later. */
export const hintOf = (key: string): string => key.slice(-4);

const randomBody = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return base62(BigInt(`0x${Buffer.from(bytes).toString("hex")}`), bodyLength);
};

const checksumOf = (text: string): string => base62(BigInt(Bun.hash.crc32(text)), checksumLength);

function base62(value: bigint, length: number): string {
  let rest = value;
  let text = "";
  for (let i = 0; i < length; i++) {
    text = alphabet[Number(rest % 62n)] + text;
    rest /= 62n;
  }
  return text;
}
