/** The pages on which a person decides what an app may do. */
import { type Html, html, page } from "../../platform/html.ts";
import type { Scope } from "../../platform/scopes.ts";
import type { AskedConsent } from "./authorize.ts";
import type { ShownDevice } from "./devices.ts";
import { showUserCode } from "./minting.ts";
import type { ClientRow } from "./store.ts";

const meanings: Record<Scope, string> = {
  "llm:chat": "Call language models, at your cost",
  "mcp:read": "Use tools that read",
  "mcp:write": "Use tools that change things",
  "control:read": "Read projects, tasks and reports",
  "control:write": "Change projects, tasks and reports",
  "artifacts:read": "Download files",
  "artifacts:write": "Upload files",
  "approvals:request": "Ask for approvals",
  "approvals:decide": "Approve and reject in your name",
  "approvals:consume": "Use up approvals",
  "usage:read": "Read what was used and what it cost",
  admin: "Administer this gateway: people, clients, everything",
};

/** Ticked only by the person's own hand, unless the app named it. */
const weighty: ReadonlySet<Scope> = new Set(["admin", "approvals:decide"]);

export function consentPage(
  { asked, client }: { asked: AskedConsent; client: ClientRow },
  ticket: string,
  email: string,
): Response {
  const { host } = new URL(asked.redirectUri);
  const body = html`<h1>Let ${client.name} act for you?</h1>
${madeBy(client)}
<dl>
<dt>You are</dt><dd>${email}</dd>
<dt>It answers at</dt><dd>${host}</dd>
<dt>Its id</dt><dd>${client.id}</dd>
</dl>
<form method="post" action="/oauth/consent">
<input type="hidden" name="ticket" value="${ticket}">
${choices(asked.scopes, asked.named)}
${decision}
</form>`;
  return page({ title: `Let ${client.name} act for you?`, body, formsMayLeave: true });
}

/** What an app asked amiss, when it is not sent back there by itself. */
export function mistakePage(client: ClientRow, location: string): Response {
  const { host, searchParams } = new URL(location);
  const body = html`<h1>${client.name} asked for something that cannot be</h1>
<p>${searchParams.get("error_description")}</p>
${madeBy(client)}
<p><a href="${location}">Go back to it, at ${host}</a></p>`;
  return page({ title: "The app asked amiss", body, status: 400 });
}

export function codePage(asked: { code?: string; wrong?: string; status?: number } = {}): Response {
  const { code = "", wrong, status = 200 } = asked;
  const body = html`<h1>Connect a device</h1>
<p>Type the code that the app or the terminal shows you.</p>
${wrong !== undefined && html`<p class="bad" role="alert">${wrong}</p>`}
<form method="post" action="/device">
<label for="user_code">Code</label>
<input id="user_code" name="user_code" class="code" placeholder="ABCD-2345" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="16" required autofocus value="${code}">
<button>Continue</button>
</form>`;
  return page({ title: "Connect a device", body, status });
}

export function devicePage({ device, client, scopes, ticket }: ShownDevice, email: string): Response {
  const body = html`<h1>Let ${client.name} act for you?</h1>
<p class="bad">Go on only if you started this yourself, just now. Nobody from SpecGate will ever send you a code.</p>
${madeBy(client)}
<dl>
<dt>Code</dt><dd class="code">${showUserCode(device.userCode)}</dd>
<dt>You are</dt><dd>${email}</dd>
<dt>Asked from</dt><dd>${device.ip ?? "an unknown address"}</dd>
<dt>By</dt><dd>${device.userAgent ?? "an unnamed program"}</dd>
<dt>Its id</dt><dd>${client.id}</dd>
</dl>
<form method="post" action="/device">
<input type="hidden" name="ticket" value="${ticket}">
${choices(scopes, [])}
${decision}
</form>`;
  return page({ title: `Let ${client.name} act for you?`, body });
}

export function decidedPage(allowed: boolean): Response {
  const title = allowed ? "Connected" : "Denied";
  const body = html`<h1>${title}</h1>
<p>${allowed ? "Go back to the app or the terminal: it goes on by itself." : "The app was told no."} You can close this page.</p>`;
  return page({ title, body });
}

const decision = html`<div class="two">
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny" class="plain">Deny</button>
</div>`;

/** True for a client that nobody here vouches for. */
export const isOwnClaim = ({ origin }: ClientRow): boolean =>
  origin === "registration" || origin === "document";

const madeBy = (client: ClientRow): Html | false =>
  isOwnClaim(client) &&
  html`<p class="quiet">This app registered itself; its name is its own claim. Look at where it answers.</p>`;

function choices(scopes: readonly Scope[], named: readonly Scope[]): Html {
  const items = scopes.map((scope) => {
    const ticked = !weighty.has(scope) || named.includes(scope);
    return html`<label class="scope"><input type="checkbox" name="scope" value="${scope}"${ticked && html` checked`}><span>${meanings[scope]}</span><small>${scope}</small></label>`;
  });
  return html`<fieldset><legend>It may</legend>${items}</fieldset>`;
}
