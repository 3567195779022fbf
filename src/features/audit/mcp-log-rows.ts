/**
 * The audit log's rows that lines of the MCP log stand for: those of decisions, which name the gateway that made them, and
 * those of changes that were asked for through a tool. `mcp.intended` has no line: its outcome has.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { type DecisionRow, type LineSays, saysOf } from "./decision-row.ts";
import { timeText } from "./store.ts";

export type LoggedRow = Omit<DecisionRow, "request_id"> & {
  readonly id: string;
  readonly request_id: string | null;
};

export const isDecision = ({ action }: Pick<LoggedRow, "action">): boolean => action.startsWith("mcp.");

/** What the row's line says as far as the row knows it: of a change, that it was made, and through which tool. */
export function saysOfRow(row: LoggedRow): LineSays {
  if (isDecision(row)) return saysOf(row);
  const { tool, era, revisions, rule } = row.details;
  const details = { tool, era, revisions, rule, method: "tools/call", verdict: "allowed" };
  return saysOf({ ...row, details });
}

/** A change's row is written when the database's clock says so, not the gateway's. */
const clocksApartSeconds = 600;

const selectRows = (from: SQL): SQL => sql`
  select audit.id::text as id, audit.event_id, ${timeText(sql`audit.at`)} as at, audit.actor, audit.actor_kind,
    audit.client_id, audit.action, audit.subject, audit.project_id, audit.session_id, audit.ip, audit.user_agent,
    audit.request_id, audit.outcome, audit.details
  from ${from}`;

const texts = (values: readonly string[]): SQL => sql`${sql.param([...values])}::text[]`;

/** The very rows that lines name. */
export async function findNamed(
  db: Db,
  lines: readonly { at: string; event: string }[],
): Promise<LoggedRow[]> {
  const found = await db.execute(
    selectRows(sql`unnest(${texts(lines.map(({ at }) => at))}, ${texts(lines.map(({ event }) => event))})
      as line (at, event) join audit on audit.at = line.at::timestamptz and audit.event_id = line.event`),
  );
  return found as unknown as LoggedRow[];
}

/** What these requests did, some time between. */
export async function findRequested(
  db: Db,
  asked: { requests: readonly string[]; from: string; to: string },
): Promise<LoggedRow[]> {
  const apart = sql`make_interval(secs => ${clocksApartSeconds})`;
  const found = await db.execute(sql`${selectRows(sql`audit`)}
    where audit.at between ${asked.from}::timestamptz - ${apart} and ${asked.to}::timestamptz + ${apart}
      and audit.request_id = any(${texts(asked.requests)}) and audit.action <> 'mcp.intended'`);
  return found as unknown as LoggedRow[];
}

/** Rows for which a gateway's files should have a line, in the order of their time, from behind `after`. */
export async function listLogged(
  db: Db,
  asked: {
    instance: string;
    from: Date;
    to: Date;
    after: { at: string; id: string } | null;
    rowsMax: number;
    /** Only what starts before this one decided. */
    boot: number | null;
  },
): Promise<LoggedRow[]> {
  const { after, boot } = asked;
  const behind =
    after === null ? sql`` : sql` and (audit.at, audit.id) > (${after.at}::timestamptz, ${after.id}::bigint)`;
  const earlier = boot === null ? sql`` : sql` and (audit.details ->> 'boot')::bigint < ${boot}`;
  const found = await db.execute(sql`${selectRows(sql`audit`)}
    where audit.at >= ${asked.from.toISOString()}::timestamptz and audit.at < ${asked.to.toISOString()}::timestamptz
      and audit.details ->> 'instance' = ${asked.instance} and audit.action <> 'mcp.intended'
      and audit.action not like 'mcp\\_log.%'${behind}${earlier}
    order by audit.at, audit.id limit ${asked.rowsMax}`);
  return found as unknown as LoggedRow[];
}

/** Whether a gateway with this id ever ran over this database, and whether any other left files of decisions. */
export async function findGateways(
  db: Db,
  instance: string,
): Promise<{ isKnown: boolean; haveOthersFiles: boolean }> {
  const [row] = (await db.execute(sql`
    select exists (select from instances where id = ${instance}::uuid) as known,
      exists (
        select from audit where action in ('mcp_log.anchored', 'mcp_log.closed')
          and details ->> 'instance' <> ${instance}
      ) as others`)) as unknown as { known: boolean; others: boolean }[];
  return { isKnown: row?.known === true, haveOthersFiles: row?.others === true };
}
