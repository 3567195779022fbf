/**
 * A token's `jti` names everything that it ends with.
 *
 * A client's token has an id of its own. A token of a person's app begins with the sign-in that it came from, and a
 * token made by exchange continues its parent's: `sgn_….<id>~<id>~<id>`. Revoking any of these ends all that continue it,
 * without a word in the token that a stranger could not be shown.
 */
const childMark = "~";
const signInMark = ".";
/** A token of a token of a token: enough for a runner's helpers, short enough for a header. */
const exchangesMax = 8;

export const clientTokenId = (): string => crypto.randomUUID();

/** `own` is this token's alone. */
export const appTokenId = (signInId: string, own: string): string => `${signInId}${signInMark}${own}`;

/** Null when the parent has been exchanged too often already. */
export function childTokenId(parent: string): string | null {
  const generations = parent.split(childMark).length;
  if (generations > exchangesMax) return null;
  const own = Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
  return `${parent}${childMark}${own}`;
}

/** Spelled as one of those above. */
export const isTokenId = (jti: string): boolean => tokenIdForm.test(jti);
const tokenIdForm = /^(?:sgn_[0-9a-f]{32}\.)?[0-9a-f-]{32,36}(?:~[0-9a-f]{16}){0,8}$/;

/** The sign-in a token came from, or null for a client's own. */
export function signInOf(jti: string): string | null {
  const at = jti.indexOf(signInMark);
  return at === -1 ? null : jti.slice(0, at);
}

/** Made by exchange, for a helper, and so not the app's own. */
export const isExchanged = (jti: string): boolean => jti.includes(childMark);

/** A person's app with all of its tokens, those for its helpers among them: what is limited as one. */
export const rootOf = (jti: string): string => signInOf(jti) ?? jti.split(childMark, 1)[0] ?? jti;

/** Every subject whose revocation ends the token: its sign-in, its ancestors, itself. */
export function endsWith(jti: string): string[] {
  const parts = jti.split(childMark);
  const tokens = parts.map((_, index) => parts.slice(0, index + 1).join(childMark));
  const signIn = signInOf(jti);
  return signIn === null ? tokens : [signIn, ...tokens];
}
