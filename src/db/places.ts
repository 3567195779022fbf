/**
 * Where things stand: the project and the session of whatever a route names. Neither ever changes, so what was looked up
 * once is known; what is not there is asked for again each time, because it may come.
 */
import { eq, sql } from "drizzle-orm";
import type { Locate, Place } from "../platform/guard.ts";
import { isId, type Prefix } from "../platform/ids.ts";
import type { Database } from "./database.ts";
import {
  approvals,
  artifacts,
  checks,
  iterations,
  projects,
  reports,
  sessions,
  tasks,
  waivers,
} from "./schema.ts";

/** By the name of a route's parameter. */
const homes = {
  project: { prefix: "prj", table: projects, projectId: projects.id, sessionId: null },
  session: { prefix: "ses", table: sessions, projectId: sessions.projectId, sessionId: sessions.id },
  iteration: {
    prefix: "itr",
    table: iterations,
    projectId: iterations.projectId,
    sessionId: iterations.sessionId,
  },
  task: { prefix: "tsk", table: tasks, projectId: tasks.projectId, sessionId: tasks.sessionId },
  report: { prefix: "rpt", table: reports, projectId: reports.projectId, sessionId: reports.sessionId },
  check: { prefix: "chk", table: checks, projectId: checks.projectId, sessionId: checks.sessionId },
  waiver: { prefix: "wvr", table: waivers, projectId: waivers.projectId, sessionId: waivers.sessionId },
  approval: {
    prefix: "apv",
    table: approvals,
    projectId: approvals.projectId,
    sessionId: approvals.sessionId,
  },
  /** A chat attachment stands with its person instead: see `rightsIn`. */
  artifact: {
    prefix: "art",
    table: artifacts,
    projectId: artifacts.owner,
    sessionId: artifacts.sessionId,
  },
} as const;

const rememberedMax = 20_000;

/** Throws for a kind that is not in the list: a route with such a parameter is a mistake of ours. */
export function createLocate({ db }: Pick<Database, "db">): Locate {
  const remembered = new Map<string, Place>();
  const remember = (id: string, place: Place): Place => {
    const [oldest] = remembered.keys();
    if (remembered.size >= rememberedMax && oldest !== undefined) remembered.delete(oldest);
    remembered.set(id, place);
    return place;
  };
  const lookUp = async (kind: keyof typeof homes, id: string): Promise<Place | null> => {
    const { table, projectId, sessionId } = homes[kind];
    const [row] = await db
      .select({ projectId, sessionId: sessionId ?? sql<null>`null` })
      .from(table)
      .where(eq(table.id, id));
    return row === undefined ? null : remember(id, row);
  };
  return (kind, id) => {
    const known = kind as keyof typeof homes;
    if (homes[known] === undefined) throw new Error(`nobody knows where a ${kind} stands`);
    if (!isId(homes[known].prefix satisfies Prefix, id)) return null;
    return remembered.get(id) ?? lookUp(known, id);
  };
}
