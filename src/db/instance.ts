/**
 * This instance's row: which boot of it is the current one.
 *
 * The epoch is only ever raised. A higher one in the database, or the same one under another nonce, means that the data
 * dir was copied and both copies run: the second must stop before it writes into the first one's books.
 */
import { Failure } from "../platform/failure.ts";
import type { Sql } from "./database.ts";
import { mapUnavailable } from "./unavailable.ts";

export type Boot = {
  /** A uuid, from the data dir. */
  readonly instance: string;
  readonly epoch: number;
  readonly nonce: string;
};

export const applicationName = (boot: Pick<Boot, "instance" | "epoch">): string =>
  `specgate/${boot.instance}/${boot.epoch}`;

export async function claimEpoch(sql: Sql, { instance, epoch, nonce }: Boot): Promise<void> {
  const claimed = await sql`
    insert into instances (id, epoch, nonce) values (${instance}, ${epoch}, ${nonce})
    on conflict (id) do update set epoch = excluded.epoch, nonce = excluded.nonce, heartbeat_at = now()
      where instances.epoch < excluded.epoch
         or (instances.epoch = excluded.epoch and instances.nonce = excluded.nonce)
    returning id`;
  if (claimed.length === 0) throw copied();
}

/** Says that this boot is alive; throws when a later one has taken over. */
export async function heartbeat(sql: Sql, { instance, epoch, nonce }: Boot): Promise<void> {
  const beaten = await sql`
    update instances set heartbeat_at = now()
    where id = ${instance} and epoch = ${epoch} and nonce = ${nonce} returning id`;
  if (beaten.length === 0) throw copied();
}

/**
 * Ends what earlier boots of this instance left running in the database, and waits until it is gone: a statement of a
 * killed gateway can still commit seconds later, which must not happen once recovery has looked.
 */
export async function endOlderBackends(
  sql: Sql,
  { instance, epoch }: Pick<Boot, "instance" | "epoch">,
  waitMs = 10_000,
): Promise<void> {
  const own = applicationName({ instance, epoch });
  const deadline = performance.now() + waitMs;
  try {
    for (;;) {
      const older = await sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name like ${`specgate/${instance}/%`} and application_name <> ${own}
          and usename = current_user and pid <> pg_backend_pid()`;
      if (older.length === 0) return;
      if (performance.now() > deadline) throw stuck(older.length);
      await Bun.sleep(20);
    }
  } catch (error) {
    throw mapUnavailable(error);
  }
}

const copied = (): Failure =>
  new Failure(
    "conflict",
    "data_dir_copied",
    "The database knows a later start of this instance: the data dir was copied or restored, and another gateway runs on the other copy. Give one of them a data dir of its own.",
  );

const stuck = (count: number): Failure =>
  new Failure(
    "unavailable",
    "unavailable",
    `${count} database connections of an earlier run of this gateway did not end.`,
  );
