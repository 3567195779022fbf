/**
 * Writing inside a session: only while it is open and its project is not archived, which stay so until the writer's
 * transaction ends.
 *
 * Writers hold the session's row in common; whoever closes it, or needs to be alone in it, waits for them, and they wait
 * for it. So no write slips in behind a session that was completed.
 */
import { and, eq, inArray, type SQL, sql } from "drizzle-orm";
import { Failure, notFound } from "../platform/failure.ts";
import type { Db } from "./database.ts";
import { artifacts, iterations } from "./schema.ts";

export type OpenSession = {
  readonly id: string;
  readonly projectId: string;
};

/**
 * `shared`: with other writers. `numbering`: one after the other with whoever draws numbers too. `alone`: nobody else
 * writes anything in the session until this transaction ends. Throws 409 `closed`.
 */
export async function requireOpenSession(
  tx: Db,
  sessionId: string,
  manner: "shared" | "numbering" | "alone" = "shared",
): Promise<OpenSession> {
  const found = await lockSession(tx, sessionId, manner);
  if (found.status !== "open") {
    throw closed(
      `This session is ${found.status}; nothing in it changes any more. An editor may open it again.`,
    );
  }
  return found;
}

/** As above for whatever state the session is in; only an archived project is refused. */
export async function lockSession(
  tx: Db,
  sessionId: string,
  manner: "shared" | "numbering" | "alone",
): Promise<OpenSession & { readonly status: string }> {
  const [row] = (await tx.execute(sql`
    with queue as materialized (
      select ${manner === "alone" ? takeTurn : shareTurn}(${turnOf("session", sql`id`)}),
        ${shareTurn}(${turnOf("project", sql`project_id`)})
      from sessions where id = ${sessionId}
    )
    select s.id, s.project_id as "projectId", s.status, p.archived_at is not null as archived
    from queue, sessions s join projects p on p.id = s.project_id
    where s.id = ${sessionId} for ${locks[manner]} of s for key share of p`)) as unknown as (OpenSession & {
    status: string;
    archived: boolean;
  })[];
  if (row === undefined) throw notFound();
  if (row.archived) throw closed("This project is archived; nothing in it changes any more.");
  return row;
}

/** Throws 422 for an iteration of another session; null is none. */
export async function requireIterationOf(
  tx: Db,
  sessionId: string,
  iterationId: string | null,
): Promise<void> {
  if (iterationId === null) return;
  const found = await tx
    .select({ id: iterations.id })
    .from(iterations)
    .where(and(eq(iterations.id, iterationId), eq(iterations.sessionId, sessionId)));
  if (found.length === 0) throw foreign("iteration_id", "This session has no such iteration.");
}

/** Throws 422 for an artifact of another session, or one that has gone; null is none. One that is still to come will do. */
export async function requireArtifactOf(tx: Db, sessionId: string, artifactId: string | null): Promise<void> {
  if (artifactId === null) return;
  const isThere = inArray(artifacts.status, ["pending", "complete"]);
  const found = await tx
    .select({ id: artifacts.id })
    .from(artifacts)
    .where(and(eq(artifacts.id, artifactId), eq(artifacts.sessionId, sessionId), isThere));
  if (found.length === 0) throw foreign("artifact_id", "This session has no such artifact.");
}

const foreign = (path: string, message: string): Failure =>
  new Failure("unprocessable", "invalid_request", "The body has mistakes; `errors` names each.", {
    errors: [{ path, code: "foreign", message }],
  });

/** For what belongs to the project and to no session. */
export async function requireOpenProject(tx: Db, projectId: string): Promise<void> {
  const [row] = (await tx.execute(sql`
    with queue as materialized (select ${shareTurn}(${turnOf("project", sql`${projectId}`)}))
    select archived_at is not null as archived from queue, projects where id = ${projectId} for key share of projects`)) as unknown as {
    archived: boolean;
  }[];
  if (row === undefined) throw notFound();
  if (row.archived) throw closed("This project is archived; nothing in it changes any more.");
}

/** Waits until nobody writes in the project any more, and keeps all others waiting until the transaction ends. */
export async function takeProject(tx: Db, projectId: string): Promise<void> {
  await tx.execute(sql`select ${takeTurn}(${turnOf("project", sql`${projectId}`)})`);
}

/**
 * A row lock alone is not fair: new holders in common overtake whoever waits to be alone, for as long as they come. In
 * this queue nobody is overtaken. Sessions come before projects, for everybody.
 */
const takeTurn = sql`pg_advisory_xact_lock`;
const shareTurn = sql`pg_advisory_xact_lock_shared`;
const turnOf = (what: "session" | "project", id: SQL): SQL =>
  sql`hashtextextended(${`${what} `} || ${id}, 0)`;

/** A key share lets others share and number, a numbering lets them share, an update lets nobody. */
const locks = { shared: sql`key share`, numbering: sql`no key update`, alone: sql`update` } as const;

const closed = (message: string): Failure => new Failure("conflict", "closed", message);
