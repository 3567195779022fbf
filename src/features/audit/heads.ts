/**
 * The chain's heads, written outside of the database: `audit/heads.jsonl` in the data dir, one line for each seal that
 * this instance made. A chain whose end was cut off, or that was made anew, no longer holds the last head written here.
 */
import { appendFile, open } from "node:fs/promises";
import { hex } from "./canonical.ts";
import type { Seal } from "./store.ts";

export type Head = { epoch: number; no: number; at: string; hash: string };

export type Heads = {
  append(seal: Seal): Promise<void>;
  /** The last head of each epoch that the end of the file still names. */
  last(): Promise<Head[]>;
};

/** Every head covers all before it, so the end of the file is enough. */
const tailBytes = 65_536;

export function openHeads(path: string): Heads {
  return {
    append: ({ epoch, no, at, hash }) =>
      appendFile(path, `${JSON.stringify({ epoch, no, at, hash: hex(hash) } satisfies Head)}\n`, {
        mode: 0o600,
      }),
    async last() {
      const found = new Map<number, Head>();
      for (const line of (await readTail(path)).split("\n")) {
        const head = parseHead(line);
        if (head !== undefined) found.set(head.epoch, head);
      }
      return [...found.values()];
    },
  };
}

async function readTail(path: string): Promise<string> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  }
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(Math.min(size, tailBytes));
    await file.read(buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString();
  } finally {
    await file.close();
  }
}

/** Undefined for a line that a crash or the start of the tail cut in two. */
function parseHead(line: string): Head | undefined {
  try {
    const { epoch, no, at, hash } = JSON.parse(line) as Head;
    return typeof epoch === "number" && typeof no === "number" && typeof hash === "string"
      ? { epoch, no, at, hash }
      : undefined;
  } catch {
    return undefined;
  }
}
