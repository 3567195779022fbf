/**
 * The frames that are not yet known to be on disk: kept in memory, so that a failed sync loses none of them.
 *
 * Frames are encoded straight into chunks and written from there, one write for all that a tick added. A chunk belongs
 * to one segment and goes when its last frame is durable; one spare is kept, so a quiet journal allocates nothing.
 */
import { writeSync } from "node:fs";
import { type Bytes, bytesOf, paddedLength } from "./frame.ts";

/** A segment being written: `at` is where its next frame goes. */
export type Page = { fd: number; at: number };
/** `base`: where the chunk's first byte lies in the file. */
export type Chunk = {
  bytes: Bytes;
  page: Page;
  base: number;
  fill: number;
  written: number;
  firstLsn: number;
  lastLsn: number;
};

const chunkBytes = 256 * 1024;

export class Tail {
  #chunks: Chunk[] = [];
  #spare: Bytes | undefined;

  /** Room for a frame at the end of the page; it lies in the chunk at `fill - size`. */
  place(page: Page, size: number, lsn: number): Chunk {
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.page !== page || chunk.fill + size > chunkBytes) {
      const bytes = this.#spare ?? bytesOf(Buffer.allocUnsafeSlow(chunkBytes));
      this.#spare = undefined;
      chunk = { bytes, page, base: page.at, fill: 0, written: 0, firstLsn: lsn, lastLsn: lsn };
      this.#chunks.push(chunk);
    }
    chunk.fill += size;
    chunk.lastLsn = lsn;
    page.at += size;
    return chunk;
  }

  /** Writes what was placed since the last write; throws what the file system says. */
  write(): void {
    const done = this.#chunks.findLastIndex((chunk) => chunk.written === chunk.fill);
    for (let i = done + 1; i < this.#chunks.length; i++) {
      const chunk = this.#chunks[i];
      while (chunk !== undefined && chunk.written < chunk.fill)
        chunk.written += writeSync(
          chunk.page.fd,
          chunk.bytes.buffer,
          chunk.written,
          chunk.fill - chunk.written,
          chunk.base + chunk.written,
        );
    }
  }

  /** Lets go of what is durable. */
  forget(durableLsn: number): void {
    while (true) {
      const first = this.#chunks[0];
      if (first === undefined || first.lastLsn > durableLsn) return;
      this.#spare = first.bytes;
      this.#chunks.shift();
    }
  }

  /** Takes every chunk out, to be placed again elsewhere. */
  takeAll(): Chunk[] {
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks;
  }
}

/** Each frame of a chunk: where it lies, what it takes, its lsn. */
export function eachFrame(chunk: Chunk, visit: (at: number, size: number, lsn: number) => void): void {
  let lsn = chunk.firstLsn;
  for (let at = 0; at < chunk.fill; lsn++) {
    const size = paddedLength(chunk.bytes.view.getUint32(at, true));
    visit(at, size, lsn);
    at += size;
  }
}
