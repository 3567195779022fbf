import type { Config } from "./config.ts";
import type { DataDir } from "./data-dir.ts";
import { Secret } from "./secret.ts";

const bytes = 32;

/**
 * What signs access tokens: SPECGATE_JWT_SECRET, or a secret made once in the data dir. Every process that signs or
 * verifies asks here, so that a token issued beside the gateway is one that the gateway takes.
 */
export function signingSecretsOf(config: Pick<Config, "jwtSecrets">, dir: DataDir): Secret[] {
  if (config.jwtSecrets !== null) return config.jwtSecrets;
  return [new Secret(Buffer.from(dir.secretFile("jwt-secret", bytes)).toString("base64url"))];
}
