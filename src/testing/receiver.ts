/**
 * A receiver of alerts on this machine, with the library that receivers use: every request is kept, and answered as told.
 */
import { Webhook } from "standardwebhooks";

export type Received = {
  readonly at: number;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
};

export type Receiver = {
  readonly url: string;
  readonly received: Received[];
  /** The most requests that one `webhook-id` had open at the same time at one path. */
  readonly openMost: () => number;
  answer: (request: Received) => Response | Promise<Response>;
  /** Resolves when so many have come. */
  count(wanted: number, withinMs?: number): Promise<Received[]>;
  close(): Promise<void>;
};

export function startReceiver(
  answer: Receiver["answer"] = () => new Response(null, { status: 204 }),
): Receiver {
  const received: Received[] = [];
  const open = new Map<string, number>();
  let most = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 60,
    async fetch(request) {
      const headers = Object.fromEntries(request.headers);
      const { pathname, search } = new URL(request.url);
      const got = { at: Date.now(), path: pathname + search, headers, body: await request.text() };
      received.push(got);
      const id = `${got.path} ${headers["webhook-id"]}`;
      open.set(id, (open.get(id) ?? 0) + 1);
      most = Math.max(most, open.get(id) ?? 0);
      try {
        return await receiver.answer(got);
      } finally {
        open.set(id, (open.get(id) ?? 0) - 1);
      }
    },
  });
  const receiver: Receiver = {
    url: `http://127.0.0.1:${server.port}`,
    received,
    openMost: () => most,
    answer,
    async count(wanted, withinMs = 10_000) {
      await until(() => received.length >= wanted, withinMs);
      return received;
    },
    close: () => server.stop(true),
  };
  return receiver;
}

/** What a receiver takes out of it; throws when the signature is not the secret's. */
export const verified = (secret: string, { body, headers }: Received): unknown =>
  new Webhook(secret).verify(body, headers);

export async function until(isSo: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not so within ${withinMs} ms`);
    await Bun.sleep(10);
  }
}
