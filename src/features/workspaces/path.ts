/**
 * Paths of files as callers spell them: one spelling for each file, or a refusal that says what would be right.
 *
 * Nothing is tidied up here. What two programs could read in two ways, such as `a//b`, `./a` or a backslash, is refused.
 */
import { Failure } from "../../platform/failure.ts";

const pathBytesMax = 1_024;
const nameBytesMax = 255;

/** Control and format characters, halves of pairs, line separators, and what stands for bytes that are no text. */
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\ufffd]/u;

/** Segments of a path below a workspace's root; none is empty, begins with a dot, or could lead anywhere else. */
export function parsePath(text: string): string[] {
  const wrong = wrongWith(text);
  if (wrong !== null) throw invalidPath(wrong);
  return text.split("/");
}

/** As above, where nothing at all is the root itself. */
export const parseDirectoryPath = (text: string): string[] => (text === "" ? [] : parsePath(text));

/** Whether a name as the disk has it could be spelled by a caller. Asked of thousands at once, so nothing is thrown. */
export const isSpeakable = (name: string): boolean => !name.includes("/") && wrongWith(name) === null;

function wrongWith(text: string): string | null {
  if (text === "") return "is empty; would be such as docs/plan.md";
  // Before anything else: half of a pair has no length in bytes.
  if (unseen.test(text)) return "holds characters that nobody sees; leave them out";
  if (Buffer.byteLength(text) > pathBytesMax) return `is longer than ${pathBytesMax} bytes`;
  if (text.includes("\\")) return "holds a backslash; segments are separated by /";
  if (text.startsWith("/")) return "is absolute; would begin below the workspace's root, without /";
  if (text !== text.normalize("NFC")) return "is not in Unicode's form NFC; compose its characters";
  for (const segment of text.split("/")) {
    const wrong = wrongWithSegment(segment);
    if (wrong !== null) return wrong;
  }
  return null;
}

function wrongWithSegment(segment: string): string | null {
  if (segment === "") return "has an empty segment; would have single / and none at its end";
  if (segment === "." || segment === "..") return "holds . or ..; would name each directory";
  if (segment.startsWith(".")) return "names a dotfile or a dot directory; those are never open here";
  if (/[. ]$|^ /.test(segment)) return "has a segment that ends with a dot or has outer spaces";
  if (segment.includes(":")) return "holds a colon, which names a part of a file on some disks";
  if (Buffer.byteLength(segment) > nameBytesMax)
    return `has a segment that is longer than ${nameBytesMax} bytes`;
  return null;
}

const invalidPath = (what: string): Failure =>
  new Failure("invalid", "invalid_path", `The path ${what}.`, {
    errors: [{ path: "path", code: "invalid", message: `The path ${what}.` }],
  });
