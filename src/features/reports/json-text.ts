import { Failure } from "../../platform/failure.ts";
import { scanObject } from "../../platform/json.ts";

/** Null for the text of a JSON document of any kind. It is looked at before it is parsed: brackets alone block a parser. */
export function whyNotJson(text: string): string | null {
  try {
    scanObject(Buffer.from(`{"document":${text}}`));
    JSON.parse(text);
    return null;
  } catch (error) {
    const tooComplex = error instanceof Failure && error.code === "json_too_complex";
    return tooComplex
      ? "As JSON this is nested too deeply or holds too many values; send it as text, or as an artifact."
      : "This is not valid JSON, which the format says it is.";
  }
}
