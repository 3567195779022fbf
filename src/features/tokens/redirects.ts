/**
 * Where an authorization may be sent back to: exactly a registered address, except that a loopback address may name any
 * port, because an app takes whatever is free (RFC 8252 section 7.3).
 */
import { isLoopbackHost } from "../../platform/loopback.ts";

const charsMax = 2_048;

/** Why `uri` may not be registered, or null when it may: https, or http on loopback; no fragment (RFC 6749 section 3.1.2). */
export function whyNotRedirect(uri: string): string | null {
  const url = parse(uri);
  const fits = url !== null && (url.protocol === "https:" || isLoopbackHttp(url));
  if (!fits || url.username !== "" || url.password !== "") {
    return "use https, or http on a loopback address, without a user name";
  }
  return uri.includes("#") ? "leave the fragment out" : null;
}

/** True when `asked` is one of the registered addresses. */
export function isRegistered(asked: string, registered: readonly string[]): boolean {
  if (registered.includes(asked)) return true;
  const url = parse(asked);
  // The parser forgives much (backslashes, tabs, other spellings of an address); what it would rewrite is refused.
  if (url === null || !isLoopbackHttp(url) || (url.href !== asked && url.origin !== asked)) return false;
  return registered.some((known) => {
    const other = parse(known);
    return other !== null && isLoopbackHttp(other) && withoutPort(other) === withoutPort(url);
  });
}

/** `uri` with these parameters added to its query. */
export function withParameters(uri: string, parameters: Record<string, string | null>): string {
  const url = new URL(uri);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null) url.searchParams.append(name, value);
  }
  return url.href;
}

const parse = (uri: string): URL | null => (uri.length > charsMax ? null : URL.parse(uri));

const isLoopbackHttp = (url: URL): boolean => url.protocol === "http:" && isLoopbackHost(url.host);

const withoutPort = (url: URL): string =>
  `${url.protocol}//${url.username}@${url.hostname}${url.pathname}${url.search}${url.hash}`;
