/**
 * Takes the gateway's secrets out of what upstream servers answer: a server that was given one may say it again, in an
 * error message or a dump of its environment, and whoever called the tool is not whom it was given to.
 *
 * Found in every string and every member's name, as they are and as programs usually spell them: escaped as in JSON,
 * percent-encoded, in hexadecimal, in base64 at any offset. Not found: what was cut in pieces, encrypted, or spelled out.
 * All forms are looked for at once (Wu and Manber 1994): most characters of a text are never looked at.
 */
import { Failure } from "../../platform/failure.ts";
import { Secret } from "../../platform/secret.ts";

/** The same value where nothing was found. */
export type Redact = <Value>(value: Value) => { value: Value; count: number };

/** Shorter ones are words that stand in every other text. */
const secretCharactersMin = 8;
const mark = "[redacted]";
const depthMax = 100;

export function createRedact(secrets: readonly string[]): Redact {
  const find = createFinder(secrets.filter(({ length }) => length >= secretCharactersMin).flatMap(formsOf));
  if (find === null) return (value) => ({ value, count: 0 });
  return (value) => {
    const pass = { find, count: 0 };
    return { value: redacted(value, pass, 0) as typeof value, count: pass.count };
  };
}

/**
 * Every `Secret` anywhere in a configuration, the passwords that stand in those that are URLs, and what looks like a key in
 * the arguments of commands and in addresses, where many hosts of MCP servers put one.
 */
