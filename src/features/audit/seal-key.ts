/**
 * The key that signs seals: Ed25519, made once, kept in the data dir. Its id is the fingerprint of its public half, so
 * that a public key put in another's place in the database does not answer to its name.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { type DataDir, secretText } from "../../platform/data-dir.ts";
import { Secret } from "../../platform/secret.ts";
import { hex, sha256 } from "./canonical.ts";

export type SealKey = {
  readonly id: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  sign(hash: Uint8Array): Uint8Array;
};

/** The data dir's own key, made when it has none. */
export const sealKeyIn = (dir: DataDir): SealKey =>
  openSealKey(secretText(dir, "audit-key.pem", () => createSealKey().reveal()));

/** PKCS #8, PEM: what the data dir keeps. */
export function createSealKey(): Secret {
  const { privateKey } = generateKeyPairSync("ed25519");
  return new Secret(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
}

export function openSealKey(pem: Secret): SealKey {
  const privateKey = createPrivateKey(pem.reveal());
  const publicKey = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  return { id: fingerprint(publicKey), publicKey, sign: (hash) => sign(null, hash, privateKey) };
}

export const fingerprint = (publicKey: Uint8Array): string => hex(sha256(publicKey)).slice(0, 32);

/** False also for what is no key or no signature at all. */
export function isSignedBy(publicKey: Uint8Array, hash: Uint8Array, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKey), type: "spki", format: "der" });
    return verify(null, hash, key, signature);
  } catch {
    return false;
  }
}
