/**
 * API keys: long-lived credentials that act as their owner, narrowed.
 *
 * A key always expires, never administers, never decides approvals, and never holds a scope that its owner lacks. It is
 * shown once and stored as a hash. A desktop client cannot own one: it has no rights of its own.
 */
import type { Actor, RecordAudit } from "../../db/audit-entry.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { keyCeiling, narrow, type Owner, type Scope } from "../../platform/scopes.ts";
import { requireVersion } from "../../platform/versions.ts";
import { clientOwner, requireOpenProject } from "./clients.ts";
import { type CreatedKey, expiresDaysForm, type KeyLine } from "./contract.ts";
import { decideSubset } from "./grant.ts";
import type { Reach } from "./keepers.ts";
import { hintOf, mintKey } from "./minting.ts";
import type { Revocations } from "./revocations.ts";
import { registeredScopes } from "./rights.ts";
import {
  findClient,
  findKey,
  findUserByEmail,
  findUserWithMemberships,
  insertKey,
  type KeyRow,
  listKeys,
  lockKey,
  revokeKey,
  type UserRow,
  updateKeyScopes,
} from "./store.ts";

export type KeysNeeds = { database: Database; record: RecordAudit; revocations: Revocations; clock: Clock };

export type NewKey = {
  owner: { userEmail: string } | { userId: string } | { clientId: string };
  projectId?: string | null;
  /** Space-separated. */
  scope: string;
  /** 1..365, 90 when left out. */
  expiresDays?: number;
};

type KeyOwner = {
  userId: string | null;
  clientId: string | null;
  projectId: string | null;
  rights: Owner;
  allowed: readonly Scope[];
};

const defaultDays = 90;
const dayMs = 86_400_000;

const listName = "keys";

export class Keys {
  readonly #needs: KeysNeeds;

  constructor(needs: KeysNeeds) {
    this.#needs = needs;
  }

