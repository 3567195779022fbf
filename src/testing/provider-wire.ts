/**
 * HTTP/1.1 on a bare socket, for the scripted provider: it must be able to break what a well-behaved server cannot,
 * such as a chunk that promises more than it holds, and to know each byte that it sent.
 *
 * It reads whole requests and leaves every byte of the answer to the caller. One request at a time per connection.
 */
import type { Socket } from "bun";

export type WireRequest = {
  method: string;
  target: string;
  headers: Headers;
  head: string;
  body: Uint8Array;
};

export class Connection {
  readonly #socket: Socket<Connection>;
  #parts: Uint8Array[] = [];
  #length = 0;
  #wake: () => void = () => {};
  #drained: () => void = () => {};
  #left: () => void = () => {};
  closed = false;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly left: Promise<void> = new Promise((resolve) => {
    this.#left = resolve;
  });

  constructor(socket: Socket<Connection>) {
    this.#socket = socket;
    socket.setNoDelay(true);
  }

  onData(bytes: Uint8Array): void {
    this.#parts.push(new Uint8Array(bytes));
    this.#length += bytes.length;
    this.#wake();
  }

  onDrain(): void {
    this.#drained();
  }

  onClose(): void {
    this.closed = true;
    this.#left();
    this.#wake();
    this.#drained();
  }

  /** The next request, or undefined when the client has left. */
  async read(): Promise<WireRequest | undefined> {
    const head = await this.#readThrough("\r\n\r\n");
    if (head === undefined) return undefined;
    const [start = "", ...lines] = head.split("\r\n");
    const [method = "", target = ""] = start.split(" ");
    const headers = new Headers();
    for (const line of lines) {
      const colon = line.indexOf(":");
      if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    const body = headers.get("transfer-encoding")?.includes("chunked")
      ? await this.#readChunked()
      : await this.#take(Number(headers.get("content-length") ?? 0));
    return body === undefined ? undefined : { method, target, headers, head, body };
  }

  /** Resolves once the kernel has taken every byte; false when the client left before that. */
  async write(bytes: Uint8Array): Promise<boolean> {
    let rest = bytes;
    while (rest.length > 0 && !this.closed) {
      const written = this.#socket.write(rest);
      if (written < 0) break;
      rest = rest.subarray(written);
      if (rest.length === 0) break;
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    return !this.closed;
  }

  end(how: "fin" | "reset"): void {
    if (how === "fin") this.#socket.end();
    else this.#socket.terminate();
  }

  async #readThrough(mark: string): Promise<string | undefined> {
    for (;;) {
      const joined = this.#join();
      const at = Buffer.from(joined.buffer, joined.byteOffset, joined.length).indexOf(mark);
      if (at >= 0) {
        this.#keep(joined.subarray(at + mark.length));
        return new TextDecoder("latin1").decode(joined.subarray(0, at));
      }
      if (!(await this.#more())) return undefined;
    }
  }

  async #take(length: number): Promise<Uint8Array | undefined> {
    while (this.#length < length) if (!(await this.#more())) return undefined;
    const joined = this.#join();
    this.#keep(joined.subarray(length));
    return joined.slice(0, length);
  }

  async #readChunked(): Promise<Uint8Array | undefined> {
    const chunks: Uint8Array[] = [];
    for (;;) {
      const size = await this.#readThrough("\r\n");
      if (size === undefined) return undefined;
      const chunk = await this.#take(Number.parseInt(size, 16) + 2);
      if (chunk === undefined) return undefined;
      if (chunk.length === 2) return Buffer.concat(chunks);
      chunks.push(chunk.subarray(0, -2));
    }
  }

  async #more(): Promise<boolean> {
    if (this.closed) return false;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    return !this.closed;
  }

  #join(): Uint8Array {
    const joined = this.#parts.length === 1 ? (this.#parts[0] as Uint8Array) : Buffer.concat(this.#parts);
    this.#parts = [joined];
    return joined;
  }

  #keep(rest: Uint8Array): void {
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#length = rest.length;
  }
}
