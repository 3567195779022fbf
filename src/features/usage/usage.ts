/**
 * What was used and what it cost, for those who may know.
 *
 * A credential for one session sees that session's calls, another project-bound one its project's, another client its
 * own, a person their own and those of the projects they belong to, an administrator all; what lies outside does not
 * exist. Calls are shown once they are over. Summaries come from the hourly roll-ups and cover whole hours. It changes
 * nothing: the ledger is written by the merge alone.
 */
import type { Db } from "../../db/database.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { isId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import { isAdmin, rightsIn } from "../../platform/scopes.ts";
import type { Group, RequestRow, RequestsQuery, SumFilters, Summary } from "./contract.ts";
import { requestRow, summarise } from "./present.ts";
import { findRequest, listAttempts, type RequestRecord, type Sight } from "./store.ts";
import { type Patience, searchCalls } from "./store-calls.ts";
import { sumUsage } from "./store-sums.ts";

const list = "usage/requests";
const groupsMax = 10_000;

export type UsageQuestion = {
  from?: Date | undefined;
  to?: Date | undefined;
  by: readonly Group[];
  filters?: SumFilters;
};

export class Usage {
  constructor(private readonly needs: { db: Db; cursors: Cursors; patience?: Patience }) {}

  async list(principal: Principal, query: RequestsQuery): Promise<Page<RequestRow>> {
    const { limit, cursor, ...filters } = query;
    const { db, cursors, patience } = this.needs;
    const [at, id] = cursor === undefined ? [] : cursors.open(list, cursor);
    const position = at !== undefined && id !== undefined ? { at, id } : null;
    const sight = sightOf(principal);
    const asked = { sight, filters, position, order: "newest", rowsMax: limit + 1 } as const;
    const { rows, next } = await searchCalls(db, asked, patience);
    const cursorOf = (at: string, id: string) => cursors.seal(list, [at, id]);
    const page = pageOf(rows, limit, (last) => cursorOf(last.at.toISOString(), last.id));
    // Not full, and yet not the last: what was looked for is rare.
    const isShort = rows.length <= limit && next !== null;
    return {
      next_cursor: isShort ? cursorOf(next.at, next.id) : page.next_cursor,
      data: await withAttempts(db, page.data),
    };
  }

  async get(principal: Principal, id: string): Promise<RequestRow> {
    const { db } = this.needs;
    const found = isId("req", id) ? await findRequest(db, sightOf(principal), id) : undefined;
    if (found === undefined) throw notFound();
    return requestRow(found, await listAttempts(db, [found.id]));
  }

  summary(principal: Principal, question: UsageQuestion): Promise<Summary> {
    return sumUp(this.needs.db, sightOf(principal), question);
  }
}

/** The summary over everybody, for the operator's own command. Throws 400 when there are too many groups. */
export const usageOfAll = (db: Db, question: UsageQuestion): Promise<Summary> =>
  sumUp(db, { of: "all" }, question);

async function sumUp(db: Db, sight: Sight, question: UsageQuestion): Promise<Summary> {
  const { from, to, by, filters = {} } = question;
  const found = await sumUsage(db, { sight, filters, from, to, by, rowsMax: groupsMax + 1 });
  if (found.length > groupsMax) throw tooManyGroups();
  return summarise(found, by, filters.tag !== undefined);
}

/** Rows as the wire shows them. */
export async function withAttempts(db: Db, rows: readonly RequestRecord[]): Promise<RequestRow[]> {
  const ids = rows.map((row) => row.id);
  const attempts = Map.groupBy(await listAttempts(db, ids), (attempt) => attempt.requestId);
  return rows.map((row) => requestRow(row, attempts.get(row.id) ?? []));
}

/** The binding narrows first, whoever stands behind the credential. */
export function sightOf(principal: Principal): Sight {
  if (principal.sessionId !== null)
    return { of: "session", id: principal.sessionId, projectId: principal.projectId ?? "" };
  if (principal.projectId !== null) return { of: "project", id: principal.projectId };
  if (principal.kind === "client") return { of: "client", id: principal.clientId ?? principal.id };
  if (isAdmin(principal)) return { of: "all" };
  const projectIds = [...principal.memberships.keys()].filter((id) =>
    rightsIn(principal, id)?.scopes.has("usage:read"),
  );
  return { of: "person", id: principal.id, projectIds };
}

const tooManyGroups = (): Failure =>
  new Failure(
    "invalid",
    "too_many_groups",
    `That is more than ${groupsMax} groups. Ask for a shorter time, or group by less.`,
  );
