/**
 * Tasks, below `/api/v1`.
 */
import { Elysia } from "elysia";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { Failure } from "../../platform/failure.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import { batchForm, batchValuesMax, historyQuery, taskChangeForm, tasksQuery } from "./contract.ts";
import type { Tasks } from "./tasks.ts";

const unparsed = { parse: "none" } as const;
const reads = { plane: "control", scope: "control:read", project: "viewer" } as const satisfies ClosedPolicy;
const writes = {
  plane: "control",
  scope: "control:write",
  project: "editor",
} as const satisfies ClosedPolicy;

export type TaskRoutesNeeds = {
  guard: Guard;
  changes: Changes;
  tasks: Tasks;
  /** The control plane's: a whole list may fill it. */
  bodyBytesMax: () => number;
};

export function taskRoutes({ guard, changes, tasks, bodyBytesMax }: TaskRoutesNeeds) {
  const at = "task";
  return new Elysia({ prefix: "/api/v1" })
    .put(
      "/sessions/:session/tasks",
      guard.closed({ ...writes, at: "session" }, async ({ request, call, principal, params }) => {
        refuseVersion(request);
        const asked = await readJson(request, batchForm, bodyBytesMax(), { valuesMax: batchValuesMax });
        const id = params.session ?? "";
        const actor = actorOf(principal, call);
        return tasks.turns.run(id, () => changes.make(actor, (change) => tasks.upsert(change, id, asked)));
      }),
      unparsed,
    )
    .get(
      "/sessions/:session/tasks",
      guard.closed({ ...reads, at: "session" }, ({ call, params }) =>
        tasks.page(params.session ?? "", parseQuery(tasksQuery, call.url.searchParams, ["status"])),
      ),
    )
    .get(
      "/tasks/:task",
      guard.closed({ ...reads, at }, async ({ params }) => versioned(await tasks.get(params.task ?? ""))),
    )
    .patch(
      "/tasks/:task",
      guard.closed({ ...writes, at }, async ({ request, call, principal, params, place }) => {
        const asked = await readJson(request, taskChangeForm, bodyBytesMax());
        const seen = seenVersion(request);
        const task = { taskId: params.task ?? "", sessionId: place.sessionId ?? "" };
        return versioned(
          await changes.make(actorOf(principal, call), (change) => tasks.change(change, task, asked, seen)),
        );
      }),
      unparsed,
    )
    .get(
      "/tasks/:task/history",
      guard.closed({ ...reads, at }, ({ call, params }) =>
        tasks.history(params.task ?? "", parseQuery(historyQuery, call.url.searchParams)),
      ),
    );
}

/** Whoever relies on it would lose what others have written. */
function refuseVersion(request: Request): void {
  if (!request.headers.has("if-match")) return;
  const message = "A list of tasks has no ETag: leave If-Match out, or change tasks one by one with PATCH.";
  throw new Failure("invalid", "invalid_request", message);
}
