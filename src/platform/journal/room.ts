/**
 * The keys that are open, and whether the room that is already on disk holds the END of each.
 *
 * Room is counted for the worst case: each END as large as one may be, at each change of segment a copy of every open
 * START and the loss of one largest frame. What is admitted under this sum can be ended though no byte is ever freed.
 */
import { endJsonBytesMax, frameBytes, frameBytesMax } from "./frame.ts";

export type Sizes = { key: number; json: number };
export type Opened = { key: string; json: string; sizes: Sizes };
/** Bytes left in the segment in use, segments ready, and what one of them holds. */
export type Room = { left: number; ready: number; capacity: number };

export class OpenKeys {
  readonly #keys = new Map<string, Opened>();
  #endBytes = 0;
  #startBytes = 0;

  get size(): number {
    return this.#keys.size;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  all(): Iterable<Opened> {
    return this.#keys.values();
  }

  add(opened: Opened): void {
    this.#keys.set(opened.key, opened);
    this.#endBytes += endBytes(opened.sizes);
    this.#startBytes += frameBytes(opened.sizes.key, opened.sizes.json);
  }

  remove(key: string): void {
    const opened = this.#keys.get(key);
    if (opened === undefined) return;
    this.#keys.delete(key);
    this.#endBytes -= endBytes(opened.sizes);
    this.#startBytes -= frameBytes(opened.sizes.key, opened.sizes.json);
  }

  /** Whether a START of these sizes leaves room for every END, its own among them. */
  admitsStart(room: Room, sizes: Sizes): boolean {
    const bytes = frameBytes(sizes.key, sizes.json);
    return this.#endBytes + endBytes(sizes) + bytes <= roomFor(room, this.#startBytes + bytes);
  }

  /** Whether a record that holds no room of its own leaves room for every END. */
  admits(room: Room, sizes: Sizes): boolean {
    return this.#endBytes + frameBytes(sizes.key, sizes.json) <= roomFor(room, this.#startBytes);
  }
}

const endBytes = (sizes: Sizes): number => frameBytes(sizes.key, endJsonBytesMax);

const roomFor = (room: Room, checkpointBytes: number): number =>
  Math.max(0, room.left - frameBytesMax) +
  room.ready * Math.max(0, room.capacity - checkpointBytes - frameBytesMax);
