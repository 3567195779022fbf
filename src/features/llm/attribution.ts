/**
 * What a call is charged to, beside whoever sends it: project, session, iteration, task and tags.
 */
import { Failure } from "../../platform/failure.ts";
import type { Place } from "../../platform/guard.ts";
import type { Principal } from "../../platform/principal.ts";

export type Attribution = {
  readonly projectId: string | null;
  readonly sessionId: string | null;
  readonly iterationId: string | null;
  readonly taskId: string | null;
  readonly tags: Record<string, string> | null;
};

/** Where a session, an iteration or a task stands; null when there is none. */
export type LocateWork = (
  kind: "session" | "iteration" | "task",
  id: string,
) => Place | null | Promise<Place | null>;

/** Throws `invalid_request` for what the credential may not be charged to, or that does not exist. */
export function attributionOf(
  headers: Headers,
  principal: Principal,
  _locate: LocateWork,
): Attribution | Promise<Attribution> {
  for (const name of ["x-specgate-iteration", "x-specgate-task"]) {
    if (headers.has(name))
      throw new Failure("invalid", "invalid_request", `\`${name}\` is not in this version.`);
  }
  const session = headers.get("x-specgate-session");
  if (session !== null && session !== principal.sessionId)
    throw new Failure(
      "invalid",
      "invalid_request",
      "`x-specgate-session` must name the session this credential is bound to.",
    );
  const tags = tagsOf(headers.get("x-specgate-tags"));
  const { projectId, sessionId } = principal;
  return { projectId, sessionId, iterationId: null, taskId: null, tags };
}

const tagForm = /^([A-Za-z0-9_.-]{1,64})=([^,=]{1,128})$/;

/** `x-specgate-tags: team=red, run=42`: at most eight. */
function tagsOf(header: string | null): Record<string, string> | null {
  if (header === null) return null;
  const pairs = header.split(",").map((pair) => tagForm.exec(pair.trim()));
  if (pairs.length > 8 || pairs.some((pair) => pair === null)) {
    throw new Failure(
      "invalid",
      "invalid_request",
      "`x-specgate-tags` takes up to 8 `name=value` pairs, separated by commas.",
    );
  }
  return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? "", pair?.[2] ?? ""]));
}
