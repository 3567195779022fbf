/**
 * Whether a host takes connections at all, asked before anything is sent to one that was not heard of lately.
 *
 * Fetch tells nothing of connecting: a host that swallows packets looks like one that thinks. A connection of its own,
 * made first and closed at once, tells them apart, and leaves it certain that nothing was sent. It costs one round trip
 * a minute at most, and nothing while a host answers.
 */
import { connect } from "node:net";

/** How long an answer vouches for its host. */
const heardMs = 60_000;

/** Of one origin. */
export class Contact {
  #heardAt = Number.NEGATIVE_INFINITY;
  /** By address; callers who come together wait together. */
  readonly #reaching = new Map<string, Promise<void>>();

  /** An answer has come. */
  heard(): void {
    this.#heardAt = performance.now();
  }

  get isFresh(): boolean {
    return performance.now() - this.#heardAt < heardMs;
  }

  /** Rejects with the socket's own error, or with the code `connect_timeout`. */
  reach(address: string, port: number, withinMs: number): Promise<void> {
    const underWay = this.#reaching.get(address);
    if (underWay !== undefined) return underWay;
    const reached = knock(address, port, withinMs).finally(() => this.#reaching.delete(address));
    this.#reaching.set(address, reached);
    // Whoever was waiting may have left.
    reached.catch(() => {});
    return reached;
  }
}

function knock(host: string, port: number, withinMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ host, port });
  const late = setTimeout(
    () => reject(Object.assign(new Error(`no connection within ${withinMs} ms`), { code: connectTimeout })),
    withinMs,
  );
  socket.once("connect", resolve);
  socket.on("error", reject);
  return promise.finally(() => {
    clearTimeout(late);
    socket.destroy();
  });
}

export const connectTimeout = "connect_timeout";
