/** What counts as "this machine" by name. The names are few on purpose: every further spelling is a way to be fooled. */
const names = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** True for a loopback Host header, on any port. Expects lower case. */
export function isLoopbackHost(host: string): boolean {
  const portAt = host.lastIndexOf(":");
  const hasPort = portAt > host.lastIndexOf("]") && portAt !== -1;
  return (
    names.has(hasPort ? host.slice(0, portAt) : host) &&
    (!hasPort || /^\d{1,5}$/.test(host.slice(portAt + 1)))
  );
}

/** True for the address of a loopback peer. */
const isLoopbackAddress = (address: string): boolean =>
  address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127.");

const isProxys = (name: string): boolean =>
  name === "forwarded" || name === "via" || name.startsWith("x-forwarded-");

/** The whole rule: a loopback peer, a loopback Host, and no sign of a proxy in between. */
export function isLoopbackRequest(request: Request, peer: string | null): boolean {
  const host = request.headers.get("host")?.toLowerCase();
  if (peer === null || host === undefined) return false;
  return isLoopbackAddress(peer) && isLoopbackHost(host) && ![...request.headers.keys()].some(isProxys);
}
