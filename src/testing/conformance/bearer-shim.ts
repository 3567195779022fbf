/**
 * Stands before a gateway for a client that cannot carry a credential: adds the bearer to what is sent to `/mcp`, and
 * passes every other byte, both ways, as it comes. The gateway's public URL is this one's.
 */
import { connect, createServer, type Socket } from "node:net";
import { Transform } from "node:stream";

export type Shim = {
  readonly url: string;
  /** How many tools were called through it. */
  readonly calls: () => number;
  close(): void;
};

export async function startShim(
  ports: { own: number; gateway: number },
  bearer: () => string,
): Promise<Shim> {
  let calls = 0;
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const gateway = connect(ports.gateway, "127.0.0.1");
    for (const [socket, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      open.add(socket);
      socket
        .on("error", () => other.destroy())
        .on("close", () => {
          open.delete(socket);
          other.destroy();
        });
    }
    const carrying = new Carrying(
      () => `authorization: Bearer ${bearer()}\r\n`,
      (body) => {
        if (callForm.test(body)) calls += 1;
      },
    );
    client.pipe(carrying).pipe(gateway);
    gateway.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(ports.own, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${ports.own}`,
    calls: () => calls,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

const callForm = /"method": *"tools\/call"/;
const headEnd = Buffer.from("\r\n\r\n");
const noBytes = Buffer.alloc(0);

/** Finds where each request of a connection begins, by the lengths of those before it (RFC 9112 section 6). */
class Carrying extends Transform {
  readonly #credential: () => string;
  readonly #onBody: (body: string) => void;
  #waiting: Buffer = noBytes;
  #bodyBytes = 0;
  #body = "";

  constructor(credential: () => string, onBody: (body: string) => void) {
    super();
    this.#credential = credential;
    this.#onBody = onBody;
  }

  override _transform(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.#waiting = Buffer.concat([this.#waiting, chunk]);
    try {
      while (this.#step());
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  /** False when more has to come first. */
  #step(): boolean {
    if (this.#bodyBytes > 0) {
      const body = this.#take(Math.min(this.#bodyBytes, this.#waiting.length));
      this.#bodyBytes -= body.length;
      this.#body += body.toString("latin1");
      this.push(body);
      if (this.#bodyBytes === 0) this.#onBody(this.#body);
      return this.#waiting.length > 0;
    }
    const end = this.#waiting.indexOf(headEnd);
    if (end < 0) return false;
    const head = this.#take(end + headEnd.length).toString("latin1");
    if (/^transfer-encoding:/im.test(head)) throw new Error("a request without a length cannot be carried");
    this.#body = "";
    this.#bodyBytes = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
    const isMcp = /^[A-Z]+ \/mcp[ ?]/.test(head);
    const line = head.indexOf("\r\n") + 2;
    const added = isMcp ? head.slice(0, line) + this.#credential() + head.slice(line) : head;
    this.push(Buffer.from(added, "latin1"));
    return this.#waiting.length > 0;
  }

  #take(bytes: number): Buffer {
    const taken = this.#waiting.subarray(0, bytes);
    this.#waiting = this.#waiting.subarray(bytes);
    return taken;
  }
}
