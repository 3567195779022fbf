/**
 * JSON bodies of the control plane: exactly `application/json`, bounded before they are parsed, checked against a shape,
 * with every mistake named at once. A member that the shape does not have is a mistake: it would silently do nothing.
 */
import type { z } from "zod";
import { readBody, requireJson } from "./body.ts";
import { Failure, type FieldError } from "./failure.ts";
import { type JsonBounds, scanObject } from "./json.ts";

const usualBytesMax = 65_536;
/** Room for the longest texts that people write, also where every character is escaped. */
export const longTextBytesMax = 524_288;

/** Throws 400 for what is no JSON object, 413, 415, and 422 `invalid_request` with `errors`. No value is echoed. */
export async function readJson<Shape extends z.ZodType>(
  request: Request,
  shape: Shape,
  bodyBytesMax = usualBytesMax,
  bounds: Partial<JsonBounds> = {},
): Promise<z.infer<Shape>> {
  return (await readJsonBytes(request, shape, bodyBytesMax, bounds)).value;
}

/** As `readJson`, with the bytes as they were sent. No body at all is an empty object: some shapes ask for nothing. */
export async function readJsonBytes<Shape extends z.ZodType>(
  request: Request,
  shape: Shape,
  bodyBytesMax = usualBytesMax,
  bounds: Partial<JsonBounds> = {},
): Promise<{ value: z.infer<Shape>; bytes: Uint8Array }> {
  const judge = judges.get(request);
  if (request.body === null) return { value: checkShape(shape, {}), bytes: new Uint8Array() };
  requireJson(request);
  const { bytes } = await readBody(request, { bodyBytesMax, roomBytesMax: bodyBytesMax }, { bytes: 0 });
  await judge?.();
  scanObject(bytes, bounds);
  return { value: checkShape(shape, parse(bytes)), bytes };
}

const judges = new WeakMap<Request, () => Promise<void>>();

/** `judge` is called when the request's last byte has come, before anything is made of it. */
export const onceRead = (request: Request, judge: () => Promise<void>): void => {
  judges.set(request, judge);
};

/** What is told at once: whoever sends a hundred thousand mistakes must not get them all back. */
export const mistakesMax = 100;
const pathCharactersMax = 200;

/** Throws 422 `invalid_request` with one entry for each mistake. */
function checkShape<Shape extends z.ZodType>(shape: Shape, value: unknown): z.infer<Shape> {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  const errors: FieldError[] = [];
  for (const issue of parsed.error.issues) {
    errors.push(...fieldErrors(issue).slice(0, mistakesMax - errors.length));
    if (errors.length === mistakesMax) break;
  }
  const which = errors.length === mistakesMax ? "the first hundred" : "each";
  const message = `The body has mistakes; \`errors\` names ${which}.`;
  throw new Failure("unprocessable", "invalid_request", message, { errors });
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Failure("invalid", "invalid_json", "The body is not valid JSON in UTF-8.");
  }
}

function fieldErrors(issue: z.core.$ZodIssue): FieldError[] {
  const path = issue.path.join(".");
  if (issue.code !== "unrecognized_keys") return [{ path, code: issue.code, message: issue.message }];
  return issue.keys.slice(0, mistakesMax).map((key) => ({
    path: (path === "" ? key : `${path}.${key}`).slice(0, pathCharactersMax).toWellFormed(),
    code: "unknown",
    message: "There is no such field here.",
  }));
}
