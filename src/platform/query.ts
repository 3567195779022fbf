/**
 * Query strings, checked against a shape: every mistake at once, an unknown name is one of them (a filter that is
 * silently ignored answers another question).
 */
import { z } from "zod";
import { Failure, type FieldError } from "./failure.ts";

/** A shape whose every member is read from text. A name given twice is a mistake unless `lists` has it. */
export function parseQuery<Shape extends z.ZodType>(
  shape: Shape,
  params: URLSearchParams,
  lists: readonly string[] = [],
): z.infer<Shape> {
  const given: Record<string, string | string[]> = {};
  const errors: FieldError[] = [];
  for (const name of new Set(params.keys())) {
    const all = params.getAll(name);
    if (lists.includes(name)) given[name] = all.flatMap((value) => value.split(","));
    else given[name] = all[0] ?? "";
    if (all.length > 1 && !lists.includes(name))
      errors.push({ path: name, code: "repeated", message: "Give this parameter once." });
  }
  const parsed = shape.safeParse(given);
  if (!parsed.success) errors.push(...parsed.error.issues.flatMap(fieldErrors));
  if (!parsed.success || errors.length > 0) throw invalidQuery(errors);
  return parsed.data;
}

export const invalidQuery = (errors: FieldError[]): Failure =>
  new Failure("invalid", "invalid_request", "The query has mistakes; `errors` names each.", { errors });

function fieldErrors(issue: z.core.$ZodIssue): FieldError[] {
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => ({
      path: key,
      code: "unknown",
      message: "There is no such parameter here.",
    }));
  return [{ path: issue.path.join("."), code: issue.code, message: issue.message }];
}

/** RFC 3339 with any offset, or a day alone, which begins at midnight UTC. */
export const timeText = z
  .union([z.iso.datetime({ offset: true }), z.iso.date()], {
    error: "Give a time as RFC 3339, such as 2026-05-01T00:00:00Z, or a day.",
  })
  .transform((text) => new Date(text))
  // Postgres has no year 0, and does not read a year of five digits as it is written here.
  .refine(
    (time) => time.getUTCFullYear() >= 1 && time.getUTCFullYear() <= 9_999,
    "Give a time in the years 1 to 9999.",
  );
