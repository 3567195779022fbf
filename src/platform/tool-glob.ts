/**
 * Patterns of tools' names. A name's segments end at `__`, read from the left; `*` stands for any run of characters
 * within one segment, also none; `**` for any run at all; every other character for itself, byte by byte.
 *
 * So `*` names tools of one segment alone, `github__*` what one upstream offers, `**` everything; `git_*` is not
 * `git__clone`, because a separator is one thing and never half of it. Matching takes time in proportion to the name,
 * whatever the pattern: all the places that it could be at are followed side by side, and none is gone back to.
 */
type Token = number;

/** Beyond every UTF-16 code unit, so that no character of a name can pass for one of them. */
const separator: Token = 0x1_0000;
const star: Token = 0x1_0001;
const globstar: Token = 0x1_0002;

/** Whether any of the patterns is that of a name; none matches nothing. */
export function compileToolGlobs(globs: readonly string[]): (name: string) => boolean {
  if (globs.includes("**")) return () => true;
  const plain = new Set(globs.filter((glob) => !glob.includes("*")));
  const patterns = globs.filter((glob) => glob.includes("*")).map(patternOf);
  return (name) => {
    if (plain.has(name)) return true;
    const likely = patterns.filter(({ head, tail }) => name.startsWith(head) && name.endsWith(tail));
    if (likely.length === 0) return false;
    const tokens = tokensOf(name);
    return likely.some((pattern) => matches(pattern.tokens, tokens));
  };
}

/** What stands before its first star and behind its last: most patterns are told apart by it from most names. */
type Pattern = { readonly head: string; readonly tail: string; readonly tokens: readonly Token[] };

function tokensOf(name: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < name.length; at++) {
    const isSeparator = name[at] === "_" && name[at + 1] === "_";
    tokens.push(isSeparator ? separator : name.charCodeAt(at));
    if (isSeparator) at++;
  }
  return tokens;
}

function patternOf(glob: string): Pattern {
  const tokens: Token[] = [];
  for (const [run] of glob.matchAll(/\*+|[^*]+/g)) {
    if (run[0] !== "*") tokens.push(...tokensOf(run));
    else tokens.push(run.length === 1 ? star : globstar);
  }
  const head = glob.slice(0, glob.indexOf("*"));
  return { head, tail: glob.slice(glob.lastIndexOf("*") + 1), tokens };
}

function matches(pattern: readonly Token[], name: readonly Token[]): boolean {
  let places = new Uint8Array(pattern.length + 1);
  let next = new Uint8Array(pattern.length + 1);
  places[0] = 1;
  passStars(pattern, places);
  for (const token of name) {
    next.fill(0);
    let isAnywhere = false;
    for (let at = 0; at < pattern.length; at++) {
      if (places[at] === 0) continue;
      const wanted = pattern[at];
      if (wanted === globstar || (wanted === star && token !== separator)) next[at] = 1;
      else if (wanted === token) next[at + 1] = 1;
      else continue;
      isAnywhere = true;
    }
    if (!isAnywhere) return false;
    passStars(pattern, next);
    [places, next] = [next, places];
  }
  return places[pattern.length] === 1;
}

/** A star may stand for nothing: whoever is before one is behind it too. */
function passStars(pattern: readonly Token[], places: Uint8Array): void {
  for (let at = 0; at < pattern.length; at++)
    if (places[at] === 1 && (pattern[at] === star || pattern[at] === globstar)) places[at + 1] = 1;
}
