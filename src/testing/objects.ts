/**
 * One of everything that stands in a project, put straight into the tables: for tests that ask who may reach it.
 */
import type { Database } from "../db/database.ts";
import { approvals, artifacts, checks, iterations, reports, sessions, tasks, waivers } from "../db/schema.ts";
import { newId } from "../platform/ids.ts";

/** An open session's id. */
export async function putSession({ db }: Pick<Database, "db">, projectId: string): Promise<string> {
  const id = newId("ses");
  await db.insert(sessions).values({ id, projectId, title: "one", status: "open", createdBy: "cli_someone" });
  return id;
}

/** By the name of the route parameter that names it. */
export async function putObjects({ db }: Database, projectId: string, createdBy: string) {
  const sessionId = newId("ses");
  const place = { projectId, sessionId };
  const soon = new Date(Date.now() + 3_600_000);
  const search = "";
  await db
    .insert(sessions)
    .values({ id: sessionId, projectId, title: "one", status: "open", createdBy, iterations: 1 });
  const iterationId = newId("itr");
  const started = {
    id: iterationId,
    ...place,
    number: 1,
    step: "SPEC",
    status: "running",
    createdBy,
  } as const;
  await db.insert(iterations).values(started);
  const task = newId("tsk");
  const planned = {
    id: task,
    ...place,
    dedupeKey: "k",
    title: "one",
    status: "planned",
    position: 1,
  } as const;
  await db.insert(tasks).values({ ...planned, mappedFiles: [], mappedTests: [], search });
  const report = newId("rpt");
  const written = {
    id: report,
    ...place,
    kind: "report",
    title: "one",
    format: "text",
    body: "",
    search,
  } as const;
  await db.insert(reports).values({ ...written, createdBy });
  const check = newId("chk");
  const passed = { id: check, ...place, iterationId, kind: "test", status: "passed", createdBy } as const;
  await db.insert(checks).values(passed);
  const waiver = newId("wvr");
  const waived = { id: waiver, ...place, iterationId, gate: "tests", reason: "x", createdBy };
  await db.insert(waivers).values({ ...waived, expiresAt: soon });
  const approval = newId("apv");
  await db.insert(approvals).values({
    id: approval,
    ...place,
    action: "deploy",
    subjectSha256: "0".repeat(64),
    reason: "x",
    status: "pending",
    ttlSeconds: 60,
    requestedBy: createdBy,
    pendingUntil: soon,
  });
  const artifact = newId("art");
  await db.insert(artifacts).values({
    id: artifact,
    owner: projectId,
    sessionId,
    kind: "file",
    name: "one.txt",
    contentType: "text/plain",
    sizeBytes: 1,
    sha256: "0".repeat(64),
    place: "local",
    key: `projects/${projectId}/sessions/${sessionId}/iterations/0/${artifact}/one.txt`,
    status: "pending",
    createdBy,
    uploadUntil: soon,
    expiresAt: soon,
  });
  return { session: sessionId, iteration: iterationId, task, report, check, waiver, approval, artifact };
}
