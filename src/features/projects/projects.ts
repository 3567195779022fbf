/**
 * Projects: what credentials are bound to, what spending is filed under, and who belongs to them.
 *
 * A project's name is free text and need not be unique: ids decide. A project that has an owner always keeps one. Every
 * change writes its audit entry in its own transaction; a changed membership and an archived project act at once on
 * whatever credentials they touch. Projects are never deleted: the books name them. Only an owner says whether owners may
 * decide what they asked for themselves.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import { insertEvents, type NewEvent } from "../../db/events.ts";
import { takeProject } from "../../db/open-session.ts";
import type { Clock } from "../../platform/clock.ts";
import { differenceOf } from "../../platform/difference.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { isId, newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import { type ProjectRole, rightsIn, visibleProjects } from "../../platform/scopes.ts";
import { requireVersion } from "../../platform/versions.ts";
import {
  type MemberView,
  type ProjectChange,
  type ProjectDetail,
  type ProjectLine,
  type ProjectView,
  projectNameForm,
} from "./contract.ts";
import {
  countOtherOwners,
  deleteMember,
  findMember,
  findPerson,
  findProject,
  insertProject,
  listMembers,
  listProjects,
  lockProject,
  type MemberRow,
  type ProjectRow,
  updateProject,
  upsertMember,
} from "./store.ts";

export type ProjectsNeeds = {
  database: Database;
  record: RecordAudit;
  /** Writes that something stopped being valid, in the change's transaction; `announce` tells it after the commit. */
  revocations: { record(tx: Db, subject: string): Promise<void>; announce(): Promise<void> };
  clock: Clock;
};

type Query = { limit: number; cursor?: string | undefined };

export class Projects {
  readonly #needs: ProjectsNeeds;

  constructor(needs: ProjectsNeeds) {
    this.#needs = needs;
  }

