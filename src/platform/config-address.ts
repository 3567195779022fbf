/**
 * Where an address leads: what a host name or address is, as far as it can be told without asking DNS.
 *
 * For providers public addresses are always allowed; loopback when it is written as such; private ones only when the
 * operator says so; metadata and link-local addresses never, because they hand out the machine's own credentials.
 */
import { BlockList, isIP } from "node:net";
import type { Parsed } from "./config-values.ts";

/** `carried`: an IPv6 address that leads to a public IPv4 one through a translator or a tunnel. */
export type AddressKind = "public" | "carried" | "loopback" | "private" | "metadata";

/** `host` as `URL.hostname` gives it (WHATWG has already folded `2130706433`, `127.1` and `0x7f.1`), or a resolved address. */
export function addressKind(host: string): AddressKind {
  const name = host
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/%.*$/, "")
    .replace(/\.$/, "");
  const family = isIP(name);
  if (family === 4) return ofV4(name);
  if (family === 6) return ofV6(name);
  if (metadataNames.has(name)) return "metadata";
  if (name === "localhost" || name.endsWith(".localhost")) return "loopback";
  const inner = !name.includes(".") || privateSuffixes.some((suffix) => name.endsWith(suffix));
  return inner ? "private" : "public";
}

const metadataNames = new Set([
  "metadata",
  "metadata.google.internal",
  "metadata.goog",
  "metadata.azure.internal",
  "instance-data",
  "instance-data.ec2.internal",
]);
const privateSuffixes = [".internal", ".local", ".localdomain", ".lan", ".home.arpa", ".intranet", ".corp"];

const blocks = (cidrs: string[]): BlockList => {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = "", bits] = cidr.split("/");
    list.addSubnet(address, Number(bits), isIP(address) === 6 ? "ipv6" : "ipv4");
  }
  return list;
};

const loopbackV4 = blocks(["127.0.0.0/8"]);
/** Link-local as a whole, then Azure's, Alibaba's and Oracle's. */
const metadataV4 = blocks(["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"]);
const privateV4 = blocks([
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
]);

function ofV4(address: string): AddressKind {
  if (loopbackV4.check(address, "ipv4")) return "loopback";
  if (metadataV4.check(address, "ipv4")) return "metadata";
  return privateV4.check(address, "ipv4") ? "private" : "public";
}

/** Link-local as a whole, then Amazon's instance metadata and container credentials, and Google's. */
const metadataV6 = blocks(["fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128"]);
const unicastV6 = blocks(["2000::/3"]);
/** Of the unicast range: IETF protocols (ORCHID and benchmarks among them) and documentation. */
const privateV6 = blocks(["2001::/23", "2001:db8::/32", "3fff::/20"]);

function ofV6(address: string): AddressKind {
  const groups = groupsOf(address);
  if (groups.slice(0, 7).every((group) => group === 0) && groups[7] === 1) return "loopback";
  const inner = innerV4(groups);
  if (inner !== null) return ofCarried(inner, groups);
  if (metadataV6.check(address, "ipv6")) return "metadata";
  return unicastV6.check(address, "ipv6") && !privateV6.check(address, "ipv6") ? "public" : "private";
}

function ofCarried(inner: string, groups: number[]): AddressKind {
  const kind = ofV4(inner);
  // RFC 8215: a translator of one's own, in one's own network.
  const isLocalNat64 = isNat64(groups) && groups[2] === 1;
  if (kind === "public") return isLocalNat64 ? "private" : "carried";
  return kind;
}

/** The IPv4 address that an IPv6 one carries: mapped, translated (SIIT), compatible, NAT64, 6to4, or Teredo. */
function innerV4(groups: number[]): string | null {
  const [first, second, , , fifth, sixth, high = 0, low = 0] = groups;
  const isZero = (count: number) => groups.slice(0, count).every((group) => group === 0);
  const mapped = isZero(5) && (sixth === 0xffff || (sixth === 0 && high !== 0));
  const translated = isZero(4) && fifth === 0xffff && sixth === 0;
  if (mapped || translated || isNat64(groups)) return dotted(high, low);
  if (first === 0x2001 && second === 0) return dotted(high ^ 0xffff, low ^ 0xffff);
  return first === 0x2002 ? dotted(second ?? 0, groups[2] ?? 0) : null;
}

const isNat64 = (groups: number[]): boolean => groups[0] === 0x64 && groups[1] === 0xff9b;

const dotted = (high: number, low: number): string => [high >> 8, high & 255, low >> 8, low & 255].join(".");

/** The eight groups of an IPv6 address, as numbers. */
export function groupsOf(address: string): number[] {
  const v4 = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = (high = "0", low = "0") => ((Number(high) << 8) | Number(low)).toString(16);
  const text = v4 ? `${v4[1]}${hex(v4[2], v4[3])}:${hex(v4[4], v4[5])}` : address;
  const [head = "", tail] = text.split("::");
  const numbers = (part: string) =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  if (tail === undefined) return numbers(head);
  const before = numbers(head);
  const after = numbers(tail);
  return [...before, ...new Array<number>(Math.max(0, 8 - before.length - after.length)).fill(0), ...after];
}

/** A provider's base URL without its trailing slash. The value is never repeated in what is wrong: it may hold a key. */
export function parseBaseUrl(text: string, allowPrivateNetwork: boolean): Parsed<string> {
  if (!URL.canParse(text)) return { wrong: "not a URL; would be such as https://api.example.com/v1" };
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:")
    return {
      wrong: "not http or https; would be such as https://api.example.com/v1",
    };
  if (url.username !== "" || url.password !== "")
    return {
      wrong: "holds a user name or a password; the key belongs in api_key, or in the provider's key variable",
    };
  if (url.search !== "" || url.hash !== "")
    return { wrong: "holds a query or a fragment; would end with the path" };
  const kind = addressKind(url.hostname);
  if (kind === "metadata")
    return {
      wrong: "a metadata or link-local address, which is never allowed; would be the provider's own address",
    };
  if (kind === "private" && !allowPrivateNetwork)
    return {
      wrong:
        "a private address; would be a public one, or stand in specgate.yaml with allow_private_network: true",
    };
  return { value: `${url.origin}${url.pathname}`.replace(/\/+$/, "") };
}
