/**
 * Alert hooks and their deliveries, below `/api/v1`: for administrators.
 */
import { Elysia } from "elysia";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import { deliveriesQuery, hookChangeForm, hooksQuery, newHookForm, redeliveryForm } from "./contract.ts";
import type { AlertHooks } from "./hooks.ts";

const administers = { plane: "control", scope: "admin" } as const satisfies ClosedPolicy;
const unparsed = { parse: "none" } as const;
/** What is shown once. */
const secrets = ["secret"];

export type AlertRoutesNeeds = { guard: Guard; changes: Changes; hooks: AlertHooks };

export function alertRoutes({ guard, changes, hooks }: AlertRoutesNeeds) {
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/alert-hooks",
      guard.closed(administers, ({ call }) => hooks.page(parseQuery(hooksQuery, call.url.searchParams))),
    )
    .post(
      "/alert-hooks",
      guard.closed(administers, (opened) =>
        changes.answer(
          opened,
          { form: newHookForm, secrets, before: ({ url }) => hooks.judge(url) },
          (change, asked, url) => hooks.create(change, asked, url),
        ),
      ),
      unparsed,
    )
    .get(
      "/alert-hooks/:hook",
      guard.closed(administers, async ({ params }) => versioned(await hooks.get(params.hook ?? ""))),
    )
    .patch(
      "/alert-hooks/:hook",
      guard.closed(administers, async ({ request, call, principal, params }) => {
        const asked = await readJson(request, hookChangeForm);
        const actor = actorOf(principal, call);
        return versioned(await hooks.change(actor, params.hook ?? "", asked, seenVersion(request)));
      }),
      unparsed,
    )
    .delete(
      "/alert-hooks/:hook",
      guard.closed(administers, async ({ request, call, principal, params }) => {
        const actor = actorOf(principal, call);
        return versioned(await hooks.end(actor, params.hook ?? "", seenVersion(request)));
      }),
    )
    .get(
      "/alert-hooks/:hook/deliveries",
      guard.closed(administers, ({ call, params }) =>
        hooks.deliveries(params.hook ?? "", parseQuery(deliveriesQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/deliveries/:delivery/redelivery",
      guard.closed(administers, (opened) =>
        changes.answer(opened, { form: redeliveryForm }, (change) =>
          hooks.redeliver(change, opened.params.delivery ?? ""),
        ),
      ),
      unparsed,
    );
}
