/**
 * What a call is charged to, beside whoever sends it: project, session, iteration, task and tags.
 *
 * A credential is charged where it is bound, or where its caller says; whoever names something may call models there
 * (`llm:chat` in its project), and all that is named lies in one session. What does not exist and what is somebody
 * else's answer alike. Where things stand never changes, so naming the same task again asks nobody.
 */
import { Failure } from "../../platform/failure.ts";
import type { Place } from "../../platform/guard.ts";
import type { Principal } from "../../platform/principal.ts";
import { rightsIn } from "../../platform/scopes.ts";

export type Attribution = {
  readonly projectId: string | null;
  readonly sessionId: string | null;
  readonly iterationId: string | null;
  readonly taskId: string | null;
  readonly tags: Record<string, string> | null;
};

/** Where a session, an iteration or a task stands; null when there is none. */
export type LocateWork = (kind: WorkKind, id: string) => Place | null | Promise<Place | null>;

const workKinds = ["session", "iteration", "task"] as const;
type WorkKind = (typeof workKinds)[number];
type Named = { readonly kind: WorkKind; readonly id: string };

/** Throws `invalid_request` for what the credential may not be charged to, or that does not exist. */
export function attributionOf(
  headers: Headers,
  principal: Principal,
  locate: LocateWork,
): Attribution | Promise<Attribution> {
  const tags = tagsOf(headers.get("x-specgate-tags"));
  const { projectId, sessionId } = principal;
  const named = namedIn(headers);
  if (named === null) return { projectId, sessionId, iterationId: null, taskId: null, tags };
  const places = named.map(({ kind, id }) => locate(kind, id));
  if (areKnown(places)) return chargedTo(principal, named, places, tags);
  return Promise.all(places).then((found) => chargedTo(principal, named, found, tags));
}

const areKnown = (places: (Place | null | Promise<Place | null>)[]): places is (Place | null)[] =>
  !places.some((place) => place instanceof Promise);

/** Null when nothing is, as in most calls. */
function namedIn(headers: Headers): Named[] | null {
  let named: Named[] | null = null;
  for (const kind of workKinds) {
    const id = headers.get(headerOf(kind));
    if (id === null) continue;
    named ??= [];
    named.push({ kind, id });
  }
  return named;
}

function chargedTo(
  principal: Principal,
  named: readonly Named[],
  places: readonly (Place | null)[],
  tags: Attribution["tags"],
): Attribution {
  let home: { kind: WorkKind; place: Place } | null = null;
  const ids: Partial<Record<WorkKind, string>> = {};
  for (const [index, { kind, id }] of named.entries()) {
    const place = places[index] ?? null;
    if (place === null || !mayBeChargedAt(principal, place)) throw notChargeable(kind);
    if (home !== null && home.place.sessionId !== place.sessionId) throw apart(home.kind, kind);
    home ??= { kind, place };
    ids[kind] = id;
  }
  return {
    projectId: home?.place.projectId ?? principal.projectId,
    sessionId: home?.place.sessionId ?? principal.sessionId,
    iterationId: ids.iteration ?? null,
    taskId: ids.task ?? null,
    tags,
  };
}

function mayBeChargedAt(principal: Principal, place: Place): boolean {
  if (principal.sessionId !== null && principal.sessionId !== place.sessionId) return false;
  return rightsIn(principal, place.projectId)?.scopes.has("llm:chat") ?? false;
}

const headerOf = (kind: WorkKind): string => `x-specgate-${kind}`;

const articles: Record<WorkKind, string> = {
  session: "a session",
  iteration: "an iteration",
  task: "a task",
};

const notChargeable = (kind: WorkKind): Failure =>
  new Failure(
    "invalid",
    "invalid_request",
    `\`${headerOf(kind)}\` must name ${articles[kind]} that this credential may be charged to.`,
  );

const apart = (first: WorkKind, second: WorkKind): Failure =>
  new Failure(
    "invalid",
    "invalid_request",
    first === "session"
      ? `\`${headerOf(second)}\` must name ${articles[second]} of the session in \`${headerOf(first)}\`.`
      : `\`${headerOf(first)}\` and \`${headerOf(second)}\` must lie in one session.`,
  );

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
