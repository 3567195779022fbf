/** Which requests have a line, by hashes of 52 bits: a day of millions of lines fits into memory. */
export class RequestBook {
  #hashes = new Float64Array(1_024);
  #count = 0;

  add(request: string): void {
    if (this.#count === this.#hashes.length) {
      const larger = new Float64Array(this.#count * 2);
      larger.set(this.#hashes);
      this.#hashes = larger;
    }
    this.#hashes[this.#count] = hashOf(request);
    this.#count += 1;
  }

  /** Nothing is added afterwards. */
  close(): void {
    this.#hashes = this.#hashes.slice(0, this.#count).sort();
  }

  has(request: string): boolean {
    const hash = hashOf(request);
    let [low, high] = [0, this.#hashes.length - 1];
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const there = this.#hashes[middle] ?? 0;
      if (there === hash) return true;
      if (there < hash) low = middle + 1;
      else high = middle - 1;
    }
    return false;
  }
}

const hashOf = (text: string): number => Number(BigInt.asUintN(52, Bun.hash.wyhash(text)));
