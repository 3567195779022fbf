/**
 * The bodies of messages that are on their way in: never more of them at once than memory allows, nor of one caller than
 * leaves room for the others, and none for longer than sending it takes.
 */
import { readBody } from "../../platform/body.ts";
import { Failure } from "../../platform/failure.ts";

export type BodyBounds = {
  /** Of all callers together, and of one. */
  readonly roomBytesMax: number;
  readonly shareBytesMax: number;
  readonly millisecondsMax: number;
};

const usualBounds: BodyBounds = {
  roomBytesMax: 67_108_864,
  shareBytesMax: 16_777_216,
  millisecondsMax: 10_000,
};
const key = "limits.mcp.body_bytes_max";

export class Bodies {
  readonly #bounds: BodyBounds;
  readonly #shares = new Map<string, number>();
  #bytes = 0;

  constructor(bounds: BodyBounds = usualBounds) {
    this.#bounds = bounds;
  }

  /** Throws 408 `body_too_slow`, 413, 415, and 503 when there is no room. */
  async read(request: Request, holder: string, bodyBytesMax: number): Promise<Uint8Array> {
    const { shareBytesMax, millisecondsMax } = this.#bounds;
    const limits = { bodyBytesMax, roomBytesMax: Math.max(shareBytesMax, bodyBytesMax), key };
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(tooSlow(millisecondsMax)), millisecondsMax);
    const reading = readBody(request, limits, this.#roomOf(holder)).then(({ bytes, release }) => {
      release();
      return bytes;
    });
    // Who came too late is heard no more; their connection ends with the answer, and with it the reading.
    reading.catch(() => undefined);
    return Promise.race([reading, late.promise]).finally(() => clearTimeout(timer));
  }

  #roomOf(holder: string): { bytes: number } {
    const [bounds, shares] = [this.#bounds, this.#shares];
    const add = (bytes: number) => {
      if (bytes > 0 && this.#bytes + bytes > bounds.roomBytesMax) throw noRoom();
      this.#bytes += bytes;
      const held = (shares.get(holder) ?? 0) + bytes;
      if (held === 0) shares.delete(holder);
      else shares.set(holder, held);
    };
    return {
      get bytes() {
        return shares.get(holder) ?? 0;
      },
      set bytes(held: number) {
        add(held - (shares.get(holder) ?? 0));
      },
    };
  }
}

const noRoom = (): Failure =>
  new Failure("unavailable", "unavailable", "The gateway is reading as many messages as it may. Try again.", {
    retryAfterSeconds: 1,
  });

const tooSlow = (milliseconds: number): Failure =>
  new Failure(
    "too_slow",
    "body_too_slow",
    `The body was not complete within ${milliseconds / 1_000} s. Send it in one go.`,
  );
