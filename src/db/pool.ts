/**
 * A pool whose statements all end: answered, or refused as `unavailable` within six seconds.
 *
 * The server limits a statement to five seconds by itself; the limit here is for a server that is frozen, absent or
 * behind a network that swallows packets. When nothing at all was answered for that long, the pool's connections are
 * dropped and made anew, because TCP alone would take a quarter of an hour to notice. A statement whose answer was
 * lost may have been committed: nothing is repeated here.
 */
import { Failure } from "../platform/failure.ts";
import type { Sql } from "./database.ts";
import { mapUnavailable, unavailable } from "./unavailable.ts";

export const statementTimeoutMs = 5_000;
export const answerTimeoutMs = 6_000;

export type Pool = {
  /** postgres.js, guarded: statements made from it keep the promise above. */
  readonly sql: Sql;
  transaction<T>(work: Work<T>): Promise<T>;
  close(): Promise<void>;
};

export function openPool(open: () => Sql): Pool {
  let current = open();
  let answeredAt = performance.now();
  const watch: Watch = {
    answered() {
      answeredAt = performance.now();
    },
    silent() {
      if (performance.now() - answeredAt < answerTimeoutMs - 100) return;
      const dropped = current;
      current = open();
      answeredAt = performance.now();
      void dropped.end({ timeout: 0 });
    },
  };
  return {
    sql: guard(() => current, watch),
    transaction: (work) => runTransaction(current, "", work, watch),
    close: () => current.end({ timeout: 5 }),
  };
}

type Work<T> = (tx: Sql) => Promise<T>;
type Watch = { answered(): void; silent(): void };

/** The same client to look at; every statement it makes is watched. */
function guard(client: () => Sql, watch: Watch): Sql {
  // The target must be callable for `apply` to be reached; everything else comes from the client of the moment.
  return new Proxy((() => {}) as unknown as Sql, {
    apply: (_target, _self, parts) => watchStatement(Reflect.apply(client(), undefined, parts), watch),
    get(_target, name) {
      const value: unknown = Reflect.get(client(), name);
      if (name === "unsafe" && typeof value === "function")
        return (...parts: unknown[]) => watchStatement(Reflect.apply(value, client(), parts), watch);
      if (name === "begin")
        return (...parts: [string, Work<unknown>] | [Work<unknown>]) =>
          parts.length === 1
            ? runTransaction(client(), "", parts[0], watch)
            : runTransaction(client(), parts[0], parts[1], watch);
      return value;
    },
  });
}

/** What postgres.js's pending statement is made of, as far as it is needed to watch it. */
type Pending = {
  handler(sent: unknown): void;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
  cursorFn?: unknown;
};

/** A statement runs when it is first awaited, so its time begins in `handler` and a fragment's never does. */
function watchStatement<T>(made: T, watch: Watch): T {
  if (!isPending(made)) return made;
  const { handler, resolve, reject } = made;
  let timer: ReturnType<typeof setTimeout> | undefined;
  made.handler = (sent) => {
    if (made.cursorFn === undefined) {
      timer = setTimeout(() => {
        reject(unavailable());
        watch.silent();
      }, answerTimeoutMs);
    }
    handler(sent);
  };
  made.resolve = (answer) => {
    clearTimeout(timer);
    watch.answered();
    resolve(answer);
  };
  made.reject = (error) => {
    clearTimeout(timer);
    reject(mapUnavailable(error));
  };
  return made;
}

const isPending = (made: unknown): made is Pending =>
  made instanceof Promise && "handler" in made && "resolve" in made && "reject" in made;

async function runTransaction<T>(client: Sql, mode: string, work: Work<T>, watch: Watch): Promise<T> {
  const limit = Promise.withResolvers<never>();
  let late = false;
  const startLimit = () =>
    setTimeout(() => {
      late = true;
      limit.reject(unavailable());
      watch.silent();
    }, answerTimeoutMs);
  let timer = startLimit();
  const begun = client.begin(mode, async (tx) => {
    clearTimeout(timer);
    // The caller has left: nobody would learn of what is done now.
    if (late) throw unavailable();
    try {
      return await work(guard(() => tx as unknown as Sql, watch));
    } catch (error) {
      // Without a server there is no rollback to wait for: losing the connection is one.
      if (error instanceof Failure && error.kind === "unavailable") limit.reject(error);
      throw error;
    } finally {
      timer = startLimit();
    }
  });
  try {
    return (await Promise.race([begun, limit.promise])) as T;
  } catch (error) {
    throw mapUnavailable(error);
  } finally {
    clearTimeout(timer);
    begun.catch(() => {});
    limit.promise.catch(() => {});
  }
}
