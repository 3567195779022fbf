/**
 * Where an authorization may be sent back to: exactly a registered address, except that a loopback address may name any
 * port, because an app takes whatever is free (RFC 8252 section 7.3).
 */
import { isLoopbackHost } from "../../platform/loopback.ts";

const charsMax = 2_048;

/** Why `uri` may not be registered, or null when it may: https, or http on loopback; no fragment (RFC 6749 section 3.1.2). */
export function whyNotRedirect(uri: string): string | null {
  if (!/^[\x21-\x5b\x5d-\x7e]+$/.test(uri)) return "write it in visible ASCII, without backslashes";
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
    if (other === null || !isLoopbackHttp(other)) return false;
    other.port = url.port;
    return other.href === url.href;
  });
}

/** `uri` with these parameters added to its query, which stays as it is spelled (RFC 6749 section 3.1.2). */
export function withParameters(uri: string, parameters: Record<string, string | null>): string {
  const added = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null) added.append(name, value);
  }
  const url = new URL(uri);
  url.search = url.search === "" ? `${added}` : `${url.search}&${added}`;
  return url.href;
}

const parse = (uri: string): URL | null => (uri.length > charsMax ? null : URL.parse(uri));

const isLoopbackHttp = (url: URL): boolean => url.protocol === "http:" && isLoopbackHost(url.host);
