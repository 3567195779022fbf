/**
 * Sessions and iterations, below `/api/v1`.
 */
import { Elysia } from "elysia";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { longTextBytesMax, readJson } from "../../platform/wire-body.ts";
import {
  iterationChangeForm,
  iterationsQuery,
  newIterationForm,
  newSessionForm,
  sessionChangeForm,
  sessionsQuery,
} from "./contract.ts";
import type { Sessions } from "./sessions.ts";

const unparsed = { parse: "none" } as const;
const reads = { plane: "control", scope: "control:read", project: "viewer" } as const satisfies ClosedPolicy;
const writes = {
  plane: "control",
  scope: "control:write",
  project: "editor",
} as const satisfies ClosedPolicy;

export type SessionRoutesNeeds = { guard: Guard; changes: Changes; sessions: Sessions };

export function sessionRoutes(needs: SessionRoutesNeeds) {
  const { guard, changes, sessions } = needs;
  const at = "session";
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/projects/:project/sessions",
      guard.closed(reads, ({ call, principal, place }) => {
        const query = parseQuery(sessionsQuery, call.url.searchParams);
        return sessions.page(place.projectId, principal.sessionId, query);
      }),
    )
    .post(
      "/projects/:project/sessions",
      guard.closed(writes, (opened) =>
        changes.answer(opened, { form: newSessionForm }, (change, asked) =>
          sessions.create(change, opened.place.projectId, asked),
        ),
      ),
      unparsed,
    )
    .get(
      "/sessions/:session",
      guard.closed({ ...reads, at }, async ({ params }) =>
        versioned(await sessions.get(params.session ?? "")),
      ),
    )
    .patch(
      "/sessions/:session",
      guard.closed({ ...writes, at }, async ({ request, call, principal, params }) => {
        const asked = await readJson(request, sessionChangeForm, longTextBytesMax);
        const actor = actorOf(principal, call);
        const byPerson = principal.kind === "user";
        const id = params.session ?? "";
        return versioned(await sessions.change(actor, id, asked, seenVersion(request), byPerson));
      }),
      unparsed,
    )
    .use(iterationRoutes(needs));
}

function iterationRoutes({ guard, changes, sessions }: SessionRoutesNeeds) {
  const at = "iteration";
  return new Elysia()
    .get(
      "/sessions/:session/iterations",
      guard.closed({ ...reads, at: "session" }, ({ call, params }) =>
        sessions.iterations(params.session ?? "", parseQuery(iterationsQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/sessions/:session/iterations",
      guard.closed({ ...writes, at: "session" }, (opened) =>
        changes.answer(opened, { form: newIterationForm }, (change, asked) =>
          sessions.startIteration(change, opened.params.session ?? "", asked),
        ),
      ),
      unparsed,
    )
    .get(
      "/iterations/:iteration",
      guard.closed({ ...reads, at }, async ({ params }) =>
        versioned(await sessions.getIteration(params.iteration ?? "")),
      ),
    )
    .patch(
      "/iterations/:iteration",
      guard.closed({ ...writes, at }, async ({ request, call, principal, params, place }) => {
        const asked = await readJson(request, iterationChangeForm, longTextBytesMax);
        const actor = actorOf(principal, call);
        const iteration = { iterationId: params.iteration ?? "", sessionId: place.sessionId ?? "" };
        return versioned(await sessions.changeIteration(actor, iteration, asked, seenVersion(request)));
      }),
      unparsed,
    );
}
