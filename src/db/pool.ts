/**
 * A pool that looks like postgres.js and whose statements all end: answered, or refused as `unavailable`.
 *
 * The server limits a statement to five seconds by itself; the six seconds here are for a server that is frozen, absent
 * or behind a network that swallows packets. A statement whose answer was lost may have been committed: nothing is
 * repeated here. Once a transaction's connection is gone, nothing of it is sent any more.
 */
import type { Sql } from "./database.ts";
import { type Line, Lines, type OpenClient, type Pending } from "./lines.ts";
import { codeOf, unavailable } from "./unavailable.ts";

export const statementTimeoutMs = 5_000;
const answerTimeoutMs = 6_000;

export type Pool = {
  /** Statements, helpers, `unsafe` and `begin` (without savepoints); LISTEN needs a connection of its own. */
  readonly sql: Sql;
  transaction<T>(work: Work<T>): Promise<T>;
  close(): Promise<void>;
};

export type Work<T> = (tx: Sql) => Promise<T>;

export function openPool(
  open: OpenClient,
  options: { connectionsMax: number; answerTimeoutMs?: number | null },
): Pool {
  const limit = options.answerTimeoutMs === undefined ? answerTimeoutMs : options.answerTimeoutMs;
  // Makes statements, fragments and helpers; never connects.
  const maker = open(() => {});
  const opened: OpenClient = (onclose) => shareArrayTypes(open(onclose), maker);
  const lines = new Lines(opened, options.connectionsMax, limit);
  const sendAnywhere = (statement: Pending): void => {
    const deadline = lines.deadline();
    lines.acquire(deadline).then(
      (line) => lines.send(line, statement, deadline, () => lines.release(line)),
      (error) => statement.reject(error),
    );
  };
  const begin = <T>(mode: string, work: Work<T>) => runTransaction(lines, maker, mode, work);
  return {
    sql: facade(maker, sendAnywhere, begin),
    transaction: (work) => begin("", work),
    close: () => lines.close(),
  };
}

type Begin = <T>(mode: string, work: Work<T>) => Promise<T>;

/** postgres.js to look at; what it makes goes out through `send`. */
function facade(maker: Sql, send: (statement: Pending) => void, begin: Begin): Sql {
  const redirect = <T>(made: T): T => {
    if (made instanceof Promise && "handler" in made)
      (made as unknown as Pending).handler = () => send(made as never);
    return made;
  };
  const own: Record<string, unknown> = {
    unsafe: (...parts: Parameters<Sql["unsafe"]>) => redirect(maker.unsafe(...parts)),
    begin: <T>(...parts: [Work<T>] | [string, Work<T>]) =>
      parts.length === 1 ? begin("", parts[0]) : begin(parts[0], parts[1]),
    json: maker.json,
    array: maker.array,
    typed: maker.typed,
    types: maker.types,
    options: maker.options,
    PostgresError: maker.PostgresError,
  };
  return new Proxy((() => {}) as unknown as Sql, {
    apply: (_target, _self, parts) => redirect(Reflect.apply(maker, undefined, parts)),
    get: (_target, name) => {
      if (typeof name === "symbol" || name === "then") return undefined;
      if (name in own) return own[name];
      throw new Error(`a pool has no \`${name}\`: it needs a connection of its own`);
    },
  });
}

/** `sql.array` looks up array types that a connection learned when it opened. */
function shareArrayTypes(client: Sql, maker: Sql): Sql {
  type Learned = { shared: { typeArrayMap: unknown } };
  const of = ({ options }: Sql) => (options as unknown as Learned).shared;
  of(client).typeArrayMap = of(maker).typeArrayMap;
  return client;
}

async function runTransaction<T>(lines: Lines, maker: Sql, mode: string, work: Work<T>): Promise<T> {
  const line = await lines.acquire(lines.deadline());
  let over = false;
  const send = (statement: Pending): void => {
    if (line.lost) statement.reject(unavailable());
    else if (over) statement.reject(new Error("the transaction this statement belongs to is over"));
    else lines.send(line, statement, lines.deadline(), () => {});
  };
  const tx = facade(maker, send, () => Promise.reject(new Error("a transaction is already open")));
  try {
    await tx.unsafe(`begin ${mode}`);
    const result = await work(tx);
    const { command } = await tx.unsafe("commit");
    // A statement failed, its error was swallowed, and the server rolled back instead.
    if (command !== "COMMIT")
      throw new Error("the transaction was rolled back, because a statement in it failed");
    return result;
  } catch (error) {
    // Before the rollback: what others of the work's statements still send would be on its own behind it, and stay.
    over = true;
    await rollBack(lines, line, maker);
    throw error;
  } finally {
    over = true;
    lines.release(line);
  }
}

/** Without a connection there is nothing to roll back: losing it did. */
async function rollBack(lines: Lines, line: Line, maker: Sql): Promise<void> {
  if (line.lost) return;
  const rollback = maker.unsafe("rollback");
  const pending = rollback as unknown as Pending;
  pending.handler = () => lines.send(line, pending, lines.deadline(), () => {});
  try {
    await rollback;
  } catch (error) {
    // Outside a transaction the server only warns; any error means that this connection's state is not known.
    if (codeOf(error) !== null) lines.drop(line);
  }
}
