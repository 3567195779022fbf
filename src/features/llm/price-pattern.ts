/**
 * Names of prices: `provider/model`, with `*` at the end of either part.
 */

/** A full name first, then the one that spells out most of the name, and of equals the one that says more of the model. */
export function bestPattern(patterns: Iterable<string>, name: string): string | undefined {
  let best: { pattern: string; exactness: readonly number[] } | undefined;
  for (const pattern of patterns) {
    if (!matches(pattern, name)) continue;
    const exactness = exactnessOf(pattern);
    if (best === undefined || isMore(exactness, best.exactness)) best = { pattern, exactness };
  }
  return best?.pattern;
}

/** The provider's part ends at the first slash, in patterns and in names. */
function matches(pattern: string, name: string): boolean {
  const [ofProvider, ofModel] = partsOf(pattern);
  const [provider, model] = partsOf(name);
  return partMatches(ofProvider, provider) && partMatches(ofModel, model);
}

function partsOf(name: string): [provider: string, model: string] {
  const slash = name.indexOf("/");
  return [name.slice(0, slash), name.slice(slash + 1)];
}

const partMatches = (pattern: string, part: string): boolean =>
  pattern.endsWith("*") ? part.startsWith(pattern.slice(0, -1)) : part === pattern;

function exactnessOf(pattern: string): readonly number[] {
  const stars = pattern.split("*").length - 1;
  return [stars === 0 ? 1 : 0, pattern.length - stars, partsOf(pattern)[1].length];
}

const isMore = (a: readonly number[], b: readonly number[]): boolean => {
  const differs = a.findIndex((value, index) => value !== b[index]);
  return differs >= 0 && (a[differs] ?? 0) > (b[differs] ?? 0);
};
