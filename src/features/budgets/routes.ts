/**
 * Budgets, below `/api/v1`.
 */
import { Elysia } from "elysia";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import type { Budgets } from "./budgets.ts";
import { budgetChangeForm, budgetsQuery, newBudgetForm } from "./contract.ts";

const unparsed = { parse: "none" } as const;
const reads = { plane: "control", scope: "usage:read" } as const satisfies ClosedPolicy;
const administers = { plane: "control", scope: "admin" } as const satisfies ClosedPolicy;

export type BudgetRoutesNeeds = { guard: Guard; changes: Changes; budgets: Budgets };

export function budgetRoutes({ guard, changes, budgets }: BudgetRoutesNeeds) {
  return new Elysia({ prefix: "/api/v1/budgets" })
    .get(
      "",
      guard.closed(reads, ({ call, principal }) =>
        budgets.page(principal, parseQuery(budgetsQuery, call.url.searchParams)),
      ),
    )
    .post(
      "",
      guard.closed(administers, async (opened) => {
        const before = budgets.check.bind(budgets);
        const answer = await changes.answer(opened, { form: newBudgetForm, before }, (change, asked) =>
          budgets.create(change, asked),
        );
        await budgets.settle();
        return answer;
      }),
      unparsed,
    )
    .get(
      "/:budget",
      guard.closed(reads, async ({ principal, params }) =>
        versioned(await budgets.get(principal, params.budget ?? "")),
      ),
    )
    .patch(
      "/:budget",
      guard.closed(administers, async ({ request, call, principal, params }) => {
        const asked = await readJson(request, budgetChangeForm);
        const actor = actorOf(principal, call);
        return versioned(await budgets.change(actor, params.budget ?? "", asked, seenVersion(request)));
      }),
      unparsed,
    )
    .delete(
      "/:budget",
      guard.closed(administers, async ({ request, call, principal, params }) => {
        await budgets.end(actorOf(principal, call), params.budget ?? "", seenVersion(request));
        return new Response(null, { status: 204 });
      }),
    );
}
