/**
 * Names of files that hold secrets by custom, and of this gateway's own configuration: what an operator's lists say about
 * a workspace never opens these.
 *
 * By name alone, however its letters are written, and rather once too often: a key that is called `notes.md` is not found
 * out here.
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

/** Of files that programs read; a word in the title of a text or of a program's source says nothing. */
const valueExtensions =
  "txt|csv|tsv|json|jsonl|json5|ya?ml|toml|ini|conf|cfg|config|properties|xml|bak|old|orig";

const secretNames = [
  // Whoever writes it says which commands this gateway runs.
  /^specgate(?:[._-].*)?\.ya?ml(?:\.|$)/,
  /^id_(?:rsa|dsa|ecdsa|ed25519)/,
  new RegExp(
    `(?:^|[^a-z])(?:(?:client|app)?secrets?|credentials?|passwords?|passwd|kube-?config|service[-_]?account|(?:api|private|access)[-_]?keys?)(?:[^a-z].*)?\\.(?:${valueExtensions})$`,
  ),
  new RegExp(`^(?:(?:access|refresh|api|auth|bearer)[-_])?token(?:\\..*)?\\.(?:${valueExtensions})$`),
];

/** One form for all names that some disk takes for the same: the long s (U+017F) is an S, the Kelvin sign a K. */
export const folded = (text: string): string => text.toUpperCase().toLowerCase().normalize("NFC");

/** `name` is one segment of a path. `server.key.bak` and `prod.env.local` count too. */
export function isSecretFile(name: string): boolean {
  const plain = folded(name);
  const [, ...parts] = plain.split(".");
  return parts.some((part) => secretExtensions.has(part)) || secretNames.some((form) => form.test(plain));
}