export function secretsIn(value: unknown, name = ""): string[] {
  if (value instanceof Secret) {
    const text = value.reveal();
    const password = URL.parse(text)?.password ?? "";
    const inUrl = password === "" ? [] : [password, decoded(password)];
    return name.startsWith("env ") && !secretWord.test(name)
      ? [...inUrl, ...secretsInSetting(name, text)]
      : [text, ...inUrl];
  }
  if (typeof value === "string") return /url$/i.test(name) ? secretsInAddress(value) : [];
  if (typeof value !== "object" || value === null) return [];
  if (name === "command" && Array.isArray(value)) return secretsInCommand(value);
  return Object.entries(value).flatMap(([key, member]) =>
    // Variables of commands are all kept as secrets; where they go decides which of them are.
    secretsIn(member, name === "env" || name.startsWith("env ") ? `env ${key}` : key),
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const secretWord =
  /key|token|secret|pass|pwd|auth|cred|private|cookie|session|dsn|bearer|basic|salt|seed|sign|(?:^|[ _-])pat$/i;

/**
 * Most variables of commands say how they run: a region, a site's address, a zone, somebody's name. To take those out of
 * every answer would spoil them, so that where the name does not sound like a secret's only what stands under such a name
 * inside of it, a password in an address, a bearer, and what looks like a key are secrets.
 */
function secretsInSetting(name: string, value: string): string[] {
  const named = [...value.matchAll(namedValue)].flatMap(([, key = "", quoted, plain]) =>
    secretWord.test(key) ? [unescaped(quoted ?? plain ?? "")] : [],
  );
  const passwords = [...value.matchAll(addressPassword)].flatMap(([, given = ""]) => [given, decoded(given)]);
  const bearers = [...value.matchAll(bearer)].map(([, given = ""]) => given);
  const told = [...named, ...passwords, ...bearers];
  if (/_ids?$/i.test(name)) return told;
  const isPlace = /^[./~]|^[a-z][a-z0-9+.-]*:/i.test(value);
  if (!isPlace && looksLikeKey(value)) return [...told, value];
  return [...told, ...value.split(/[\s/:@,;?&="'{}]+/).filter(looksLikeKey)];
}

/** `Password=x;`, `password=x `, `"Authorization":"Bearer x"`. */
const namedValue = /([\w .-]*[\w-])["']?\s*[=:]\s*(?:"((?:[^"\\]|\\.)*)"|([^"'\s;&,}]+))/g;
/** Also where several hosts make it no URL. */
const addressPassword = /:\/\/[^\s/:@]*:([^\s@]+)@/g;
const bearer = /\b(?:bearer|basic|token)\s+([\w.~+/=-]{8,})/gi;

const unescaped = (text: string): string => text.replaceAll(/\\(["\\/])/g, "$1");

/** A word of small and large letters with digits in between, twice at least, or what is random by its length. */
const looksLikeKey = (text: string): boolean =>
  looksRandom(text) ||
  wordsIn(text).some((word) => /^(?=.*[a-z])(?=.*[A-Z])(?=\D*\d+\D+\d)\w{10,}$/.test(word));

/** Three digits among twenty signs, and letters in a word with some of them: a key, an id, hardly a name or a version. */
export const looksRandom = (text: string): boolean =>
  /^(?=(?:\D*\d){3})[A-Za-z0-9_.~+=-]{20,}$/.test(text) &&
  wordsIn(text).some((word) => /^(?=.*\d)(?=.*[A-Za-z])\w{8,}$/.test(word));

const wordsIn = (text: string): string[] => text.split(/[^A-Za-z0-9]+/);

/** The parts of an address's path and the values of its query that may be keys. */
function secretsInAddress(text: string): string[] {
  const url = URL.parse(text);
  if (url === null) return [];
  return [...url.pathname.split("/").map(decoded), ...url.searchParams.values()].filter(looksRandom);
}

/** `--token x`, `--api-key=x`, `API_KEY=x`, `Authorization: Bearer x`, and whatever looks like one by itself. */
function secretsInCommand(command: readonly unknown[]): string[] {
  const words = command.flatMap((argument) => String(argument).split(/[\s=]+|:\s+/));
  const isNamed = (at: number): boolean => {
    const before = words[at - 1] ?? "";
    return secretName.test(before) || secretVariable.test(before);
  };
  return words.filter((word, at) => looksRandom(word) || (isNamed(at) && !/^(?:-|[./]*\/|\[)/.test(word)));
}

/** An option, a header, a variable. */
const secretName = /^(?:-[\w-]*|x-[\w-]*)?(?:token|secret|passw(?:or)?d|pass|pwd|key|bearer|credentials?)$/i;
const secretVariable = /^[A-Z0-9_]+_(?:TOKEN|SECRET|PASSWORD|PASS|PWD|KEY|CREDENTIALS?)$/;

/** A secret as it may stand in a text. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const percent = encodeURIComponent(secret.toWellFormed());
  const hex = bytes.toString("hex");
  const escaped = JSON.stringify(secret).slice(1, -1);
  return [
    secret,
    escaped,
    escaped.replaceAll("/", "\\/"),
    JSON.stringify(escaped).slice(1, -1),
    percent,
    percent.replace(/%[0-9A-F]{2}/g, (sign) => sign.toLowerCase()),
    hex,
    hex.toUpperCase(),
    ...[0, 1, 2].flatMap((offset) => base64Forms(bytes, offset)),
  ];
}

/** The characters that are the same whatever stands before and behind. */
function base64Forms(bytes: Buffer, offset: number): string[] {
  const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
  const from = Math.ceil((offset * 8) / 6);
  const to = Math.floor((shifted.length * 8) / 6);
  const spellings = [shifted.toString("base64"), shifted.toString("base64url")];
  return spellings.map((spelling) => spelling.slice(from, to));
}

type Pass = { readonly find: Find; count: number };

function redacted(value: unknown, pass: Pass, depth: number): unknown {
  if (typeof value === "string") return redactedText(value, pass);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= depthMax) throw tooDeep();
  if (Array.isArray(value)) {
    const items = value.map((item) => redacted(item, pass, depth + 1));
    return items.some((item, at) => item !== value[at]) ? items : value;
  }
  const members = Object.entries(value).map(
    ([key, member]) => [redactedText(key, pass), redacted(member, pass, depth + 1), key, member] as const,
  );
  if (members.every(([key, member, hadKey, had]) => key === hadKey && member === had)) return value;
  return Object.fromEntries(members.map(([key, member]) => [key, member] as const));
}

function redactedText(text: string, pass: Pass): string {
  const spans = pass.find(text);
  if (spans === null) return text;
  pass.count += spans.length;
  let kept = "";
  let at = 0;
  for (const [start, end] of spans) {
    kept += text.slice(at, start) + mark;
    at = end;
  }
  return kept + text.slice(at);
}

const tooDeep = (): Failure =>
  new Failure(
    "upstream",
    "upstream_failed",
    `The upstream MCP server's result is nested deeper than ${depthMax} levels.`,
  );

/** Where any of the forms stands, overlapping ones joined; null for nowhere. */
type Find = (text: string) => [start: number, end: number][] | null;

const slots = 65_536;
const slotOf = (one: number, other: number): number => ((one << 7) ^ other) & (slots - 1);

/** Null when there is nothing to look for. */
function createFinder(given: readonly string[]): Find | null {
  const forms = [...new Set(given)].sort((one, other) => other.length - one.length);
  const least = forms.at(-1)?.length;
  if (least === undefined) return null;
  // How far the window may move on for the two characters that it ends with.
  const shifts = new Uint16Array(slots).fill(Math.min(least - 1, 0xffff));
  const ending = new Map<number, string[]>();
  for (const form of forms) {
    for (let end = 1; end < least; end++) {
      const slot = slotOf(form.charCodeAt(end - 1), form.charCodeAt(end));
      shifts[slot] = Math.min(shifts[slot] ?? 0, least - 1 - end);
      if (end === least - 1) ending.set(slot, [...(ending.get(slot) ?? []), form]);
    }
  }
  return (text) => {
    let spans: [number, number][] | null = null;
    for (let end = least - 1; end < text.length; ) {
      const slot = slotOf(text.charCodeAt(end - 1), text.charCodeAt(end));
      const shift = shifts[slot] as number;
      end += shift;
      if (shift > 0) continue;
      const start = end - least + 1;
      // The longest comes first.
      const found = ending.get(slot)?.find((form) => text.startsWith(form, start));
      if (found !== undefined) spans = joined(spans ?? [], start, start + found.length);
      end++;
    }
    return spans;
  };
}

function joined(spans: [number, number][], start: number, end: number): [number, number][] {
  const last = spans.at(-1);
  if (last === undefined || start >= last[1]) spans.push([start, end]);
  else last[1] = Math.max(last[1], end);
  return spans;
}
