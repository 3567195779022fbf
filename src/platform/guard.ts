/**
 * The guard: the only way to make a route's handler.
 *
 * A handler made here authenticates first, judges second, and only then runs, whatever order the router's hooks have.
 * The policy stays readable on the handler, so that app.ts can refuse to start with a route that has none and
 * doors.test.ts can try every door. It never looks at the path's text: the policy belongs to the route.
 */
import { type Call, callOf } from "./call.ts";
import { type Dialect, failureResponse, llmDialect } from "./dialects.ts";
import { asFailure, Failure } from "./failure.ts";
import type { Limits } from "./limits.ts";
import type { Log } from "./log.ts";
import type { Authenticate, Plane, Principal } from "./principal.ts";
import type { Scope } from "./scopes.ts";

/** `scope: null` lets any valid credential in; `public` says in words why nobody needs one. */
export type Policy =
  | { readonly plane: Plane; readonly scope: Scope | null }
  | { readonly plane: "ops" | "oauth"; readonly public: string };

export type Opened = {
  readonly call: Call;
  readonly request: Request;
  readonly params: Record<string, string>;
};
export type OpenedBy = Opened & { readonly principal: Principal };

/** What a route returns: a finished response, or a value that goes out as JSON with status 200. */
type Answer = Response | object;
export type Door = ((context: { request: Request; params: Record<string, string> }) => Promise<Response>) & {
  readonly policy: Policy;
};

export type Guard = {
  /** A door that needs a bearer credential of its plane, with this scope. */
  bearer(
    policy: Extract<Policy, { scope: unknown }>,
    answer: (opened: OpenedBy) => Answer | Promise<Answer>,
  ): Door;
  /** A door that is open to everyone, and says why. */
  open(
    policy: Extract<Policy, { public: string }>,
    answer: (opened: Opened) => Answer | Promise<Answer>,
  ): Door;
};

export function createGuard(needs: { authenticate: Authenticate; limits: Limits; log: Log }): Guard {
  return {
    bearer(policy, answer) {
      return door(policy, needs.log, async (opened) => {
        // Known credentials are answered at once, and an await of what is already there still costs a turn.
        const found = needs.authenticate(bearerOf(opened.request, policy.plane), policy.plane);
        const principal = found instanceof Promise ? await found : found;
        if (policy.scope !== null && !principal.scopes.has(policy.scope)) throw missingScope(policy.scope);
        const admitted = needs.limits.admit(policy.plane, principal);
        const rate = admitted instanceof Promise ? await admitted : admitted;
        const response = respond(await answer({ ...opened, principal }));
        for (const name in rate) response.headers.set(name, rate[name] as string);
        return response;
      });
    },
    open: (policy, answer) => door(policy, needs.log, async (opened) => respond(await answer(opened))),
  };
}

function door(policy: Policy, log: Log, run: (opened: Opened) => Promise<Response>): Door {
  const answer = async ({ request, params }: { request: Request; params: Record<string, string> }) => {
    const call = callOf(request);
    try {
      return await run({ call, request, params });
    } catch (error) {
      const failure = asFailure(error);
      if (failure.status >= 500) log.failure(failure, call);
      return failureResponse(challenge(failure), dialectFor(policy, request), call.id);
    }
  };
  return Object.assign(answer, { policy });
}

function respond(answer: Answer): Response {
  if (answer instanceof Response) return answer;
  return Response.json(answer, { headers: { "cache-control": "no-store" } });
}

const sendOne = "This needs a credential: send `Authorization: Bearer <access token or API key>`.";

/** With both headers `Authorization` wins, and a malformed one is not rescued by the other. */
function bearerOf(request: Request, plane: Plane): string {
  const authorization = request.headers.get("authorization");
  if (authorization !== null) {
    const match = /^Bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(authorization);
    if (match?.[1]) return match[1];
    throw unauthenticated("The Authorization header must be `Bearer <token>`.");
  }
  const key = plane === "llm" ? request.headers.get("x-api-key") : null;
  if (key) return key;
  // No error code for someone who sent nothing (RFC 6750 section 3.1).
  throw new Failure("unauthenticated", "unauthenticated", sendOne, {
    headers: { "www-authenticate": 'Bearer realm="specgate"' },
  });
}

export const unauthenticated = (message: string, cause?: unknown): Failure =>
  new Failure("unauthenticated", "unauthenticated", message, { cause });

function missingScope(scope: Scope): Failure {
  return new Failure("forbidden", "insufficient_scope", `This credential lacks the scope \`${scope}\`.`, {
    headers: { "www-authenticate": `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}

/** Every 401 says how to authenticate (RFC 6750 section 3). */
function challenge(failure: Failure): Failure {
  if (failure.kind !== "unauthenticated" || failure.headers?.["www-authenticate"]) return failure;
  return new Failure(failure.kind, failure.code, failure.message, {
    cause: failure.cause,
    headers: { ...failure.headers, "www-authenticate": `Bearer realm="specgate", error="invalid_token"` },
  });
}

function dialectFor(policy: Policy, request: Request): Dialect {
  if (policy.plane === "oauth") return "oauth";
  return policy.plane === "llm" ? llmDialect(request) : "problem";
}
