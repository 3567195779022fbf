/**
 * What may be kept at all: names, types, sizes, and for how long a URL may be signed. Each refusal has a code of its own,
 * and says what would be accepted.
 */
import type { ArtifactsConfig } from "../../platform/config.ts";
import { Failure, type FieldError } from "../../platform/failure.ts";

export type Offered = {
  readonly name: string;
  readonly content_type: string;
  readonly size_bytes: number;
  readonly ttl_seconds?: number | undefined;
};

/** Throws 422 with the code of the first mistake, and every mistake in `errors`. */
export function requireAcceptable(offered: Offered, allowed: ArtifactsConfig): void {
  const { ttl_seconds: ttl } = offered;
  const errors = [
    wrongName(offered.name),
    wrongType(offered.content_type, allowed.contentTypes),
    wrongSize(offered.size_bytes, allowed.sizeBytesMax),
    ttl === undefined ? null : wrongTtl(ttl, allowed.putTtlSeconds),
  ].filter((error) => error !== null);
  const [first] = errors;
  if (first !== undefined) throw new Failure("unprocessable", first.code, first.message, { errors });
}

/** Throws 422 `ttl_too_long`. */
export function requireTtl(ttlSeconds: number | undefined, secondsMax: number): void {
  const error = ttlSeconds === undefined ? null : wrongTtl(ttlSeconds, secondsMax);
  if (error !== null) throw new Failure("unprocessable", error.code, error.message, { errors: [error] });
}

const nameBytesMax = 255;
/** Control and format characters, line ends, halves of characters: what is shown must be what is there. */
const hidden = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
/** Joiners that scripts and emoji need inside a word. */
const joiners = /[\u200c\u200d]/g;

function wrongName(name: string): FieldError | null {
  const wrong = (message: string) => ({ path: "name", code: "artifact_name_refused", message });
  if (name.trim() === "" || name === ".") return wrong("An artifact needs a name, such as report.pdf.");
  if (name.includes("..")) return wrong("A name holds no two dots in a row.");
  if (/[/\\]/.test(name)) return wrong("A name is no path: it holds neither / nor \\.");
  if (hidden.test(name.replace(joiners, "")))
    return wrong("A name holds no control or invisible characters.");
  if (new TextEncoder().encode(name).length > nameBytesMax)
    return wrong(`A name has at most ${nameBytesMax} bytes in UTF-8.`);
  return null;
}

/** RFC 6838 names, and at most a charset beside them. */
const typeForm =
  /^([a-z0-9][a-z0-9!#$&^_.+-]{0,63})\/([a-z0-9][a-z0-9!#$&^_.+-]{0,63})(; ?charset=[a-z0-9-]{1,32})?$/i;

function wrongType(type: string, allowed: readonly string[]): FieldError | null {
  const wrong = (message: string) => ({ path: "content_type", code: "artifact_type_refused", message });
  // Some letters beyond ASCII have small forms within it; no header could carry them.
  const [, main = "", sub = ""] = /[^ -~]/.test(type) ? [] : (typeForm.exec(type.toLowerCase()) ?? []);
  if (main === "") return wrong("A type is such as application/zip or text/plain; charset=utf-8.");
  const isAllowed = ["*/*", `${main}/*`, `${main}/${sub}`].some((entry) => allowed.includes(entry));
  return isAllowed ? null : wrong(`This gateway keeps ${allowed.join(", ")}.`);
}

function wrongSize(sizeBytes: number, bytesMax: number): FieldError | null {
  const wrong = (code: string, message: string) => ({ path: "size_bytes", code, message });
  if (sizeBytes === 0) return wrong("artifact_empty", "An artifact has at least one byte.");
  if (sizeBytes <= bytesMax) return null;
  return wrong(
    "artifact_too_large",
    `An artifact has at most ${bytesMax} bytes here. Uploads in parts are not supported: split it, or compress it.`,
  );
}

const wrongTtl = (ttlSeconds: number, secondsMax: number): FieldError | null =>
  ttlSeconds <= secondsMax
    ? null
    : { path: "ttl_seconds", code: "ttl_too_long", message: `At most ${secondsMax} seconds.` };
