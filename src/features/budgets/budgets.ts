/**
 * Budgets: how much a subject may spend in a day, a week, a month or in all.
 *
 * A hard one is kept before a call is sent (holds.ts), a soft one only counts and tells. A budget that is made in
 * mid-period begins with what the period has spent already. Only administrators change budgets; everybody sees those
 * that concern them. Whom a budget is about and which time it counts never change. No money moves here.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database, Db } from "../../db/database.ts";
import { differenceOf } from "../../platform/difference.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { isId, newId } from "../../platform/ids.ts";
import { formatUsd } from "../../platform/money.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import { isAdmin, rightsIn } from "../../platform/scopes.ts";
import { requireVersion } from "../../platform/versions.ts";
import type { BudgetChange, BudgetsQuery, BudgetView, NewBudget } from "./contract.ts";
import {
  type BudgetLine,
  type BudgetRow,
  findBudget,
  insertBudget,
  isThere,
  isTimezone,
  keysOf,
  listBudgets,
  lockBudget,
  type Sight,
  tellBudget,
  updateBudget,
} from "./store.ts";

export type BudgetsNeeds = {
  database: Database;
  changes: Changes;
  cursors: Cursors;
  /** Called after a commit: who is under a hard budget may have changed. Never throws. */
  changed: () => Promise<void>;
};

const list = "budgets";

export class Budgets {
  readonly #needs: BudgetsNeeds;

  constructor(needs: BudgetsNeeds) {
    this.#needs = needs;
  }

  /** Before a budget is made: throws 422 for a time zone or a subject that is not there. */
  async check({ subject, subject_id = null, timezone }: NewBudget): Promise<void> {
    const { db } = this.#needs.database;
    if (subject === "global") {
      if (subject_id !== null) throw wrong("subject_id", "A global budget has no `subject_id`.");
    } else if (subject_id === null || !(await isThere(db, subject, subject_id)))
      throw wrong("subject_id", `There is no ${subject} with this id.`);
    if (!(await isTimezone(db, timezone)))
      throw wrong("timezone", "Give the IANA name of a time zone, such as `Europe/Berlin`.");
  }

  async create(change: Change, asked: NewBudget): Promise<BudgetView> {
    const { subject, subject_id: subjectId = null, period, timezone, thresholds, hard } = asked;
    const id = newId("bud");
    const about = { id, subject, subjectId, period, timezone, weekStart: asked.week_start };
    const terms = { limitNano: asked.limit_usd, thresholds, hard, createdBy: change.actor.id };
    // The entry first: from the insert on no merge goes on.
    await change.record({
      action: "budget.created",
      subject: id,
      ...placeOf(about),
      details: wordsOf(asked),
    });
    await insertBudget(change.tx, { ...about, ...terms });
    const view = await getView(change.tx, id);
    await this.#tell(change, "created", view);
    return view;
  }

  /** What follows every commit of a change. */
  settle(): Promise<void> {
    return this.#needs.changed();
  }

  async get(principal: Principal, id: string): Promise<BudgetView> {
    const { db } = this.#needs.database;
    if (!isId("bud", id)) throw notFound();
    return getView(db, id, await this.#sightOf(principal));
  }

  /** Newest first. */
  async page(principal: Principal, query: BudgetsQuery): Promise<Page<BudgetView>> {
    return this.#page(await this.#sightOf(principal), query);
  }

  /**
   * Of those that the caller may see, the ones that its own calls count in; with `projectId`, those of calls that are
   * charged to this project. Throws `not_found` for a project of others. Newest first.
   */
  async concerning(
    principal: Principal,
    { projectId, ...query }: Omit<BudgetsQuery, "subject"> & { projectId?: string | undefined },
  ): Promise<Page<BudgetView>> {
    const mayKnow = (id: string) =>
      id.startsWith("prj_") && rightsIn(principal, id)?.scopes.has("usage:read") === true;
    if (projectId !== undefined && !mayKnow(projectId)) throw notFound();
    const sight = await this.#sightOf(principal);
    const { keyId } = principal;
    const concerned = sight === "all" ? ofAdministrator(principal) : sight;
    return this.#page(
      {
        ...concerned,
        project: projectId === undefined ? concerned.project : [projectId],
        // What other keys of the same owner may spend is no use to this one.
        key: keyId === null ? [] : [keyId],
      },
      query,
    );
  }