  /** `ownerId`: the person who becomes its owner; null for a local command. Throws `invalid_name`. */
  async create(
    actor: Actor,
    project: { name: string },
    ownerId: string | null = null,
    within: Pick<Database, "transaction"> = this.#needs.database,
  ): Promise<ProjectView> {
    const name = parseName(project.name);
    const id = newId("prj");
    await within.transaction(async (tx) => {
      await tell(tx, "project.created", id, projectEvent(await insertProject(tx, { id, name })));
      await this.#needs.record(tx, {
        actor,
        action: "project.created",
        subject: id,
        projectId: id,
        details: { name },
      });
      if (ownerId !== null)
        await this.#setMember(tx, actor, { projectId: id, userId: ownerId, role: "owner" });
    });
    await this.#needs.revocations.announce();
    return { id, name };
  }

  /** All of them, for the operator's own command. */
  async list(): Promise<ProjectLine[]> {
    const rows = await listProjects(this.#needs.database.db);
    return rows.map(lineOf);
  }

  /** Those that the caller has a part in. */
  async page(principal: Principal, cursors: Cursors, query: Query): Promise<Page<ProjectDetail>> {
    const [after = null] = query.cursor === undefined ? [] : cursors.open("projects", query.cursor);
    const ids = visibleProjects(principal);
    const rows = await listProjects(this.#needs.database.db, { after, rowsMax: query.limit + 1, ids });
    const page = pageOf(rows, query.limit, (last) => cursors.seal("projects", [last.id]));
    return { ...page, data: page.data.map((row) => detailOf(row, principal)) };
  }

  async get(principal: Principal, id: string): Promise<ProjectDetail> {
    return detailOf(found(await findProject(this.#needs.database.db, id)), principal);
  }

  /** Only an owner who signed in changes `approvals_self`. Throws `invalid_name`, `insufficient_role`, `sign_in_needed`, `stale_version`, `closed`. */
  async change(
    principal: Principal,
    actor: Actor,
    id: string,
    asked: ProjectChange,
    seen: number | null,
  ): Promise<ProjectDetail> {
    const name = asked.name === undefined ? undefined : parseName(asked.name);
    return this.#change(
      principal,
      actor,
      id,
      seen,
      (row) => {
        const change = differenceOf(row, { name, approvalsSelf: asked.approvals_self });
        if (change.approvalsSelf !== undefined) requireMayLetDecide(principal, id);
        return Object.keys(change).length === 0 ? null : { action: "project.updated", change };
      },
      asked.approvals_self !== undefined,
    );
  }

  /** Ends every credential that is bound to it. Again is no error and changes nothing. Throws `stale_version`. */
  async archive(principal: Principal, actor: Actor, id: string, seen: number | null): Promise<ProjectDetail> {
    const archivedAt = new Date(this.#needs.clock.now());
    return this.#change(
      principal,
      actor,
      id,
      seen,
      (row) => (row.archivedAt === null ? { action: "project.archived", change: { archivedAt } } : null),
      true,
    );
  }

  async members(id: string, cursors: Cursors, query: Query): Promise<Page<MemberView>> {
    const list = `members ${id}`;
    found(await findProject(this.#needs.database.db, id));
    const [after = null] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const asked = { projectId: id, after, rowsMax: query.limit + 1 };
    const rows = await listMembers(this.#needs.database.db, asked);
    const page = pageOf(rows, query.limit, (last) => cursors.seal(list, [last.member.userId]));
    return { ...page, data: page.data.map(({ member, email }) => memberView(member, email)) };
  }

  /** Makes somebody a member, or gives them another role. Throws `not_found`, `last_owner`, `stale_version`, `closed`. */
  async setMember(
    actor: Actor,
    member: { projectId: string; userId: string; role: ProjectRole },
    seen: number | null,
  ): Promise<MemberView> {
    const view = await this.#needs.database.transaction(async (tx) => {
      requireOpen(found(await lockProject(tx, member.projectId)));
      const person = await findPerson(tx, member.userId);
      if (person === undefined) throw notFound("There is no such person.");
      const before = await findMember(tx, member.projectId, member.userId);
      requireVersion(before ?? neverSeen, seen);
      if (before?.role === member.role) return memberView(before, person.email);
      if (before?.role === "owner") await requireAnotherOwner(tx, member.projectId, member.userId);
      return memberView(await this.#setMember(tx, actor, member), person.email);
    });
    await this.#needs.revocations.announce();
    return view;
  }

  /** Again is no error and changes nothing. Throws `last_owner`, `stale_version`, `closed`. */
  async removeMember(
    actor: Actor,
    { projectId, userId }: { projectId: string; userId: string },
    seen: number | null,
  ): Promise<void> {
    if (!isId("usr", userId)) throw notFound("There is no such person.");
    await this.#needs.database.transaction(async (tx) => {
      requireOpen(found(await lockProject(tx, projectId)));
      const before = await findMember(tx, projectId, userId);
      if (before === undefined) return;
      requireVersion(before, seen);
      if (before.role === "owner") await requireAnotherOwner(tx, projectId, userId);
      await deleteMember(tx, projectId, userId);
      await this.#followMember(tx, actor, "member.removed", { projectId, userId });
      await tell(tx, "member.deleted", projectId, { id: userId });
    });
    await this.#needs.revocations.announce();
  }

  /** Names, for showing them. */
  async names(ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (ids.length === 0) return new Map();
    const page = { after: null, rowsMax: ids.length, ids: [...ids] };
    const rows = await listProjects(this.#needs.database.db, page);
    return new Map(rows.map(({ id, name }) => [id, name]));
  }

  async #change(
    principal: Principal,
    actor: Actor,
    id: string,
    seen: number | null,
    decide: (row: ProjectRow) => { action: string; change: Partial<ProjectRow> } | null,
    /** Whether writers in its sessions have to see it before or after, and not in between. */
    isAlone: boolean,
  ): Promise<ProjectDetail> {
    const { database, record, revocations } = this.#needs;
    const row = await database.transaction(async (tx) => {
      if (isAlone) await takeProject(tx, id);
      const project = found(await lockProject(tx, id));
      requireVersion(project, seen);
      const decided = decide(project);
      if (decided === null) return project;
      const { action, change } = decided;
      const changed = await updateProject(tx, id, change);
      if (changed === undefined) throw closed();
      await record(tx, { actor, action, subject: id, projectId: id, details: detailsOf(change) });
      await tell(tx, "project.updated", id, projectEvent(changed));
      if (change.archivedAt !== undefined) await revocations.record(tx, id);
      return changed;
    });
    await revocations.announce();
    return detailOf(row, principal);
  }

  async #setMember(
    tx: Db,
    actor: Actor,
    member: { projectId: string; userId: string; role: ProjectRole },
  ): Promise<MemberRow> {
    const row = await upsertMember(tx, member);
    await this.#followMember(tx, actor, "member.set", member);
    const verb = row.version === 1 ? "created" : "updated";
    const { projectId, userId: id, role } = member;
    await tell(tx, `member.${verb}`, projectId, { id, version: row.version, role });
    return row;
  }

  /** Other rights for the same credentials, at once. */
  async #followMember(
    tx: Db,
    actor: Actor,
    action: string,
    { projectId, userId, role }: { projectId: string; userId: string; role?: ProjectRole },
  ): Promise<void> {
    const details = role === undefined ? {} : { role };
    await this.#needs.record(tx, { actor, action, subject: userId, projectId, details });
    await this.#needs.revocations.record(tx, `${userId} ${projectId}`);
  }
}

/** Read from the log within a second: nobody is sent a word, because commands beside the gateway cannot either. */
const tell = (
  tx: Db,
  type: NewEvent["type"],
  projectId: string,
  payload: NewEvent["payload"],
): Promise<void> => insertEvents(tx, [{ projectId, sessionId: null, type, payload }]);

const projectEvent = ({ id, version, name, archivedAt }: ProjectRow): NewEvent["payload"] => ({
  id,
  version,
  name,
  archived: archivedAt !== null,
});

/** Whoever says that they saw a version of what is not there saw something else. */
const neverSeen = { version: 0 };

async function requireAnotherOwner(tx: Db, projectId: string, userId: string): Promise<void> {
  if ((await countOtherOwners(tx, projectId, userId)) > 0) return;
  throw new Failure(
    "conflict",
    "last_owner",
    "This is the project's last owner. Make somebody else one first.",
  );
}

function found(row: ProjectRow | undefined): ProjectRow {
  if (row === undefined) throw notFound();
  return row;
}

function requireOpen(row: ProjectRow | undefined): ProjectRow {
  if (row !== undefined && row.archivedAt === null) return row;
  throw closed();
}

const closed = (): Failure =>
  new Failure("conflict", "closed", "This project is archived; nothing in it changes any more.");

/** An owner who is there: a key of theirs that leaked must not clear the way for approving what it asks for. */
function requireMayLetDecide(principal: Principal, id: string): void {
  const { role } = rightsIn(principal, id) ?? { role: "viewer" };
  const what = "whether owners may approve what they asked for themselves";
  if (role !== "owner") {
    const why = `Only an owner of the project decides ${what}; you are ${role}.`;
    throw new Failure("forbidden", "insufficient_role", why);
  }
  if (principal.signInId === null) {
    const why = `An API key or an exchanged token does not decide ${what}: sign in, in a browser or with an app.`;
    throw new Failure("forbidden", "sign_in_needed", why);
  }
}

const detailsOf = ({ name, approvalsSelf }: Partial<ProjectRow>): Record<string, unknown> => ({
  ...(name === undefined ? {} : { name }),
  ...(approvalsSelf === undefined ? {} : { approvals_self: approvalsSelf }),
});

function parseName(text: string): string {
  const parsed = projectNameForm.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new Failure(
    "unprocessable",
    "invalid_name",
    "A project's name has 1 to 200 characters, none of them control characters.",
  );
}

const lineOf = ({ id, name, archivedAt }: ProjectRow): ProjectLine => ({
  id,
  name,
  archived: archivedAt !== null,
});

const detailOf = (row: ProjectRow, principal: Principal): ProjectDetail => ({
  ...lineOf(row),
  role: rightsIn(principal, row.id)?.role ?? "viewer",
  approvals_self: row.approvalsSelf,
  created_at: row.createdAt.toISOString(),
  version: row.version,
});

const memberView = (row: MemberRow, email: string): MemberView => ({
  user_id: row.userId,
  email,
  role: row.role,
  created_at: row.createdAt.toISOString(),
  version: row.version,
});
