/**
 * Text that people and programs write down: bounded in characters, free of what no database keeps.
 */
import { z } from "zod";

/** Turns the text around that follows: what a person reads would not be what stands there. */
const overrides = "\\u202a-\\u202e\\u2066-\\u2069";
const oneLine = new RegExp(`^[^\\u0000-\\u001f\\u007f\\u2028\\u2029${overrides}]*$`);

/** One line: a title, a name. Not empty, no control characters, nothing that hides what is written. */
export const line = (charactersMax: number) =>
  z
    .string()
    // Half of a surrogate pair cannot be kept: what was sent has to be what is read back.
    .overwrite((given) => given.toWellFormed().trim())
    .min(1, "This must not be empty.")
    .max(charactersMax, `At most ${charactersMax} characters.`)
    .regex(oneLine, "No control characters, line breaks and those that turn text around among them.");

/** Any text, several lines; NUL is the one character that Postgres cannot keep. */
export const text = (charactersMax: number) =>
  z
    .string()
    .overwrite((given) => given.toWellFormed())
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

/** Words that a person has to judge by: not blank, and read as they are written. */
export const reason = text(2_000)
  .trim()
  .min(1, "Say why.")
  .regex(new RegExp(`^[^${overrides}]*$`), "No characters that turn text around.");