  async #page(sight: Sight, query: BudgetsQuery): Promise<Page<BudgetView>> {
    const { cursors, database } = this.#needs;
    const [after = null] = query.cursor === undefined ? [] : cursors.open(list, query.cursor);
    const found = await listBudgets(database.db, {
      sight,
      after,
      subject: query.subject,
      rowsMax: query.limit + 1,
    });
    const page = pageOf(found, query.limit, ({ budget }) => cursors.seal(list, [budget.id]));
    return { ...page, data: page.data.map(viewOf) };
  }

  /** Throws `stale_version`. */
  async change(actor: Actor, id: string, asked: BudgetChange, seen: number | null): Promise<BudgetView> {
    const view = await this.#needs.changes.make(actor, async (change) => {
      const row = found(await lockBudget(change.tx, id));
      requireVersion(row, seen);
      const { limit_usd, ...rest } = asked;
      const difference = differenceOf(row, { ...rest, limitNano: limit_usd });
      if (Object.keys(difference).length === 0) return getView(change.tx, id);
      await updateBudget(change.tx, id, difference);
      const isRaised = difference.limitNano !== undefined && difference.limitNano > row.limitNano;
      await tellBudget(change.tx, id, isRaised);
      const changed = await getView(change.tx, id);
      const { limit_usd: limit, hard } = changed;
      const details = { fields: Object.keys(difference), limit_usd: limit, hard };
      await change.record({ action: "budget.updated", subject: id, ...placeOf(row), details });
      await this.#tell(change, "updated", changed);
      return changed;
    });
    await this.settle();
    return view;
  }

  /** What it holds is given back as the calls end. Throws `stale_version`. */
  async end(actor: Actor, id: string, seen: number | null): Promise<void> {
    await this.#needs.changes.make(actor, async (change) => {
      const row = found(await lockBudget(change.tx, id));
      requireVersion(row, seen);
      const view = await getView(change.tx, id);
      await updateBudget(change.tx, id, { endedAt: new Date() });
      await change.record({ action: "budget.deleted", subject: id, ...placeOf(row) });
      await this.#tell(change, "deleted", { ...view, version: view.version + 1 });
    });
    await this.settle();
  }

  /** Those who work in a project hear of its budgets. */
  async #tell(change: Change, verb: "created" | "updated" | "deleted", view: BudgetView): Promise<void> {
    const { projectId } = placeOf({ subject: view.subject, subjectId: view.subject_id });
    if (projectId === null) return;
    const { id, version, period, limit_usd, hard } = view;
    const payload = { id, version, project_id: projectId, period, limit_usd, hard };
    await change.tell({ projectId, sessionId: null, type: `budget.${verb}`, payload });
  }

  /** The project binding narrows first, whoever stands behind the credential. */
  async #sightOf(principal: Principal): Promise<Sight> {
    const { db } = this.#needs.database;
    const { projectId, keyId, clientId, userId } = principal;
    if (projectId !== null) {
      const ownClient = principal.kind === "client" && clientId !== null ? [clientId] : [];
      return { user: [], project: [projectId], client: ownClient, key: keyId === null ? [] : [keyId] };
    }
    if (isAdmin(principal)) return "all";
    if (principal.kind === "client") {
      const id = clientId ?? principal.id;
      return { user: [], project: [], client: [id], key: await keysOf(db, { clientId: id }) };
    }
    const project = [...principal.memberships.keys()].filter((id) =>
      rightsIn(principal, id)?.scopes.has("usage:read"),
    );
    const id = userId ?? principal.id;
    return { user: [id], project, client: [], key: await keysOf(db, { userId: id }) };
  }
}

/** Sees all, and spends in these. */
const ofAdministrator = ({ id, userId, clientId, memberships }: Principal): Exclude<Sight, "all"> => ({
  user: [userId ?? id],
  project: [...memberships.keys()],
  client: clientId === null ? [] : [clientId],
  key: [],
  global: true,
});

async function getView(db: Db, id: string, sight: Sight = "all"): Promise<BudgetView> {
  const line = await findBudget(db, id, sight);
  if (line === undefined) throw notFound();
  return viewOf(line);
}

function viewOf({ budget, startsAt, endsAt, spentNano, heldNano }: BudgetLine): BudgetView {
  const { id, subject, subjectId, period, timezone, weekStart, limitNano, thresholds, hard } = budget;
  return {
    id,
    subject,
    subject_id: subjectId,
    period,
    timezone,
    week_start: weekStart,
    limit_usd: formatUsd(limitNano),
    thresholds,
    hard,
    current: {
      starts_at: startsAt.toISOString(),
      ends_at: endsAt?.toISOString() ?? null,
      spent_usd: formatUsd(spentNano),
      held_usd: formatUsd(heldNano),
      remaining_usd: formatUsd(Math.max(0, limitNano - spentNano - heldNano)),
    },
    created_by: budget.createdBy,
    created_at: budget.createdAt.toISOString(),
    version: budget.version,
  };
}

const placeOf = ({ subject, subjectId }: Pick<BudgetRow, "subject" | "subjectId">) => ({
  projectId: subject === "project" ? subjectId : null,
});

const wordsOf = ({ subject, subject_id = null, period, limit_usd, hard }: NewBudget) => ({
  subject,
  subject_id,
  period,
  limit_usd: formatUsd(limit_usd),
  hard,
});

function found(row: BudgetRow | undefined): BudgetRow {
  if (row === undefined) throw notFound();
  return row;
}

const wrong = (path: string, message: string): Failure =>
  new Failure("unprocessable", "invalid_request", "The body has mistakes; `errors` names each.", {
    errors: [{ path, code: "invalid", message }],
  });
