/**
 * The forms of pages: urlencoded as browsers send them, or the same fields as one JSON object of strings.
 */
import { z } from "zod";
import { readBody } from "./body.ts";
import { Failure } from "./failure.ts";
import { readJson } from "./wire-body.ts";

const bodyBytesMax = 16_384;
const fields = z.record(z.string(), z.union([z.string(), z.array(z.string())]));

/** Throws 413 and 415. A field may stand more than once: ask for it with `getAll`. */
export async function readFields(request: Request): Promise<URLSearchParams> {
  const type = mediaType(request);
  if (type === "application/json") {
    const given = Object.entries(await readJson(request, fields, bodyBytesMax));
    const pairs = given.flatMap(([name, value]) =>
      [value].flat().map((one): [string, string] => [name, one]),
    );
    return new URLSearchParams(pairs);
  }
  if (type !== "application/x-www-form-urlencoded") {
    throw new Failure("media_type", "unsupported_media_type", "Send the form as it stands on the page.");
  }
  return readUrlencoded(request);
}

export async function readUrlencoded(request: Request): Promise<URLSearchParams> {
  // Forms are small and read at once, so they take no part in the room that is kept for the bodies of completions.
  const { bytes } = await readBody(request, { bodyBytesMax, roomBytesMax: bodyBytesMax }, { bytes: 0 });
  return new URLSearchParams(new TextDecoder().decode(bytes));
}

export const mediaType = (request: Request): string | undefined =>
  request.headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
