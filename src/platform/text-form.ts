/**
 * Text that people and programs write down: bounded in characters, free of what no database keeps.
 */
import { z } from "zod";

/** One line: a title, a name. Not empty, no control characters. */
export const line = (charactersMax: number) =>
  z
    .string()
    .trim()
    .min(1, "This must not be empty.")
    .max(charactersMax, `At most ${charactersMax} characters.`)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses
    .regex(/^[^\u0000-\u001f\u007f]*$/, "No control characters, line breaks among them.");

/** Any text, several lines; NUL is the one character that Postgres cannot keep. */
export const text = (charactersMax: number) =>
  z
    .string()
    .max(charactersMax, `At most ${charactersMax} characters.`)
    .regex(/^[^\0]*$/, "The character NUL cannot be kept.");

/** A git commit: SHA-1 or SHA-256, or the beginning of one. */
export const commitSha = z
  .string()
  .regex(/^[0-9a-f]{7,64}$/, "A commit is 7 to 64 lower-case hexadecimal digits.");

/** A word of a closed vocabulary of the caller's own. */
export const word = z
  .string()
  .regex(/^[a-z0-9_.-]{1,64}$/, "1 to 64 characters of a-z, 0-9, `_`, `.` and `-`.");
