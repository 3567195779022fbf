/**
 * One page of a directory: names in their order, judged until the page is full. A directory of many thousands is looked at
 * in short stretches, between which everybody else has their turn; one that has still more is refused by name.
 */
import type { Dirent, Stats } from "node:fs";
import { Failure } from "../../platform/failure.ts";
import { others } from "../../platform/turns.ts";
import type { Directory } from "./beneath.ts";
import { isSpeakable } from "./path.ts";
import type { Rules } from "./rules.ts";
import { fileBytesMax } from "./text.ts";

export type Entry = {
  path: string;
  type: "file" | "directory";
  size_bytes: number | null;
  modified_at: string;
  readable: boolean;
  writable: boolean;
};

const namesMax = 20_000;
const stretch = 256;

/** Up to `limit` entries behind `after`; `last` is the name of the last one, or null at the end of all. */
export async function pageOf(
  directory: Directory,
  {
    segments,
    rules,
    after,
    limit,
  }: { segments: readonly string[]; rules: Rules; after: string; limit: number },
): Promise<{ entries: Entry[]; last: string | null }> {
  const all = await directory.entries();
  if (all.length > namesMax) throw tooMany(all.length);
  all.sort((one, other) => (one.name < other.name ? -1 : 1));
  const page: { name: string; entry: Entry }[] = [];
  for (let at = firstBehind(all, after); at < all.length && page.length <= limit; at += stretch) {
    const likely = all.slice(at, at + stretch).filter((one) => isLikely(one, segments, rules));
    for (let from = 0; from < likely.length && page.length <= limit; from += limit + 1) {
      const few = likely.slice(from, from + limit + 1);
      const found = await Promise.all(few.map(({ name }) => entryOf(directory, [...segments, name], rules)));
      for (const [index, entry] of found.entries())
        if (entry !== null) page.push({ name: few[index]?.name ?? "", entry });
    }
    await others();
  }
  const shown = page.slice(0, limit);
  return {
    entries: shown.map(({ entry }) => entry),
    last: page.length > limit ? (shown.at(-1)?.name ?? null) : null,
  };
}

/** Whether it is worth asking the disk about it. */
function isLikely(one: Dirent, segments: readonly string[], rules: Rules): boolean {
  if (!isSpeakable(one.name)) return false;
  const path = [...segments, one.name];
  if (one.isDirectory()) return rules.mayEnter(path);
  return one.isFile() && (rules.may("read", path) || rules.may("write", path));
}

function firstBehind(all: readonly Dirent[], after: string): number {
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((all[middle]?.name ?? "") > after) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Null when it has gone, or is not open. */
async function entryOf(
  directory: Directory,
  segments: readonly string[],
  rules: Rules,
): Promise<Entry | null> {
  const stats = await directory.find(segments.at(-1) ?? "");
  if (stats === null) return null;
  const shared = { path: segments.join("/"), modified_at: timeOf(stats) };
  if (stats.isDirectory() && rules.mayEnter(segments))
    return { ...shared, type: "directory", size_bytes: null, readable: true, writable: false };
  if (!stats.isFile()) return null;
  const may = { read: rules.may("read", segments), write: rules.may("write", segments) };
  if (!may.read && !may.write) return null;
  const isOpen = stats.nlink === 1 && stats.size <= fileBytesMax;
  return {
    ...shared,
    type: "file",
    size_bytes: stats.size,
    readable: may.read && isOpen,
    writable: may.write && isOpen && (stats.mode & 0o222) !== 0,
  };
}

const lastMs = Date.UTC(9999, 11, 31);

/** A disk may hold times that no date can. */
const timeOf = ({ mtimeMs }: Stats): string =>
  new Date(Number.isFinite(mtimeMs) ? Math.min(Math.max(mtimeMs, 0), lastMs) : 0).toISOString();

const tooMany = (names: number): Failure =>
  new Failure(
    "unprocessable",
    "directory_too_large",
    `This directory holds ${names} names; those of up to ${namesMax} are listed. Its files can be read and written all the same.`,
  );
