/**
 * Buffer's native readers on a plain Uint8Array, without making a Buffer of it.
 *
 * Reading `.buffer`, or taking a subarray, gives a small array an ArrayBuffer of its own first; for a body of a few
 * hundred bytes that costs several times what is then done with it.
 */
const { copy, indexOf, toString: read } = Buffer.prototype;

export const latin1 = (bytes: Uint8Array, start: number, end: number): string =>
  read.call(bytes as Buffer, "latin1", start, end);

/** Bytes that are no UTF-8 become U+FFFD. */
export const utf8 = (bytes: Uint8Array, start = 0, end = bytes.length): string =>
  read.call(bytes as Buffer, "utf8", start, end);

export const holds = (bytes: Uint8Array, marker: Buffer): boolean =>
  indexOf.call(bytes as Buffer, marker) !== -1;

/** Copies `from[start, end)` to `to[at…]`; returns where it ends there. */
export function copyRange(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  return at + copy.call(from as Buffer, to, at, start, end);
}
