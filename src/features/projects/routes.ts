/**
 * Projects and their members, below `/api/v1/projects`.
 */
import { Elysia } from "elysia";
import { z } from "zod";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { type Cursors, pageQuery } from "../../platform/page.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import { memberForm, newProjectForm, projectChangeForm } from "./contract.ts";
import type { Projects } from "./projects.ts";

const unparsed = { parse: "none" } as const;
const reads = { plane: "control", scope: "control:read" } as const satisfies ClosedPolicy;
const writes = { plane: "control", scope: "control:write", who: "person" } as const satisfies ClosedPolicy;
const makes = { ...writes, unbound: true } as const satisfies ClosedPolicy;
const member = { ...reads, project: "viewer" } as const satisfies ClosedPolicy;
const editor = { ...writes, project: "editor" } as const satisfies ClosedPolicy;
/** Whoever may hand a project to others must not be a key that leaked. */
const owner = { ...writes, who: "signed_in", project: "owner" } as const satisfies ClosedPolicy;
const listQuery = z.strictObject(pageQuery);

export type ProjectRoutesNeeds = { guard: Guard; changes: Changes; projects: Projects; cursors: Cursors };

export function projectRoutes(needs: ProjectRoutesNeeds) {
  const { guard, changes, projects, cursors } = needs;
  return new Elysia({ prefix: "/api/v1/projects" })
    .get(
      "",
      guard.closed(reads, ({ call, principal }) =>
        projects.page(principal, cursors, parseQuery(listQuery, call.url.searchParams)),
      ),
    )
    .post(
      "",
      guard.closed(makes, (opened) =>
        changes.answer(opened, { form: newProjectForm }, (change, asked) =>
          projects.create(change.actor, asked, opened.principal.userId, change),
        ),
      ),
      unparsed,
    )
    .get(
      "/:project",
      guard.closed(member, async ({ principal, params }) =>
        versioned(await projects.get(principal, params.project ?? "")),
      ),
    )
    .patch(
      "/:project",
      guard.closed(editor, async ({ request, call, principal, params }) => {
        const asked = await readJson(request, projectChangeForm);
        const actor = actorOf(principal, call);
        const seen = seenVersion(request);
        return versioned(await projects.change(principal, actor, params.project ?? "", asked, seen));
      }),
      unparsed,
    )
    .delete(
      "/:project",
      guard.closed(owner, async ({ request, call, principal, params }) => {
        const actor = actorOf(principal, call);
        const seen = seenVersion(request);
        return versioned(await projects.archive(principal, actor, params.project ?? "", seen));
      }),
    )
    .use(memberRoutes(needs));
}

function memberRoutes({ guard, projects, cursors }: ProjectRoutesNeeds) {
  return new Elysia()
    .get(
      "/:project/members",
      guard.closed(member, ({ call, params }) =>
        projects.members(params.project ?? "", cursors, parseQuery(listQuery, call.url.searchParams)),
      ),
    )
    .put(
      "/:project/members/:user",
      guard.closed(owner, async ({ request, call, principal, params }) => {
        const { role } = await readJson(request, memberForm);
        const asked = { projectId: params.project ?? "", userId: params.user ?? "", role };
        return versioned(await projects.setMember(actorOf(principal, call), asked, seenVersion(request)));
      }),
      unparsed,
    )
    .delete(
      "/:project/members/:user",
      guard.closed(owner, async ({ request, call, principal, params }) => {
        const member = { projectId: params.project ?? "", userId: params.user ?? "" };
        await projects.removeMember(actorOf(principal, call), member, seenVersion(request));
        return new Response(null, { status: 204 });
      }),
    );
}
