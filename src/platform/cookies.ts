/**
 * The console's cookie: opaque, for this host alone, out of reach of scripts, and not sent along with other sites' posts.
 *
 * Over https its name begins with `__Host-`, so that neither a sibling domain nor plain http can set one (RFC 6265bis
 * section 4.1.3.2). On plain-http loopback that prefix is not to be had.
 */
const isHttps = (publicUrl: string): boolean => publicUrl.startsWith("https:");

export const cookieName = (publicUrl: string): string =>
  isHttps(publicUrl) ? "__Host-specgate" : "specgate";

/** The cookie's value, or null. A name that is sent twice is nobody's: somebody may have planted one of the two. */
export function readCookie(headers: Headers, name: string): string | null {
  const sent = headers.get("cookie");
  if (sent === null) return null;
  const values = sent
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  return values.length === 1 ? (values[0] ?? null) : null;
}

/** `seconds`: how long the browser keeps it; 0 takes it away. */
export function setCookie(publicUrl: string, name: string, value: string, seconds: number): string {
  const secure = isHttps(publicUrl) ? "; Secure" : "";
  return `${name}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`;
}
