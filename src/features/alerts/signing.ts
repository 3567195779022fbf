/**
 * Signatures of Standard Webhooks, and the secrets that they are made with.
 *
 * A hook's secret is written down nowhere: it is derived from the hook's id and a key that all instances share, so that
 * any of them can sign, and is gone with that key. It is shown once, to whoever makes the hook.
 */
export type SigningKeys = {
  /** Names the key that new hooks get. */
  readonly kid: string;
  /** By name, all that this process has. */
  readonly keys: ReadonlyMap<string, Uint8Array>;
};

const prefix = "whsec_";

/** As receivers' libraries take it. */
export const secretOf = (key: Uint8Array, hookId: string): string =>
  `${prefix}${Buffer.from(derive(key, hookId)).toString("base64")}`;

export type Signed = { id: string; timestampSeconds: number; body: string };

/** `v1,` and the HMAC-SHA256 of `<id>.<timestamp>.<body>`. */
export function signatureOf(key: Uint8Array, hookId: string, { id, timestampSeconds, body }: Signed): string {
  const hmac = new Bun.CryptoHasher("sha256", derive(key, hookId));
  return `v1,${hmac.update(`${id}.${timestampSeconds}.${body}`).digest("base64")}`;
}

const derive = (key: Uint8Array, hookId: string): Uint8Array =>
  new Bun.CryptoHasher("sha256", key).update(hookId).digest();
