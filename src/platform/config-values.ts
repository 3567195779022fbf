/**
 * How one value of the environment is read: text in; a typed value, or a sentence saying what is wrong and what would
 * be right. The sentence never repeats the text: whoever pastes a key into the wrong variable must not find it in a log.
 */
import { isIP } from "node:net";
import { isAbsolute } from "node:path";
import { z } from "zod";
import { addressKind } from "./config-address.ts";
import { nearest } from "./nearest.ts";
import { Secret } from "./secret.ts";

export type Parsed<T> = { value: T } | { wrong: string };

/** One of a few words; `names` says what they are: "a log level". */
export function oneOf<const T extends string>(names: string, ...words: T[]): (text: string) => Parsed<T> {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found !== undefined) return { value: found };
    const close = nearest(text, words);
    return {
      wrong: `not ${names}; would be ${close === null ? `${words.slice(0, -1).join(", ")} or ${words.at(-1)}` : `"${close}"`}`,
    };
  };
}

export function parseSwitch(text: string): Parsed<boolean> {
  if (text === "on") return { value: true };
  return text === "off" ? { value: false } : { wrong: "neither on nor off; would be on or off" };
}

/** 0 asks the system for a free port. */
export const parsePort = (text: string): Parsed<number> =>
  wholeNumber(text, 0, 65_535) ?? {
    wrong: "not a port; would be a whole number from 0 to 65535, such as 8080",
  };

export function parseUid(text: string): Parsed<number> {
  const found = wholeNumber(text, 1, 4_294_967_294);
  if (found === null)
    return {
      wrong: "not a user id; would be a whole number of 1 or more, such as 60001",
    };
  // Other daemons run as nobody, and could then read the cluster and signal its processes.
  if (found.value === 65_534)
    return {
      wrong: "the id of nobody, shared by other daemons; would be an id of its own",
    };
  return found;
}

function wholeNumber(text: string, min: number, max: number): { value: number } | null {
  if (!/^\d{1,10}$/.test(text)) return null;
  const value = Number(text);
  return value >= min && value <= max ? { value } : null;
}

const hostForm = /^(?=.{1,253}$)[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*$/i;

export function parseHost(text: string): Parsed<string> {
  const bare = text.replace(/^\[(.*)\]$/, "$1");
  if (isIP(bare) !== 0 || hostForm.test(bare)) return { value: bare };
  return {
    wrong: "not a host; would be an address or a name without scheme and port, such as 127.0.0.1",
  };
}

/** Origin alone; https unless it is loopback. */
export function parsePublicUrl(text: string): Parsed<string> {
  const example = "would be such as https://gate.example.com";
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return { wrong: `not an http(s) URL; ${example}` };
  const url = new URL(text);
  if (url.username !== "" || url.password !== "")
    return { wrong: `holds a user name or a password; ${example}` };
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "")
    return {
      wrong: `more than an origin; ${example}, without path, query or fragment`,
    };
  if (url.protocol === "http:" && addressKind(url.hostname) !== "loopback")
    return {
      wrong: "http on an address that is not loopback; would begin with https://",
    };
  return { value: url.origin };
}

/** Entries separated by commas or spaces; every wrong one is named by its place. */
export function listOf<T>(parse: (entry: string) => Parsed<T>): (text: string) => Parsed<T[]> {
  return (text) => {
    const values: T[] = [];
    const wrong: string[] = [];
    const entries = text.split(/[\s,]+/).filter((entry) => entry !== "");
    for (const [index, entry] of entries.entries()) {
      const parsed = parse(entry);
      if ("value" in parsed) values.push(parsed.value);
      else wrong.push(`entry ${index + 1} is ${parsed.wrong}`);
    }
    if (entries.length === 0)
      return {
        wrong: "a list without entries; leave it unset, or name at least one",
      };
    return wrong.length > 0 ? { wrong: wrong.join("; ") } : { value: [...new Set(values)] };
  };
}

/** A value of the Host header: `name` or `name:port`. */
export function parseHostHeader(text: string): Parsed<string> {
  const wrong = {
    wrong: "not a host; would be such as gate.example.com or gate.example.com:8443",
  };
  const found = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(:\d{1,5})?$/i.exec(text);
  if (found === null || "wrong" in parseHost(found[1] ?? "")) return wrong;
  return { value: text.toLowerCase() };
}

/** An address alone is a network of one. */
export function parseCidr(text: string): Parsed<string> {
  const [address = "", bits, rest] = text.split("/");
  const family = isIP(address);
  const most = family === 6 ? 128 : 32;
  const length = bits === undefined ? most : wholeNumber(bits, 0, most)?.value;
  if (family === 0 || length === undefined || rest !== undefined)
    return { wrong: "not a network; would be such as 10.0.0.0/8 or fd00::/8" };
  return { value: `${address.toLowerCase()}/${length}` };
}

