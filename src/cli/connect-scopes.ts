/** What a sign-in must let this app do: what `--scope` names, and whatever the gateway has said was lacking since. */
import { isObject } from "./connect-envelope.ts";

/** Without it the gateway does not even say what it has. */
const entryScope = "mcp:read";

export class WantedScopes {
  readonly #wanted: Set<string>;

  /** `asked` and all that is granted are separated by spaces, as OAuth writes them. */
  constructor(asked: string) {
    this.#wanted = scopesIn(`${entryScope} ${asked}`);
  }

  /** True when an answer's error says that a scope is lacking. */
  learn(error: unknown): boolean {
    const data = isObject(error) && isObject(error.data) ? error.data : {};
    if (data.code !== "insufficient_scope" || !Array.isArray(data.scopes)) return false;
    for (const scope of data.scopes) if (typeof scope === "string") this.#wanted.add(scope);
    return true;
  }

  areMoreThan(granted: string): boolean {
    return !this.#wanted.isSubsetOf(scopesIn(granted));
  }

  /** What the next sign-in asks for: it takes the place of the one that was granted these. */
  with(granted: string): string {
    return [...this.#wanted.union(scopesIn(granted))].join(" ");
  }
}

export const letsIn = (granted: string): boolean => scopesIn(granted).has(entryScope);

const scopesIn = (text: string): Set<string> => new Set(text.split(" ").filter((scope) => scope !== ""));
