/**
 * The table reports.
 */
import { and, desc, eq, getTableColumns, inArray, lt, sql } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { reports } from "../../db/schema.ts";
import { type SearchText, searchVector } from "../../db/search-text.ts";
import { storable, storableJson } from "../../db/storable.ts";

const { search: _, body, ...shownInLists } = getTableColumns(reports);
/** Postgres knows a text's length without reading all of it. */
const line = { ...shownInLists, bodyBytes: sql<number>`octet_length(${reports.body})` };

type NewReportRow = Omit<typeof reports.$inferInsert, "search">;
export type LineRow = Omit<typeof reports.$inferSelect, "search" | "body"> & { bodyBytes: number };
export type ReportRow = LineRow & { body: string };

export async function insertReport(tx: Db, row: NewReportRow, found: SearchText): Promise<LineRow> {
  const words = sql`${storable(found.words)}::text`;
  const grams = sql`array(select jsonb_array_elements_text(${storableJson(JSON.stringify(found.grams))}::text::jsonb))`;
  const [inserted] = await tx
    .insert(reports)
    .values({ ...row, search: searchVector(words, grams) })
    .returning(line);
  if (inserted === undefined) throw new Error("an insert returned no row");
  return inserted;
}

export async function findReport(db: Db, id: string): Promise<ReportRow | undefined> {
  const [row] = await db
    .select({ ...line, body })
    .from(reports)
    .where(eq(reports.id, id));
  return row;
}

/** Newest first. */
export const listLines = (db: Db, ids: readonly string[]): Promise<LineRow[]> =>
  db
    .select(line)
    .from(reports)
    .where(inArray(reports.id, [...ids]))
    .orderBy(desc(reports.id));

/** Newest first, from behind `after`. */
export function listReports(
  db: Db,
  asked: {
    sessionId: string;
    after: string | null;
    kind: string | undefined;
    iterationId: string | undefined;
    rowsMax: number;
  },
): Promise<LineRow[]> {
  return db
    .select(line)
    .from(reports)
    .where(
      and(
        eq(reports.sessionId, asked.sessionId),
        asked.kind === undefined ? undefined : eq(reports.kind, asked.kind),
        asked.iterationId === undefined ? undefined : eq(reports.iterationId, asked.iterationId),
        asked.after === null ? undefined : lt(reports.id, asked.after),
      ),
    )
    .orderBy(desc(reports.id))
    .limit(asked.rowsMax);
}
