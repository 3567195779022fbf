/**
 * Whose request it is when proxies stand in between.
 *
 * X-Forwarded-For is written by whoever sent the request, so it counts only as far as each address that vouches for the
 * next one is trusted, from the socket's peer backwards. `Forwarded` and `X-Real-IP` are not read.
 */
import { BlockList, isIP } from "node:net";
import { groupsOf } from "./config-address.ts";

/** Finds the caller's address: the peer's, or that of the first hop, seen from here, that nobody trusts. */
export type CallerBehind = (peer: string, forwardedFor: string | null) => string;

/** `cidrs` as `parseCidr` gives them. All that comes out is in the form of `plainAddress`. */
export function trustProxies(cidrs: readonly string[]): CallerBehind {
  if (cidrs.length === 0) return plainAddress;
  const isTrusted = memberOf(cidrs);
  return (peer, forwardedFor) => {
    let caller = plainAddress(peer);
    const hops = (forwardedFor ?? "").split(",");
    while (isTrusted(caller)) {
      const before = addressOf(hops.pop() ?? "");
      // Nothing is known beyond an entry that is no address, so the last good one stands.
      if (before === null) break;
      caller = before;
    }
    return caller;
  };
}

/** IPv4 as dots even when it comes mapped into IPv6, which is lower case, compressed (RFC 5952), without zone. */
export function plainAddress(address: string): string {
  if (isIP(address) !== 6) return address;
  // Bun's URL refuses some valid addresses that end in dots, `::0:0:0:0:0.0.0.0` for one.
  const groups = address.replace(/%.*$/, "").replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, inGroups);
  const folded = new URL(`http://[${groups}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(folded);
  if (mapped === null) return folded;
  const halves = [mapped[1], mapped[2]].map((half) => Number.parseInt(half ?? "", 16));
  return halves.map((half) => `${half >> 8}.${half & 255}`).join(".");
}

/** What one caller chooses addresses from: an IPv4 address, or the /64 of an IPv6 one. Limits go by it. */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const network = groupsOf(address).slice(0, 4);
  return `${network.map((group) => group.toString(16)).join(":")}::/64`;
}

function inGroups(_: string, ...bytes: string[]): string {
  const group = (high = "", low = "") => ((Number(high) << 8) | Number(low)).toString(16);
  return `${group(bytes[0], bytes[1])}:${group(bytes[2], bytes[3])}`;
}

/** One entry, with or without port: `1.2.3.4`, `1.2.3.4:567`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:567`. */
function addressOf(entry: string): string | null {
  const text = entry.trim();
  const found = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+))(?::\d{1,5})?$/i.exec(text);
  const address = found?.[1] ?? found?.[2] ?? text;
  const family = isIP(address);
  // Brackets belong to IPv6 alone.
  if (family === 0 || (found?.[1] !== undefined && family === 4)) return null;
  return plainAddress(address);
}

/** A list for each family: in one list, Bun 1.4.5 finds every IPv4 address in `::/0`. */
function memberOf(cidrs: readonly string[]): (address: string) => boolean {
  const v4 = new BlockList();
  const v6 = new BlockList();
  for (const cidr of cidrs) {
    const [text = "", bits = ""] = cidr.replace(/%[^/]*/, "").split("/");
    const address = plainAddress(text);
    const length = Number(bits);
    // Of IPv4 addresses mapped into IPv6, as a peer behind this list is unfolded before it is looked for.
    const isMapped = isIP(text) === 6 && isIP(address) === 4 && length >= 96;
    if (isMapped) v4.addSubnet(address, length - 96, "ipv4");
    else if (isIP(text) === 4) v4.addSubnet(text, length, "ipv4");
    else v6.addSubnet(text, length, "ipv6");
  }
  return (address) => {
    const family = isIP(address);
    if (family === 0) return false;
    return family === 4 ? v4.check(address, "ipv4") : v6.check(address, "ipv6");
  };
}
