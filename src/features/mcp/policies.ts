/**
 * Policies as administrators write them: who may see and call which tools beyond what the gateway's ceiling says.
 *
 * A policy is replaced as a whole and never changed in place; one without rules is taken away, and the ceiling alone counts
 * again. It can only narrow. Nobody's policy is written before they exist: a mistyped id would confine nobody, silently.
 */
import type { Actor } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { Db } from "../../db/database.ts";
import { notFound } from "../../platform/failure.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { requireVersion } from "../../platform/versions.ts";
import type { PolicyView, Rule } from "./contract.ts";
import { policySubject } from "./known-policies.ts";
import type { StoredPolicy } from "./rules.ts";
import { findPolicies, insertPolicy, isPrincipal, listPolicies, lockPolicy } from "./store.ts";

export type PolicyBookNeeds = {
  db: Db;
  changes: Changes;
  cursors: Cursors;
  /** Tells every instance, in the change's transaction. */
  revoke: (tx: Db, subject: string) => Promise<void>;
};

const listName = "mcp_policies";

export class PolicyBook {
  readonly #needs: PolicyBookNeeds;

  constructor(needs: PolicyBookNeeds) {
    this.#needs = needs;
  }

  /** Throws 404 for a principal that does not exist. */
  async get(principal: string): Promise<PolicyView> {
    return this.#find(this.#needs.db, principal);
  }

  /** Those that have rules. */
  async page(asked: { limit: number; cursor?: string | undefined }): Promise<Page<PolicyView>> {
    const { db, cursors } = this.#needs;
    const [after = null] = asked.cursor === undefined ? [] : cursors.open(listName, asked.cursor);
    const rows = await listPolicies(db, after, asked.limit + 1);
    return pageOf(rows.map(viewOf), asked.limit, (last) => cursors.seal(listName, [last.principal]));
  }

  /** `seen`: the revision that is to be replaced, or null for whichever it is. Acts here before this resolves. */
  replace(actor: Actor, principal: string, rules: Rule[], seen: number | null): Promise<PolicyView> {
    const { changes, revoke } = this.#needs;
    return changes.make(actor, (change) =>
      change.transaction(async (tx) => {
        await lockPolicy(tx, principal);
        const before = await this.#find(tx, principal);
        requireVersion({ version: before.revision }, seen);
        const revision = before.revision + 1;
        await insertPolicy(tx, { principal, revision, rules, createdBy: actor.id });
        await revoke(tx, policySubject(principal));
        const details = { revision, rules: rules.length };
        await change.record({ action: "mcp_policy.updated", subject: principal, details });
        return { principal, revision, rules };
      }),
    );
  }

  async #find(db: Db, principal: string): Promise<PolicyView> {
    if (!(await isPrincipal(db, principal))) throw notFound("There is no such person, client or key.");
    const [row] = await findPolicies(db, [principal]);
    return row === undefined ? { principal, revision: 0, rules: [] } : viewOf(row);
  }
}

const viewOf = ({ principal, revision, rules }: StoredPolicy): PolicyView => ({
  principal,
  revision,
  rules: rules as Rule[],
});
