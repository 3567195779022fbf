/**
 * What all workspaces of one gateway stand on: how open directories are named here, and what is the gateway's own and is
 * never opened, by whatever name it is reached.
 *
 * The own is told by what it is (device and inode), because a volume can be mounted in two places, and a part of it too.
 */
import { existsSync, type Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** Where open descriptors have names that lead on from them, or null. */
export const descriptorsHere = (): string | null => (existsSync("/proc/self/fd") ? "/proc/self/fd" : null);

export type Ground = {
  /** Where open descriptors have names; null on a system without such. */
  readonly descriptors: string | null;
  /** The gateway's data directory, its configuration file, the files that its secrets come from. */
  readonly own: readonly string[];
};

const identityOf = ({ dev, ino }: Stats): string => `${dev}:${ino}`;

export class Own {
  readonly #identities: ReadonlySet<string>;

  private constructor(identities: ReadonlySet<string>) {
    this.#identities = identities;
  }

  /** Each of them, and what lies directly in it. */
  static async find(paths: readonly string[]): Promise<Own> {
    const all = await Promise.all(paths.map(withContent));
    return new Own(new Set(all.flat()));
  }

  holds(stats: Stats): boolean {
    return this.#identities.has(identityOf(stats));
  }
}

async function withContent(path: string): Promise<string[]> {
  const found = await stat(path).catch(() => null);
  if (found === null) return [];
  const names = found.isDirectory() ? await readdir(path).catch(() => []) : [];
  const inside = await Promise.all(names.map((name) => stat(join(path, name)).catch(() => null)));
  return [found, ...inside].flatMap((stats) => (stats === null ? [] : [identityOf(stats)]));
}
