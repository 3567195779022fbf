/**
 * Makes text storable: Postgres holds neither NUL nor half of a surrogate pair, and callers may send both.
 * What cannot be kept becomes U+FFFD, the sign that says so.
 */
export const storable = (text: string): string => text.replaceAll("\0", "\ufffd").toWellFormed();

/**
 * The same for the text of a JSON document, where both stand as escapes. Every escape is consumed whole;
 * whole pairs are never escaped by JSON.stringify, whose text this is.
 */
export const storableJson = (json: string): string =>
  json.replace(/\\(u0000|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)/g, (found) =>
    found.length === 6 ? "\\ufffd" : found,
  );
