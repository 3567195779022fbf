/**
 * The guard: the only way to make a route's handler.
 *
 * A handler made here authenticates first, judges second, and only then runs, whatever order the router's hooks have.
 * The policy stays readable on the handler, so that app.ts can refuse to start with a route that has none and
 * doors.test.ts can try every door. It never looks at the path's text: the policy belongs to the route.
 */

import { type Call, callOf } from "./call.ts";
import { cookieName, readCookie } from "./cookies.ts";
import { refuseCrossSite } from "./cross-site.ts";
import { type Dialect, failureResponse, llmDialect } from "./dialects.ts";
import { asFailure, Failure, notFound } from "./failure.ts";
import type { Limits } from "./limits.ts";
import type { Log } from "./log.ts";
import { isLoopbackHost } from "./loopback.ts";
import type { Authenticate, AuthenticateCookie, Plane, Principal } from "./principal.ts";
import { type Holder, isAtLeast, mcpScopes, type ProjectRole, rightsIn, type Scope } from "./scopes.ts";
import { onceRead } from "./wire-body.ts";

/** What a door asks of whoever holds a credential. */
export type ClosedPolicy = {
  readonly plane: Plane;
  /** Null lets any valid credential in. */
  readonly scope: Scope | null;
  /**
   * `person`: no machine. `signed_in`: a person's own browser or app, and no key or helper that could outlive it.
   * `browser`: their browser alone, because what is made here outlives an app that has been ended.
   */
  readonly who?: "person" | "signed_in" | "browser";
  /** The least role in the project of what the route names; who has none there finds nothing. */
  readonly project?: ProjectRole;
  /** The route's parameter that names something inside a project, such as `session`; the project itself when left out. */
  readonly at?: string;
  /** Not for a credential that is bound to a project: what happens here lies outside of all. Goes without saying for `admin`. */
  readonly unbound?: true;
  /** The console's own door to the LLM plane: its cookie counts there too, and failures are said as OpenAI says them. */
  readonly console?: true;
};
/** `public` says in words why nobody needs a credential. */
export type OpenPolicy = {
  readonly plane: "ops" | "oauth" | "control" | "console" | "blobs";
  readonly public: string;
};
export type Policy = ClosedPolicy | OpenPolicy;

export type Opened = {
  readonly call: Call;
  readonly request: Request;
  readonly params: Record<string, string>;
};
export type OpenedBy = Opened & { readonly principal: Principal };
/** Where something stands; neither part ever changes. */
export type Place = { readonly projectId: string; readonly sessionId: string | null };
/** Where the thing of this kind (the parameter's name) stands; null when there is none. */
export type Locate = (kind: string, id: string) => Place | null | Promise<Place | null>;
/** Behind a door of a project: where what the route names stands, and what the caller is there. */
export type OpenedIn = OpenedBy & { readonly place: Place & { readonly role: ProjectRole } };
/** Whose browser it is, or null for a stranger's. */
export type OpenedPage = Opened & { readonly principal: Principal | null };

/** What a route returns: a finished response, or a value that goes out as JSON with status 200. */
type Answer = Response | object;
export type Door = ((context: { request: Request; params: Record<string, string> }) => Promise<Response>) & {
  readonly policy: Policy;
};

type OpenedFor<P extends ClosedPolicy> = P extends { project: ProjectRole } ? OpenedIn : OpenedBy;

export type Guard = {
  /** A door that needs a credential: a bearer of its plane or, on the control plane, the console's cookie. */
  closed<P extends ClosedPolicy>(policy: P, answer: (opened: OpenedFor<P>) => Answer | Promise<Answer>): Door;
  /** A door that is open to everyone, and says why. */
  open(policy: OpenPolicy, answer: (opened: Opened) => Answer | Promise<Answer>): Door;
  /** A page or a form of the console: open to every browser, told whose it is, closed to other sites' posts. */
  page(policy: OpenPolicy, answer: (opened: OpenedPage) => Response | Promise<Response>): Door;
};

export type GuardNeeds = {
  authenticate: Authenticate;
  authenticateCookie: AuthenticateCookie;
  locate: Locate;
  publicUrl: () => string;
  /** Where the metadata of the resource that was asked for stands (RFC 9728 section 5.1). */
  resourceMetadata: (asked: URL, plane: Plane) => string;
  limits: Limits;
  log: Log;
};

