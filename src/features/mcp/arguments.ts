/**
 * Reads a tool's arguments by its shape: every mistake at once, with its place. A name that the shape does not have is one
 * of them, and the nearest that it has is told: a model then corrects itself in one step.
 */
import type { z } from "zod";
import { Failure, type FieldError } from "../../platform/failure.ts";

const mistakesMax = 50;
const pathCharactersMax = 200;

/** Throws 422 `invalid_request` with one entry for each mistake. No value is echoed. */
export function readArguments(shape: z.ZodObject, args: unknown): Record<string, unknown> {
  const parsed = shape.safeParse(args);
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.flatMap((issue) => fieldErrors(shape, issue)).slice(0, mistakesMax);
  throw new Failure("unprocessable", "invalid_request", "The arguments have mistakes; each is named.", {
    errors,
  });
}

function fieldErrors(shape: z.ZodType, issue: z.core.$ZodIssue): FieldError[] {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys")
    return [{ path: pathOf(path), code: issue.code, message: issue.message }];
  const known = namesAt(shape, path);
  return issue.keys
    .slice(0, mistakesMax)
    .map((key) => ({ path: pathOf([...path, key]), code: "unknown", message: unknownName(key, known) }));
}

const pathOf = (path: readonly string[]): string => path.join(".").slice(0, pathCharactersMax).toWellFormed();

/** What may stand at this place; nothing where the shape does not say. */
function namesAt(shape: z.ZodType, path: readonly string[]): string[] {
  const inner = unwrapped(shape);
  const [key, ...rest] = path;
  if (inner.def.type === "array" && key !== undefined) return namesAt(inner.def.element as z.ZodType, rest);
  if (inner.def.type !== "object") return [];
  const { shape: members } = inner.def as z.core.$ZodObjectDef;
  if (key === undefined) return Object.keys(members);
  const member = Object.hasOwn(members, key) ? members[key] : undefined;
  return member === undefined ? [] : namesAt(member as z.ZodType, rest);
}

type Unwrapped = { def: { type: string; element?: unknown; innerType?: unknown } };

function unwrapped(shape: z.ZodType): Unwrapped {
  let found = shape as unknown as Unwrapped;
  while (found.def.innerType !== undefined) found = found.def.innerType as Unwrapped;
  return found;
}

function unknownName(key: string, known: readonly string[]): string {
  if (known.length === 0) return "There is no such argument; there are none here.";
  const near = nearest(key, known);
  if (near !== null) return `There is no such argument. Did you mean \`${near}\`?`;
  return `There is no such argument. There are: ${known.map((name) => `\`${name}\``).join(", ")}.`;
}

const comparedCharactersMax = 64;

/** Null when none is near enough to have been meant. */
export function nearest(key: string, known: readonly string[]): string | null {
  const asked = plain(key);
  if (asked.length > comparedCharactersMax) return null;
  const distances = known.map((name) => ({ name, distance: editDistance(asked, plain(name)) }));
  const [best] = distances.sort((one, other) => one.distance - other.distance);
  return best !== undefined && best.distance <= Math.max(2, asked.length / 3) ? best.name : null;
}

/** `sessionId` is nearer to `session_id` than to `session`. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, "");

/** Levenshtein's: how many characters to insert, remove or replace. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const kept = (row[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1);
      next.push(Math.min(kept, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
