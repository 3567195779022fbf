/**
 * Which files of a workspace may be read and written: by extension, minus what is denied, never what holds secrets by
 * custom. Decided on the path alone, before the disk is asked, so that a refusal tells nothing about what is there.
 */
import type { WorkspaceConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { folded, isSecretFile } from "../../platform/secret-files.ts";

export type Deed = "read" | "write";

const extensionForm = /[^.](\.[a-z0-9][a-z0-9_+-]{0,15})$/;

export class Rules {
  readonly #allowed: Record<Deed, ReadonlySet<string>>;
  readonly #denied: readonly (readonly string[])[];

  constructor({ read, write, deny }: Pick<WorkspaceConfig, Deed | "deny">) {
    this.#allowed = { read: new Set(read), write: new Set(write) };
    this.#denied = deny.map((pattern) => folded(pattern).split("/"));
  }

  may(deed: Deed, segments: readonly string[]): boolean {
    return this.#refusal(deed, segments) === null;
  }

  /** Whether a directory may be listed and passed through. */
  mayEnter(segments: readonly string[]): boolean {
    if (this.#denied.length === 0) return true;
    const plain = segments.map(folded);
    return !this.#denied.some((pattern) => coversAny(pattern, plain));
  }

  /** Throws 403 with what would be allowed. */
  require(deed: Deed, segments: readonly string[]): void {
    const refusal = this.#refusal(deed, segments);
    if (refusal !== null) throw new Failure("forbidden", "path_refused", refusal);
  }

  requireEntry(segments: readonly string[]): void {
    if (!this.mayEnter(segments)) throw new Failure("forbidden", "path_refused", deniedHere);
  }

  #refusal(deed: Deed, segments: readonly string[]): string | null {
    const name = segments.at(-1) ?? "";
    if (isSecretFile(name)) return "Files of this name hold secrets by custom; they are never open here.";
    if (!this.mayEnter(segments)) return deniedHere;
    const extension = extensionForm.exec(name.toLowerCase())?.[1];
    const allowed = this.#allowed[deed];
    if (extension !== undefined && allowed.has(extension)) return null;
    const which = allowed.size === 0 ? "none" : [...allowed].join(", ");
    const what = extension === undefined ? "A file without an extension" : `A file ${extension}`;
    return `${what} is not open to ${deed} in this workspace; open are: ${which}.`;
  }
}

const deniedHere = "This workspace's configuration denies this path.";

/** Whether the pattern matches the path or a directory on its way. `**` stands for any number of segments, none among them. */
function coversAny(pattern: readonly string[], path: readonly string[]): boolean {
  let reached = advance(pattern, new Set([0]));
  for (const segment of path) {
    const next = new Set<number>();
    for (const at of reached) {
      if (pattern[at] === "**") next.add(at);
      else if (at < pattern.length && isLike(pattern[at] as string, segment)) next.add(at + 1);
    }
    reached = advance(pattern, next);
    if (reached.has(pattern.length)) return true;
  }
  return false;
}

/** With everything that is reached by letting `**` stand for nothing. */
function advance(pattern: readonly string[], reached: Set<number>): Set<number> {
  for (const at of reached) if (pattern[at] === "**") reached.add(at + 1);
  return reached;
}

/** `*` stands for any characters. Steps back to the last star only, so that no pattern takes long. */
function isLike(pattern: string, text: string): boolean {
  let [at, star, resume] = [0, -1, 0];
  let index = 0;
  while (index < text.length) {
    if (pattern[at] === "*") {
      star = at++;
      resume = index;
    } else if (pattern[at] === text[index]) {
      at++;
      index++;
    } else if (star >= 0) {
      at = star + 1;
      index = ++resume;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}
