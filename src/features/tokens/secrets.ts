/**
 * The secrets that sign access tokens, and their fingerprints.
 *
 * The first secret signs, all verify. A fingerprint (`kid`) is stored for each, so that a process that would sign tokens
 * which nobody else accepts, because its data dir or SPECGATE_JWT_SECRET is another one, stops before it serves.
 */
import type { Database } from "../../db/database.ts";
import { Failure } from "../../platform/failure.ts";
import type { Secret } from "../../platform/secret.ts";
import { insertKids, listKids, lockKids } from "./store.ts";

const bytesMin = 32;

export type SigningSecret = { readonly kid: string; readonly key: Uint8Array };

/** In the order given: the first signs. Throws `weak_signing_secret` for one under 32 bytes. */
export function signingSecrets(secrets: readonly Secret[]): SigningSecret[] {
  if (secrets.length === 0) throw new Error("no signing secret was given");
  return secrets.map((secret) => {
    const key = new TextEncoder().encode(secret.reveal());
    if (key.length < bytesMin) throw weak(key.length);
    return { kid: fingerprint(key), key };
  });
}

/** Throws `unknown_signing_secret` when the database knows secrets and none of them is ours; adds those it lacks. */
export async function registerSecrets(database: Database, kids: readonly string[]): Promise<void> {
  await database.transaction(async (tx) => {
    // Two first starts with two secrets would otherwise both find the table empty.
    await lockKids(tx);
    const known = await listKids(tx);
    if (known.length > 0 && !kids.some((kid) => known.includes(kid))) throw unknown();
    await insertKids(
      tx,
      kids.filter((kid) => !known.includes(kid)),
    );
  });
}

/** What derives refresh tokens from each other: from the same secrets, so that every instance derives the same. */
export const refreshKeys = (secrets: readonly SigningSecret[]): Uint8Array[] =>
  secrets.map(({ key }) => new Bun.CryptoHasher("sha256", key).update("specgate refresh tokens").digest());

/** What seals the cursors of lists and events, on every instance alike. */
export const cursorKeys = (secrets: readonly SigningSecret[]): [Uint8Array, ...Uint8Array[]] => {
  const [first, ...rest] = secrets.map(({ key }) =>
    new Bun.CryptoHasher("sha256", key).update("specgate cursors").digest(),
  );
  if (first === undefined) throw new Error("no signing secret was given");
  return [first, ...rest];
};

/** What the secrets of alert hooks are made from, by the secret's fingerprint; the first is for new hooks. */
export const alertKeys = (secrets: readonly SigningSecret[]): ReadonlyMap<string, Uint8Array> =>
  new Map(
    secrets.map(({ kid, key }) => [
      kid,
      new Bun.CryptoHasher("sha256", key).update("specgate alert hooks").digest(),
    ]),
  );

/** What seals a sign-in that is on its way through an identity provider. */
export const flowKey = ([first]: readonly SigningSecret[]): Uint8Array => {
  if (first === undefined) throw new Error("no signing secret was given");
  return new Bun.CryptoHasher("sha256", first.key).update("specgate sign-in flows").digest();
};

/** Keyed by the secret itself, so that nothing about it can be read from the tokens that carry this. */
const fingerprint = (key: Uint8Array): string =>
  new Bun.CryptoHasher("sha256", key).update("specgate signing secret").digest("hex").slice(0, 16);

const weak = (bytes: number): Failure =>
  new Failure(
    "invalid",
    "weak_signing_secret",
    `Each secret in SPECGATE_JWT_SECRET needs at least ${bytesMin} bytes; one has ${bytes}.`,
  );

const unknown = (): Failure =>
  new Failure(
    "invalid",
    "unknown_signing_secret",
    "SPECGATE_JWT_SECRET (or the secret in the data dir) is not one that this database knows, so tokens signed here would be refused elsewhere. Give the secret the other gateways use; to rotate, put the new one first and keep the old one after a comma.",
  );
