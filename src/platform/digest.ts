/** SHA-256, under which secrets are stored: with 256 random bits in them a slow hash would protect nothing more. */
export const sha256 = (text: string | Uint8Array): Uint8Array =>
  new Bun.CryptoHasher("sha256").update(text).digest();