export function createGuard(needs: GuardNeeds): Guard {
  return {
    closed(policy, answer) {
      return door(policy, needs, async (opened) => {
        // Known credentials are answered at once, and an await of what is already there still costs a turn.
        const found = identify(opened, policy, needs);
        const principal = found instanceof Promise ? await found : found;
        // Before anything else about the request is looked at: what is refused counts too.
        const admitted = needs.limits.admit(policy.plane, principal);
        const rate = admitted instanceof Promise ? await admitted : admitted;
        judge(principal, policy);
        const place = policy.project === undefined ? null : await enter(principal, policy, opened, needs);
        if (policy.plane === "control" && opened.request.body !== null)
          onceRead(opened.request, () => judgeAgain(opened, policy, place, needs));
        const response = respond(await answer({ ...opened, principal, place } as OpenedFor<typeof policy>));
        for (const name in rate) response.headers.set(name, rate[name] as string);
        return response;
      });
    },
    open: (policy, answer) => door(policy, needs, async (opened) => respond(await answer(opened))),
    page: (policy, answer) =>
      door(policy, needs, async (opened) => {
        const home = needs.publicUrl();
        if (isAstray(opened, home))
          return redirectTo(home + opened.call.url.pathname + opened.call.url.search, 307);
        refuseCrossSite(opened.request, home);
        const cookie = readCookie(opened.request.headers, cookieName(needs.publicUrl()));
        const principal = cookie === null ? null : await needs.authenticateCookie(cookie);
        return answer({ ...opened, principal });
      }),
  };
}

/** Cookies and forms belong to one origin: a person who typed another name of this machine is sent to the public one. */
const isAstray = ({ request, call }: Opened, home: string): boolean =>
  request.method === "GET" && call.url.host !== new URL(home).host && isLoopbackHost(call.url.host);

export const redirectTo = (location: string, status: 303 | 307 = 303): Response =>
  new Response(null, { status, headers: { location, "cache-control": "no-store" } });

/** A bearer decides alone; only without one, and never for another origin, does the cookie count. */
function identify(
  { request, call }: Opened,
  { plane, console }: ClosedPolicy,
  { authenticate, authenticateCookie, publicUrl }: GuardNeeds,
): Principal | Promise<Principal> {
  const bearer = bearerOf(request, plane);
  if (bearer !== null) return authenticate(bearer, plane);
  const takesCookie = plane === "control" || console === true;
  const cookie =
    takesCookie && !call.crossOrigin ? readCookie(request.headers, cookieName(publicUrl())) : null;
  if (cookie === null) throw nothingSent();
  refuseCrossSite(request, publicUrl());
  const found = authenticateCookie(cookie);
  return found instanceof Promise ? found.then(signedIn) : signedIn(found);
}

const signedIn = (principal: Principal | null): Principal => {
  if (principal === null) throw unauthenticated("This sign-in has ended. Sign in again.");
  return principal;
};

function judge(principal: Principal, policy: ClosedPolicy): void {
  const { scope, who, unbound = scope === "admin" } = policy;
  if (scope !== null && !principal.scopes.has(scope)) throw missingScope(scope);
  if (who !== undefined && principal.kind !== "user") throw peopleOnly();
  if (who !== undefined && who !== "person" && principal.signInId === null) throw signInNeeded();
  if (who === "browser" && principal.credential !== "cookie") throw browserNeeded();
  if (unbound && principal.projectId !== null) throw boundToProject();
}

/** A body may take its time, and rights may end meanwhile: they are judged as they are when the last byte has come. */
async function judgeAgain(
  opened: Opened,
  policy: ClosedPolicy,
  place: OpenedIn["place"] | null,
  needs: GuardNeeds,
): Promise<void> {
  const principal = await identify(opened, policy, needs);
  judge(principal, policy);
  if (place !== null) Object.assign(place, await enter(principal, policy, opened, needs));
}

const enter = (
  principal: Principal,
  { scope, project, at = "project" }: ClosedPolicy,
  { request, params }: Opened,
  { locate }: GuardNeeds,
): Promise<OpenedIn["place"]> => {
  const scopes = scope === null ? [] : [scope];
  const door: InnerDoor = { scopes, at, id: params[at] ?? "", isRead: request.method === "GET" };
  return enterPlace(principal, project === undefined ? door : { ...door, least: project }, locate);
};

/** What is asked of whoever enters a place in a project. */
export type InnerDoor = {
  readonly scopes: readonly Scope[];
  readonly least?: ProjectRole;
  /** The kind of thing, as `Locate` knows it, and its id. */
  readonly at: string;
  readonly id: string;
  readonly isRead: boolean;
};

/**
 * Where the way leads, for whoever has the role and the scopes there. Throws `not_found` when it is nowhere or the
 * caller has no part in its project or session, 403 when that part is too small.
 */
export async function enterPlace(
  principal: Holder & Pick<Principal, "sessionId">,
  { scopes, least, at, id, isRead }: InnerDoor,
  locate: Locate,
): Promise<OpenedIn["place"]> {
  const found = await locate(at, id);
  const rights = found === null ? null : rightsIn(principal, found.projectId);
  if (found === null || rights === null) throw notFound();
  const { sessionId } = principal;
  if (sessionId !== null && found.sessionId !== null && sessionId !== found.sessionId) throw notFound();
  if (least !== undefined && !isAtLeast(rights.role, least)) throw lowRole(rights.role, least);
  const lacking = scopes.find((scope) => !rights.scopes.has(scope));
  if (lacking !== undefined) throw missingScope(lacking);
  if (sessionId !== null && found.sessionId === null && !isRead) throw boundToSession();
  return { ...found, role: rights.role };
}

