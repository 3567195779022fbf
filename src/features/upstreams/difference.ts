/**
 * What a definition was and what it is, member by member, for whoever decides whether that is all right.
 */

export type Difference = {
  /** A JSON pointer (RFC 6901): `/inputSchema/properties/path/type`. */
  readonly path: string;
  /** Left out: there was nothing. */
  readonly was?: unknown;
  /** Left out: there is nothing any more. */
  readonly is?: unknown;
};

/** The smallest parts that differ, in the order of their paths. Empty for equals. */
export function differencesOf(was: unknown, is: unknown, path = ""): Difference[] {
  if (isComposite(was) && isComposite(is) && Array.isArray(was) === Array.isArray(is)) {
    const keys = [...new Set([...Object.keys(was), ...Object.keys(is)])];
    if (!Array.isArray(was)) keys.sort();
    return keys.flatMap((key) => {
      const at = `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
      return differencesOf(memberOf(was, key), memberOf(is, key), at);
    });
  }
  if (Object.is(was, is)) return [];
  return [{ path, ...(was === undefined ? {} : { was }), ...(is === undefined ? {} : { is }) }];
}

const isComposite = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;

/** Its own: a member may be called `constructor`. */
const memberOf = (value: Record<string, unknown>, key: string): unknown =>
  Object.hasOwn(value, key) ? value[key] : undefined;
