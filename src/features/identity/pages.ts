/** The pages on which people sign in, until the console takes them over. */
import { headersOf } from "../../platform/dialects.ts";
import type { Failure } from "../../platform/failure.ts";
import { type Html, html, page } from "../../platform/html.ts";
import type { Principal } from "../../platform/principal.ts";
import type { SignInView } from "./contract.ts";

export type LoginPage = {
  next: string;
  email?: string;
  wrong?: Failure;
  /** Null: nobody signs in through an identity provider here. */
  providerHost: string | null;
};

export function loginPage({ next, email = "", wrong, providerHost }: LoginPage): Response {
  const body = html`<h1>Sign in</h1>
${said(wrong)}
<form method="post" action="/login">
<input type="hidden" name="next" value="${next}">
<label for="email">E-mail</label>
<input id="email" name="email" type="email" autocomplete="username" required${wrong === undefined && html` autofocus`} value="${email}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required${wrong !== undefined && html` autofocus`}>
<button>Sign in</button>
</form>
${
  providerHost !== null &&
  html`<p class="or">or</p>
<a class="button plain" href="/login/oidc?next=${encodeURIComponent(next)}">Continue with ${providerHost}</a>`
}`;
  // A person on the way to an app's question may be sent on to the app itself, when it asked amiss.
  return page({ title: "Sign in", body, ...answerOf(wrong), formsMayLeave: next.startsWith("/oauth/") });
}

export function setupPage(asked: { token: string; email?: string; wrong?: Failure }): Response {
  const body = html`<h1>Set up SpecGate</h1>
<p>Nobody is here yet. Make yourself the first administrator.</p>
${said(asked.wrong)}
<form method="post" action="/setup">
<input type="hidden" name="token" value="${asked.token}">
<label for="email">Your e-mail</label>
<input id="email" name="email" type="email" autocomplete="username" required autofocus value="${asked.email ?? ""}">
<label for="password">A password, 12 characters or more</label>
<input id="password" name="password" type="password" autocomplete="new-password" minlength="12" required>
<button>Create the administrator</button>
</form>`;
  return page({ title: "Set up", body, ...answerOf(asked.wrong) });
}

/** Where a person lands, with everything that acts for them. */
export function homePage(principal: Principal, signIns: SignInView[]): Response {
  const body = html`<h1>You are signed in</h1>
<dl>
<dt>Person</dt><dd>${principal.email}</dd>
<dt>Role</dt><dd>${principal.role}</dd>
</dl>
<h2>What acts for you</h2>
<ul class="list">${signIns.map(signInItem)}</ul>
<form method="post" action="/logout"><button class="plain">Sign out</button></form>`;
  return page({ title: "Signed in", body });
}

function signInItem(signIn: SignInView): Html {
  const what = signIn.client_name ?? "A browser";
  const usedAt = signIn.used_at.slice(0, 16).replace("T", " ");
  return html`<li>
<div><strong>${what}</strong>${signIn.current && html` <span class="badge">this one</span>`}
<small>${signIn.scope ?? signIn.user_agent ?? "It did not say which"}</small>
<small>Last used <time datetime="${signIn.used_at}">${usedAt} UTC</time>${signIn.ip !== null && `, from ${signIn.ip}`}</small></div>
${
  !signIn.current &&
  html`<form method="post" action="/sign-ins"><input type="hidden" name="id" value="${signIn.id}"><button class="plain" aria-label="End it: ${what}">End it</button></form>`
}
</li>`;
}

const said = (wrong: Failure | undefined) =>
  wrong !== undefined && html`<p class="bad" role="alert">${wrong.message}</p>`;

const answerOf = (wrong: Failure | undefined) =>
  wrong === undefined ? {} : { status: wrong.status, headers: headersOf(wrong) };
