/**
 * What the audit log says of the MCP log's files, which makes a later change of them show: how many lines a file had and
 * which hash the last of them, said at once when a gateway begins to write to it, every hour, at each stop and when its day is over;
 * and that a file was removed because its time was over. The rows are sealed like any other. Several gateways share the
 * table, so each row names its instance.
 */
import { sql } from "drizzle-orm";
import { gatewayItself, type RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";

export type Anchor = {
  readonly file: string;
  readonly lines: number;
  /** Of the file's last line at that time. */
  readonly seq: number;
  readonly hash: string;
};

export type Anchors = {
  /** `closed`: nothing is ever added to the file again. */
  write(anchor: Anchor, isClosed: boolean): Promise<void>;
  /** The files that are said to be closed, or removed. */
  over(): Promise<ReadonlySet<string>>;
  /** The hash that was said last of the file; null when nothing was. */
  last(file: string): Promise<string | null>;
};

export type AnchorsNeeds = {
  database: Pick<Database, "db" | "transaction">;
  record: RecordAudit;
  instance: string;
};

const actions = {
  anchored: "mcp_log.anchored",
  closed: "mcp_log.closed",
  removed: "mcp_log.removed",
} as const;

export function createAnchors({ database, record, instance }: AnchorsNeeds): Anchors {
  return {
    write: ({ file, ...details }, isClosed) =>
      database.transaction((tx) =>
        record(tx, {
          actor: gatewayItself,
          action: isClosed ? actions.closed : actions.anchored,
          subject: file,
          details: { instance, ...details },
        }),
      ),
    async over() {
      const { db } = database;
      const found = await findFiles(db, instance, [actions.closed, actions.removed]);
      return new Set(found.map(({ file }) => file));
    },
    async last(file) {
      const found = await findFiles(database.db, instance, [actions.anchored, actions.closed]);
      return found.findLast((one) => one.file === file)?.hash ?? null;
    },
  };
}

export const recordRemoval = (
  { database, record, instance }: AnchorsNeeds,
  file: string,
  bytes: number,
): Promise<void> =>
  database.transaction((tx) =>
    record(tx, {
      actor: gatewayItself,
      action: actions.removed,
      subject: file,
      details: { instance, bytes },
    }),
  );

/** What was ever said of the instance's files, oldest first. */
export type Said = Anchor & { readonly kind: keyof typeof actions; readonly at: string };

export async function listSaid(db: Db, instance: string): Promise<Said[]> {
  const found = await findFiles(db, instance, Object.values(actions));
  return found.map(({ action, lines, seq, hash, ...rest }) => ({
    ...rest,
    kind: action.slice("mcp_log.".length) as Said["kind"],
    lines: Number(lines ?? 0),
    seq: Number(seq ?? 0),
    hash: hash ?? "",
  }));
}

type Found = {
  file: string;
  action: string;
  at: string;
  lines: string | null;
  seq: string | null;
  hash: string | null;
};

async function findFiles(db: Db, instance: string, kinds: readonly string[]): Promise<Found[]> {
  const found = await db.execute(sql`
    select subject as file, action, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as at,
      details ->> 'lines' as lines, details ->> 'seq' as seq, details ->> 'hash' as hash
    from audit
    where action = any(${sql.param([...kinds])}::text[]) and subject is not null
      and details ->> 'instance' = ${instance}
    order by audit.at, audit.id`);
  return found as unknown as Found[];
}