/** An origin as browsers send it; schemes of desktop shells too. `*` and `null` would let everyone in. */
export function parseOrigin(text: string): Parsed<string> {
  const found = /^([a-z][a-z0-9+.-]*):\/\/([^/?#@\s*]+)\/?$/i.exec(text);
  if (found === null)
    return {
      wrong: "not an exact origin; would be such as https://app.example.com",
    };
  if (!/^https?$/i.test(found[1] ?? "")) return { value: `${found[1]}://${found[2]}`.toLowerCase() };
  if (!URL.canParse(text))
    return {
      wrong: "not an exact origin; would be such as https://app.example.com",
    };
  return { value: new URL(text).origin };
}

/** An S3 store's origin. In one's own network, and there over http, is allowed: the caller warns of the latter. */
export function parseS3Endpoint(text: string): Parsed<string> {
  const example = "would be such as https://s3.eu-central-1.amazonaws.com";
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) return { wrong: `not an http(s) URL; ${example}` };
  if (url.username !== "" || url.password !== "")
    return {
      wrong: `holds a user name or a password; ${example}, with the key in S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY`,
    };
  if (url.pathname !== "/" || /[?#]/.test(text))
    return { wrong: `more than an origin; ${example}, with the bucket in S3_BUCKET` };
  if (addressKind(url.hostname) === "metadata")
    return { wrong: `a metadata or link-local address, which is never allowed; ${example}` };
  return { value: url.origin };
}

/** As S3 names buckets, which every store of its kind takes. */
export function parseBucket(text: string): Parsed<string> {
  if (/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(text) && !text.includes("..") && isIP(text) === 0)
    return { value: text };
  return {
    wrong:
      "not a bucket's name; would be 3 to 63 of a-z, 0-9, dot and dash, beginning and ending with a letter or digit",
  };
}

export function parseRegion(text: string): Parsed<string> {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(text)) return { value: text };
  return { wrong: "not a region; would be such as eu-central-1, or auto" };
}

export function parseR2Account(text: string): Parsed<string> {
  if (/^[0-9a-f]{32}$/i.test(text)) return { value: text.toLowerCase() };
  return { wrong: "not an account id of Cloudflare; would be 32 hexadecimal digits" };
}

export function parseDatabaseUrl(text: string): Parsed<Secret> {
  // A socket is spelled with an empty host before the path, which URL takes only with a name in its place.
  const named = text.replace(/^([a-z]+:\/\/[^/]*@)\//, "$1socket/");
  if (/^postgres(ql)?:\/\//.test(text) && URL.canParse(named)) return { value: new Secret(text) };
  return {
    wrong: "not a Postgres URL; would be such as postgres://user:password@host:5432/name",
  };
}

export function parseRedisUrl(text: string): Parsed<Secret> {
  if (/^rediss?:\/\//.test(text) && URL.canParse(text)) return { value: new Secret(text) };
  return { wrong: "not a Redis URL; would be such as redis://:password@host:6379/0, or rediss:// for TLS" };
}

/** What goes into a header as it is: printable ASCII without spaces. */
export function parseToken(text: string): Parsed<Secret> {
  if (/^[\x21-\x7e]+$/.test(text)) return { value: new Secret(text) };
  return {
    wrong: "holds spaces or signs that no header can carry; would be printable ASCII",
  };
}

/** What an OpenID provider calls itself; its discovery document stands below. */
export function parseIssuer(text: string): Parsed<string> {
  const example = "would be such as https://login.example.com";
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) return { wrong: `not an http(s) URL; ${example}` };
  if (url.username !== "" || url.password !== "")
    return { wrong: `holds a user name or a password; ${example}` };
  if (/[?#]/.test(text)) return { wrong: "holds a query or a fragment; would end with the path" };
  // openid-client takes such a URL for the document itself, and then checks no issuer.
  if (url.pathname.includes("/.well-known/"))
    return { wrong: "the discovery document's address; would be what stands before /.well-known" };
  const kind = addressKind(url.hostname);
  if (kind === "metadata") return { wrong: `a metadata or link-local address; ${example}` };
  if (url.protocol === "http:" && kind !== "loopback")
    return { wrong: "http on an address that is not loopback; would begin with https://" };
  return { value: text };
}

const isPrintable = (text: string): boolean => /^[\x20-\x7e]+$/.test(text);
const unprintable = "holds signs that no client of OAuth can have; would be printable ASCII";

/** RFC 6749 appendix A.1. */
export const parseClientId = (text: string): Parsed<string> =>
  isPrintable(text) ? { value: text } : { wrong: unprintable };

/** RFC 6749 appendix A.2. */
export const parseClientSecret = (text: string): Parsed<Secret> =>
  isPrintable(text) ? { value: new Secret(text) } : { wrong: unprintable };

export function parseEmail(text: string): Parsed<string> {
  if (z.email().max(254).safeParse(text).success) return { value: text };
  return { wrong: "not an e-mail address; would be such as ada@example.com" };
}

const passwordBytes = { min: 12, max: 1_024 } as const;

export function parsePassword(text: string): Parsed<Secret> {
  const { min, max } = passwordBytes;
  const bytes = new TextEncoder().encode(text).length;
  if (bytes >= min && bytes <= max) return { value: new Secret(text) };
  return { wrong: `too ${bytes < min ? "short" : "long"}; would be of ${min} to ${max} bytes` };
}

const signingSecretBytesMin = 32;

/** Comma-separated: the first signs, all verify. */
export function parseSigningSecrets(text: string): Parsed<Secret[]> {
  const parts = text.split(",").map((part) => part.trim());
  const rule = `would be at least ${signingSecretBytesMin} bytes, such as the output of: openssl rand -base64 48`;
  const short = parts.findIndex((part) => new TextEncoder().encode(part).length < signingSecretBytesMin);
  if (short !== -1) {
    const which = parts.length === 1 ? "too short" : `secret ${short + 1} of ${parts.length} is too short`;
    return { wrong: `${which}; ${rule}` };
  }
  if (new Set(parts).size < parts.length) return { wrong: "the same secret twice; would name each once" };
  return { value: parts.map((part) => new Secret(part)) };
}

export function parsePath(text: string): Parsed<string> {
  if (text.includes("\0")) return { wrong: "not a path; would hold no NUL" };
  // A tilde that no shell expanded would become a directory named "~".
  if (!isAbsolute(text) && text.startsWith("~"))
    return {
      wrong: "begins with ~, which only shells expand; would be a full path",
    };
  return { value: text };
}