  /** Throws `invalid_scope`, `invalid_request`, `not_found` or `closed`. */
  async create(
    actor: Actor,
    key: NewKey,
    within: Pick<Database, "transaction"> = this.#needs.database,
  ): Promise<CreatedKey> {
    const days = parseDays(key.expiresDays);
    const text = mintKey();
    const id = newId("key");
    return within.transaction(async (tx) => {
      const { rights, allowed, ...owner } = await ownerOf(tx, key);
      const scopes = registeredScopes(key.scope, rights, allowed);
      const expiresAt = new Date(this.#needs.clock.now() + days * dayMs);
      await insertKey(tx, { id, hash: sha256(text), hint: hintOf(text), ...owner, scopes, expiresAt });
      await this.#needs.record(tx, {
        actor,
        action: "key.created",
        subject: id,
        projectId: owner.projectId,
        details: {
          user_id: owner.userId,
          client_id: owner.clientId,
          scope: scopes.join(" "),
          expires_at: expiresAt.toISOString(),
        },
      });
      return { id, key: text, scope: scopes.join(" "), expires_at: expiresAt.toISOString() };
    });
  }

  async page(
    reach: Reach,
    cursors: Cursors,
    query: { limit: number; cursor?: string | undefined },
  ): Promise<Page<KeyLine>> {
    const [after = null] = query.cursor === undefined ? [] : cursors.open(listName, query.cursor);
    const seen = reach.all ? { projectIds: null, userId: null, boundTo: null } : reach;
    const slice = { ...seen, after, rowsMax: query.limit + 1 };
    const rows = await listKeys(this.#needs.database.db, slice);
    const page = pageOf(rows, query.limit, (last) => cursors.seal(listName, [last.id]));
    return { ...page, data: page.data.map(lineOf) };
  }

  find(id: string): Promise<KeyRow | undefined> {
    return findKey(this.#needs.database.db, id);
  }

  /** A key may only lose scopes. Throws `invalid_scope`, `stale_version`, `closed`. */
  async narrow(actor: Actor, id: string, scope: string, seen: number | null): Promise<KeyLine> {
    const { database, record, revocations } = this.#needs;
    const row = await database.transaction(async (tx) => {
      const key = await lockKey(tx, id);
      if (key === undefined) throw notFound(`There is no key ${id}.`);
      requireVersion(key, seen);
      if (key.revokedAt !== null) throw new Failure("conflict", "closed", `The key ${id} is revoked.`);
      const held = key.scopes as Scope[];
      const decision = decideSubset(held, scope, "this key holds");
      if (!decision.ok) throw new Failure("unprocessable", "invalid_scope", decision.why);
      const details = { scope: decision.value.join(" ") };
      await record(tx, { actor, action: "key.updated", subject: id, projectId: key.projectId, details });
      await revocations.record(tx, `${id} scope`);
      return updateKeyScopes(tx, id, decision.value);
    });
    await revocations.announce();
    return lineOf(row ?? (await this.#get(id)));
  }

  async list(): Promise<KeyLine[]> {
    return (await listKeys(this.#needs.database.db)).map(lineOf);
  }

  /** Again is no error and changes nothing. Throws `stale_version`. */
  async revoke(actor: Actor, id: string, seen: number | null = null): Promise<KeyLine> {
    const key = await this.#get(id);
    await this.#needs.database.transaction(async (tx) => {
      requireVersion((await lockKey(tx, id)) ?? key, seen);
      if (!(await revokeKey(tx, id))) return;
      await this.#needs.revocations.record(tx, id);
      await this.#needs.record(tx, { actor, action: "key.revoked", subject: id, projectId: key.projectId });
    });
    await this.#needs.revocations.announce();
    return lineOf(await this.#get(id));
  }

  async #get(id: string): Promise<KeyRow> {
    const key = await findKey(this.#needs.database.db, id);
    if (key === undefined) throw notFound(`There is no key ${id}.`);
    return key;
  }
}

async function ownerOf(tx: Db, key: NewKey): Promise<KeyOwner> {
  const projectId = key.projectId ?? null;
  if (projectId !== null) await requireOpenProject(tx, projectId);
  const { owner } = key;
  if ("clientId" in owner) return clientAsOwner(tx, owner.clientId, projectId);
  const byEmail = "userEmail" in owner;
  const userId = byEmail ? (await findUserByEmail(tx, owner.userEmail))?.id : owner.userId;
  const person = userId === undefined ? undefined : await findUserWithMemberships(tx, userId);
  if (person === undefined)
    throw notFound(byEmail ? `There is no user with the e-mail address ${owner.userEmail}.` : undefined);
  if (projectId !== null && person.memberships?.[projectId] === undefined)
    throw misfit(`${person.user.email} has no part in ${projectId}, so a key for it would do nothing.`);
  return userAsOwner(person.user, projectId);
}

function userAsOwner(user: UserRow, projectId: string | null): KeyOwner {
  if (user.disabledAt !== null) {
    throw new Failure("conflict", "closed", `The user ${user.email} is disabled.`);
  }
  const rights: Owner = { kind: "user", role: user.role };
  return { userId: user.id, clientId: null, projectId, rights, allowed: keyCeiling(rights) };
}

async function clientAsOwner(tx: Db, id: string, projectId: string | null): Promise<KeyOwner> {
  const client = await findClient(tx, id);
  if (client === undefined) throw notFound(`There is no client ${id}.`);
  if (client.revokedAt !== null) throw new Failure("conflict", "closed", `The client ${id} is revoked.`);
  if (client.kind === "desktop")
    throw misfit("A desktop client has no rights of its own, so it can own no key.");
  if (projectId !== null && projectId !== client.projectId) {
    throw misfit(
      client.projectId === null
        ? `The client ${id} is bound to no project, so its keys cannot be either.`
        : `The client ${id} is bound to ${client.projectId}, and so are its keys.`,
    );
  }
  const rights = clientOwner(client);
  const allowed = narrow(client.scopes, keyCeiling(rights));
  return { userId: null, clientId: client.id, projectId: client.projectId, rights, allowed };
}

function parseDays(days: number | undefined): number {
  const parsed = expiresDaysForm.safeParse(days ?? defaultDays);
  if (parsed.success) return parsed.data;
  throw misfit("A key lives 1 to 365 whole days.");
}

const misfit = (why: string): Failure => new Failure("unprocessable", "invalid_request", why);

export const lineOf = (row: KeyRow): KeyLine => ({
  id: row.id,
  hint: row.hint,
  user_id: row.userId,
  client_id: row.clientId,
  project_id: row.projectId,
  scope: row.scopes.join(" "),
  created_at: row.createdAt.toISOString(),
  expires_at: row.expiresAt.toISOString(),
  revoked_at: row.revokedAt?.toISOString() ?? null,
  version: row.version,
});