function door(policy: Policy, needs: GuardNeeds, run: (opened: Opened) => Promise<Response>): Door {
  const answer = async ({ request, params }: { request: Request; params: Record<string, string> }) => {
    const call = callOf(request);
    try {
      return await run({ call, request, params });
    } catch (error) {
      const failure = asFailure(error);
      if (failure.status >= 500) needs.log.failure(failure, call);
      const answered = "public" in policy ? failure : challenge(failure, call.url, policy, needs);
      return failureResponse(answered, dialectFor(policy, request), call.id);
    }
  };
  return Object.assign(answer, { policy });
}

function respond(answer: Answer): Response {
  if (answer instanceof Response) return answer;
  return Response.json(answer, { headers: { "cache-control": "no-store" } });
}

/** Null when none was sent. With both headers `Authorization` wins, and a malformed one is not rescued by the other. */
function bearerOf(request: Request, plane: Plane): string | null {
  const authorization = request.headers.get("authorization");
  if (authorization !== null) {
    const match = /^Bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(authorization);
    if (match?.[1]) return match[1];
    throw unauthenticated("The Authorization header must be `Bearer <token>`.");
  }
  const key = plane === "llm" ? request.headers.get("x-api-key") || null : null;
  if (key === null || bearerForm.test(key)) return key;
  throw unauthenticated("x-api-key must be an API key or an access token, and nothing else.");
}

/** RFC 6750 section 2.1: what a credential is spelled with. */
const bearerForm = /^[A-Za-z0-9\-._~+/]+=*$/;

/** Its challenge names no error: nothing was wrong, there was nothing (RFC 6750 section 3.1). */
const nothingSent = (): Failure =>
  new Failure(
    "unauthenticated",
    "unauthenticated",
    "This needs a credential: send `Authorization: Bearer <access token or API key>`.",
    { headers: { "www-authenticate": 'Bearer realm="specgate"' } },
  );

export const unauthenticated = (message: string, cause?: unknown): Failure =>
  new Failure("unauthenticated", "unauthenticated", message, { cause });

const peopleOnly = (): Failure =>
  new Failure("forbidden", "people_only", "Only a person may do this; this credential is a machine's.");

const signInNeeded = (): Failure =>
  new Failure(
    "forbidden",
    "sign_in_needed",
    "An API key or an exchanged token may not do this: sign in, in a browser or with an app.",
  );

const boundToProject = (): Failure =>
  new Failure("forbidden", "bound_to_project", "This credential acts in its project only.");

const boundToSession = (): Failure =>
  new Failure("forbidden", "bound_to_session", "This credential acts in its session only.");

const browserNeeded = (): Failure =>
  new Failure(
    "forbidden",
    "browser_needed",
    "An app may not do this, because what is made here would outlive it: sign in with a browser.",
  );

const lowRole = (has: ProjectRole, needs: ProjectRole): Failure =>
  new Failure(
    "forbidden",
    "insufficient_role",
    `This needs the role ${needs} in the project; you are ${has}.`,
  );

function missingScope(scope: Scope): Failure {
  return new Failure("forbidden", "insufficient_scope", `This credential lacks the scope \`${scope}\`.`, {
    headers: { "www-authenticate": `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}

/** Every 401 says how to authenticate, and where to learn the rest (RFC 6750 section 3, RFC 9728 section 5.1). */
function challenge(failure: Failure, asked: URL, { plane }: ClosedPolicy, needs: GuardNeeds): Failure {
  const own = failure.headers?.["www-authenticate"];
  if (failure.kind !== "unauthenticated" && own === undefined) return failure;
  // RFC 6750 section 3: a client that nobody told before asks for these.
  const wanted = plane === "mcp" && !own?.includes("scope=") ? `, scope="${mcpScopes.join(" ")}"` : "";
  const words = (own ?? 'Bearer realm="specgate", error="invalid_token"') + wanted;
  const header = `${words}, resource_metadata="${needs.resourceMetadata(asked, plane)}"`;
  return new Failure(failure.kind, failure.code, failure.message, {
    ...(failure.errors === undefined ? {} : { errors: failure.errors }),
    cause: failure.cause,
    headers: { ...failure.headers, "www-authenticate": header },
  });
}

function dialectFor(policy: Policy, request: Request): Dialect {
  if (policy.plane === "oauth") return "oauth";
  if (policy.plane === "console") return "html";
  if ("console" in policy) return "openai";
  if (policy.plane === "mcp") return "jsonrpc";
  return policy.plane === "llm" ? llmDialect(request) : "problem";
}
