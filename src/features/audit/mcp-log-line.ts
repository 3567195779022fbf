/**
 * One line of the MCP log, and how lines hang together: each ends with a hash over itself and the hash before it.
 *
 *   {"seq":17,"at":"…", …,"hash":"<64 hex digits>"}
 *
 * `seq` counts through all files of a data dir. A file begins with a line that names the file before it; `resumed` says
 * that a gateway went on after a stop, `gap` how many lines are missing because there was no room for them.
 */
import { sha256 } from "./canonical.ts";

/** The end of a chain: what the next line hangs on. */
export type Link = { readonly seq: number; readonly hash: string };

export const noLink: Link = { seq: 0, hash: "0".repeat(64) };

/** What is no decision. */
export type LogMark =
  | { kind: "opened"; at: string; file: string; before: string | null; prev: string }
  | { kind: "resumed"; at: string; cut_bytes: number }
  | { kind: "gap"; at: string; missing: number };

/** Longer than any line that is written. */
export const lineBytesMax = 65_536;

/** `json` is an object's text. The line ends without a line break. */
export function linkLine(before: Link, json: string): { line: string; link: Link } {
  const seq = before.seq + 1;
  const body = `{"seq":${seq},${json.slice(1)}`;
  const hash = hashOf(before, body);
  return { line: `${body.slice(0, -1)},"hash":"${hash}"}`, link: { seq, hash } };
}

/** `,"hash":"…"}` */
const tailForm = /,"hash":"([0-9a-f]{64})"\}$/;

export type ReadLine = Link & {
  /** Whether it hangs on what is before it. */
  readonly follows: (before: Link) => boolean;
  readonly members: Readonly<Record<string, unknown>>;
};

/** Undefined for what is no such line. */
export function readLine(line: string): ReadLine | undefined {
  const hash = tailForm.exec(line)?.[1];
  if (hash === undefined) return undefined;
  const body = `${line.slice(0, -tailLength)}}`;
  const members = parse(body);
  const seq = members?.seq;
  if (members === undefined || typeof seq !== "number") return undefined;
  return {
    seq,
    hash,
    members,
    follows: (before) => seq === before.seq + 1 && hashOf(before, body) === hash,
  };
}

const tailLength = ',"hash":""}'.length + 64;

const hashOf = (before: Link, body: string): string => sha256(before.hash + body).toString("hex");

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
