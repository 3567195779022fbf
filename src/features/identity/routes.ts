/**
 * Signing in and out, the first run, one's own sign-ins, and people: pages for browsers and JSON for the rest.
 */
import { Elysia } from "elysia";
import { z } from "zod";
import { actorOf, originOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { cookieName, readCookie } from "../../platform/cookies.ts";
import { refuseForeignBrowser } from "../../platform/cross-site.ts";
import { asFailure, type Failure, notFound } from "../../platform/failure.ts";
import { readFields } from "../../platform/form.ts";
import { type ClosedPolicy, type Guard, type OpenPolicy, redirectTo } from "../../platform/guard.ts";
import { type Cursors, pageQuery } from "../../platform/page.ts";
import type { AuthenticateCookie, Principal } from "../../platform/principal.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import { readJson } from "../../platform/wire-body.ts";
import { withCookie } from "./console-cookie.ts";
import { loginForm, newUserForm, passwordChangeForm, type SignInView, userChangeForm } from "./contract.ts";
import type { Login } from "./login.ts";
import { safeNext } from "./next.ts";
import type { Oidc } from "./oidc.ts";
import { homePage, loginPage, setupPage } from "./pages.ts";
import type { Setup } from "./setup.ts";
import type { SignIns } from "./sign-ins.ts";
import type { SignInLine } from "./store.ts";
import type { Users } from "./users.ts";

export type IdentityRoutesNeeds = {
  guard: Guard;
  changes: Changes;
  authenticateCookie: AuthenticateCookie;
  login: Login;
  setup: Setup;
  signIns: SignIns;
  users: Users;
  /** Null: nobody signs in through an identity provider here. */
  oidc: Oidc | null;
  cursors: Cursors;
  publicUrl: () => string;
};

const unparsed = { parse: "none" } as const;
const pagePolicy = (why: string): OpenPolicy => ({ plane: "console", public: why });

/** The pages first, then the JSON. */
export function identityRoutes(needs: IdentityRoutesNeeds) {
  return new Elysia()
    .use(homeRoutes(needs))
    .use(loginRoutes(needs))
    .use(setupRoutes(needs))
    .use(authRoutes(needs))
    .use(selfRoutes(needs))
    .use(userRoutes(needs));
}

function homeRoutes(needs: IdentityRoutesNeeds) {
  const { guard, login, publicUrl } = needs;
  const toLogin = () => redirectTo(`${publicUrl()}/login?next=%2F`);
  return new Elysia()
    .get(
      "/",
      guard.page(pagePolicy("Strangers are sent to sign in."), async ({ principal }) =>
        principal === null ? toLogin() : homePage(principal, await viewsOf(needs, principal)),
      ),
    )
    .post(
      "/logout",
      guard.page(
        pagePolicy("Ends the sign-in of the cookie, if there is one."),
        async ({ call, principal }) => {
          if (principal !== null) await login.out(principal, call);
          return withCookie(redirectTo(`${publicUrl()}/login`), publicUrl(), null);
        },
      ),
      unparsed,
    )
    .post(
      "/sign-ins",
      guard.page(
        pagePolicy("Ends one of the cookie's own person's sign-ins."),
        async ({ request, call, principal }) => {
          if (principal === null) return toLogin();
          await login.end(principal, (await readFields(request)).get("id") ?? "", call);
          return redirectTo(`${publicUrl()}/`);
        },
      ),
      unparsed,
    );
}

function loginRoutes(needs: IdentityRoutesNeeds) {
  const { guard, login, publicUrl } = needs;
  const providerHost = needs.oidc?.host ?? null;
  return new Elysia()
    .get(
      "/login",
      guard.page(pagePolicy("Whoever signs in has no cookie yet."), ({ call }) =>
        loginPage({ next: safeNext(call.url.searchParams.get("next"), publicUrl()), providerHost }),
      ),
    )
    .post(
      "/login",
      guard.page(pagePolicy("The form holds the proof."), async ({ request, call, principal }) => {
        const form = await readFields(request);
        const next = safeNext(form.get("next"), publicUrl());
        const email = form.get("email") ?? "";
        try {
          const asked = { email, password: form.get("password") ?? "" };
          const { cookie } = await login.withPassword(asked, originOf(call), principal);
          return withCookie(redirectTo(publicUrl() + next), publicUrl(), cookie);
        } catch (error) {
          return loginPage({ next, email, wrong: refusal(error), providerHost });
        }
      }),
      unparsed,
    )
    .use(oidcRoutes(needs));
}

function setupRoutes({ guard, setup, publicUrl }: IdentityRoutesNeeds) {
  return new Elysia()
    .get(
      "/setup",
      guard.page(pagePolicy("The link holds a one-time secret."), async ({ call }) => {
        const token = call.url.searchParams.get("token") ?? "";
        await setup.check(token);
        return setupPage({ token });
      }),
    )
    .post(
      "/setup",
      guard.page(pagePolicy("The form holds the link's one-time secret."), async ({ request, call }) => {
        const form = await readFields(request);
        const [token, email] = [form.get("token") ?? "", form.get("email") ?? ""];
        try {
          const person = { email, password: form.get("password") ?? "" };
          const cookie = await setup.use(token, person, originOf(call));
          return withCookie(redirectTo(`${publicUrl()}/`), publicUrl(), cookie);
        } catch (error) {
          const wrong = refusal(error);
          if (wrong.kind !== "unprocessable") throw error;
          return setupPage({ token, email, wrong });
        }
      }),
      unparsed,
    );
}

function oidcRoutes({ guard, oidc, publicUrl }: IdentityRoutesNeeds) {
  const routes = new Elysia();
  if (oidc === null) return routes;
  return routes
    .get(
      "/login/oidc",
      guard.page(pagePolicy("Sends the browser to the identity provider."), ({ call }) =>
        oidc.begin(safeNext(call.url.searchParams.get("next"), publicUrl())),
      ),
    )
    .get(
      "/login/callback",
      guard.page(
        pagePolicy("The identity provider's answer holds the proof."),
        ({ request, call, principal }) => oidc.finish(request, call, principal),
      ),
    );
}

/** `/api/v1/auth/*`: signing in by JSON, for the console and for scripts that want a cookie. */
function authRoutes({ guard, login, authenticateCookie, publicUrl }: IdentityRoutesNeeds) {
  const open = { plane: "control", public: "The body holds the proof." } as const;
  return new Elysia()
    .post(
      "/api/v1/auth/login",
      guard.open(open, async ({ request, call }) => {
        refuseForeignBrowser(request, publicUrl());
        const asked = await readJson(request, loginForm);
        const sent = readCookie(request.headers, cookieName(publicUrl()));
        const previous = sent === null ? null : await authenticateCookie(sent);
        const { user, cookie } = await login.withPassword(asked, originOf(call), previous);
        const { id, email, role } = user;
        return withCookie(Response.json({ id, email, role }), publicUrl(), cookie);
      }),
      unparsed,
    )
    .post(
      "/api/v1/auth/logout",
      guard.closed({ plane: "control", scope: null, who: "signed_in" }, async ({ call, principal }) => {
        await login.out(principal, call);
        return withCookie(new Response(null, { status: 204 }), publicUrl(), null);
      }),
      unparsed,
    );
}

const sees = { plane: "control", scope: "control:read", who: "signed_in" } as const satisfies ClosedPolicy;
const acts = { plane: "control", scope: "control:write", who: "signed_in" } as const satisfies ClosedPolicy;

/** What a person may see and end of their own. */
function selfRoutes(needs: IdentityRoutesNeeds) {
  const { guard, login } = needs;
  return new Elysia({ prefix: "/api/v1/me" })
    .put(
      "/password",
      guard.closed(acts, async ({ request, call, principal }) => {
        const asked = await readJson(request, passwordChangeForm);
        const passwords = { current: asked.current_password, next: asked.new_password };
        await login.changePassword(principal, passwords, call);
        return new Response(null, { status: 204 });
      }),
      unparsed,
    )
    .get(
      "/sessions",
      guard.closed(sees, async ({ principal }) => ({
        data: await viewsOf(needs, principal),
        next_cursor: null,
      })),
    )
    .get(
      "/sessions/:signIn",
      guard.closed(sees, async ({ principal, params }) => {
        const found = (await viewsOf(needs, principal)).find(({ id }) => id === params.signIn);
        if (found === undefined) throw notFound();
        return found;
      }),
    )
    .delete(
      "/sessions/:signIn",
      guard.closed(acts, async ({ call, principal, params }) => {
        await login.end(principal, params.signIn ?? "", call);
        return new Response(null, { status: 204 });
      }),
    );
}

const administers = { plane: "control", scope: "admin" } as const satisfies ClosedPolicy;

function userRoutes({ guard, changes, users, cursors }: IdentityRoutesNeeds) {
  return new Elysia({ prefix: "/api/v1/users" })
    .get(
      "",
      guard.closed(administers, ({ call }) =>
        users.page(cursors, parseQuery(z.strictObject(pageQuery), call.url.searchParams)),
      ),
    )
    .post(
      "",
      guard.closed(administers, (opened) =>
        changes.answer(opened, { form: newUserForm }, (change, asked) =>
          users.create(change.actor, asked, change),
        ),
      ),
      unparsed,
    )
    .get(
      "/:user",
      guard.closed(administers, async ({ params }) => versioned(await users.get(params.user ?? ""))),
    )
    .patch(
      "/:user",
      guard.closed(administers, async ({ request, call, principal, params }) => {
        const change = await readJson(request, userChangeForm);
        const actor = actorOf(principal, call);
        return versioned(await users.change(actor, params.user ?? "", change, seenVersion(request)));
      }),
      unparsed,
    )
    .delete(
      "/:user",
      guard.closed(administers, async ({ request, call, principal, params }) => {
        const actor = actorOf(principal, call);
        const seen = seenVersion(request);
        return versioned(await users.change(actor, params.user ?? "", { disabled: true }, seen));
      }),
    );
}

async function viewsOf({ signIns }: IdentityRoutesNeeds, principal: Principal): Promise<SignInView[]> {
  return (await signIns.list(principal.id)).map((line) => viewOf(line, principal));
}

const viewOf = ({ signIn, clientName }: SignInLine, principal: Principal): SignInView => ({
  id: signIn.id,
  kind: signIn.clientId === null ? "browser" : "app",
  client_id: signIn.clientId,
  client_name: clientName,
  scope: signIn.clientId === null ? null : signIn.scopes.join(" "),
  method: signIn.method,
  ip: signIn.ip,
  user_agent: signIn.userAgent,
  created_at: signIn.createdAt.toISOString(),
  used_at: signIn.usedAt.toISOString(),
  expires_at: signIn.expiresAt.toISOString(),
  current: signIn.id === principal.signInId,
});

/** What a person may read on the form itself; whatever is not their doing goes on. */
function refusal(error: unknown): Failure {
  const failure = asFailure(error);
  if (failure.status >= 500 && failure.kind !== "unavailable") throw error;
  return failure;
}
