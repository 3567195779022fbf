/**
 * Names of files that hold secrets by custom, and of this gateway's own configuration: what an operator's lists say about
 * a workspace never opens these.
 *
 * By name alone, in lower case, and rather once too often: a key that is called `notes.md` is not found out here.
 */
export const secretExtensions: ReadonlySet<string> = new Set([
  "env",
  "pem",
  "key",
  "p8",
  "p12",
  "pfx",
  "jks",
  "keystore",
  "kdbx",
  "ppk",
  "gpg",
  "tfstate",
]);

const secretNames = [
  // Whoever writes it says which commands this gateway runs.
  /^specgate\.ya?ml$/,
  /^id_(?:rsa|dsa|ecdsa|ed25519)/,
  /^(?:credentials?|secrets?|service[-_]account)\.(?:json|ya?ml|toml|ini|conf|cfg|properties|xml)$/,
];

/** `name` is one segment of a path. `server.key.bak` and `prod.env.local` count too. */
export function isSecretFile(name: string): boolean {
  const lower = name.toLowerCase();
  const [, ...parts] = lower.split(".");
  return parts.some((part) => secretExtensions.has(part)) || secretNames.some((form) => form.test(lower));
}
