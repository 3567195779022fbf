/**
 * The pages of consent, behind the console's cookie: whoever has none signs in first and comes back.
 */
import { actorOf } from "../../db/audit-entry.ts";
import type { Attempts } from "../../platform/attempts.ts";
import { Failure } from "../../platform/failure.ts";
import { readFields } from "../../platform/form.ts";
import { type OpenedPage, redirectTo } from "../../platform/guard.ts";
import type { Principal } from "../../platform/principal.ts";
import type { Authorizations, Decider } from "./authorizations.ts";
import { codePage, consentPage, decidedPage, devicePage, isOwnClaim, mistakePage } from "./consent-pages.ts";
import type { Devices } from "./devices.ts";
import { parseUserCode } from "./minting.ts";
import type { ClientRow } from "./store.ts";

export type ConsentParts = {
  authorizations: Authorizations;
  devices: Devices;
  attempts: Attempts;
  publicUrl: () => string;
};

/** `GET /oauth/authorize` (RFC 6749 section 4.1.1). */
export async function authorize(parts: ConsentParts, { call, principal }: OpenedPage): Promise<Response> {
  const { authorizations, publicUrl } = parts;
  const { pathname, search, searchParams } = call.url;
  const decider = deciderOf(principal);
  if (decider === null) {
    // What nobody can consent to is said before anybody is asked to sign in.
    await authorizations.check(searchParams);
    return toLogin(parts, pathname + search);
  }
  const begun = await authorizations.begin(searchParams, decider);
  if ("location" in begun) return tellApp(begun.location, begun.client);
  return redirectTo(`${publicUrl()}/oauth/consent?ticket=${begun.ticket}`);
}

/**
 * RFC 9700 section 4.11.2: an address that a stranger registered is not gone to without a click, or this gateway would
 * send people wherever anybody likes.
 */
const tellApp = (location: string, client: ClientRow): Response =>
  isOwnClaim(client) ? mistakePage(client, location) : redirectTo(location);

/** `GET /oauth/consent`. */
export async function showConsent(parts: ConsentParts, { call, principal }: OpenedPage): Promise<Response> {
  const decider = deciderOf(principal);
  if (decider === null) return toLogin(parts, call.url.pathname + call.url.search);
  const ticket = call.url.searchParams.get("ticket") ?? "";
  return consentPage(await parts.authorizations.get(ticket, decider), ticket, decider.email ?? "");
}

/** `POST /oauth/consent`: back to the app, with a code or with a no. */
export async function takeConsent(
  { authorizations }: ConsentParts,
  { request, call, principal }: OpenedPage,
): Promise<Response> {
  const decider = requireDecider(principal);
  const form = await readFields(request);
  const ticket = form.get("ticket") ?? "";
  const actor = actorOf(decider, call);
  const location = isAllowed(form)
    ? await authorizations.allow(ticket, form.getAll("scope"), decider, actor)
    : await authorizations.deny(ticket, decider, actor);
  return redirectTo(location);
}

/** `GET /device`: the code may come in the link, but a person still has to press the button (RFC 8628 section 5.4). */
export function showDevice(parts: ConsentParts, { call, principal }: OpenedPage): Response {
  if (deciderOf(principal) === null) return toLogin(parts, call.url.pathname + call.url.search);
  return codePage({ code: call.url.searchParams.get("user_code")?.slice(0, 16) ?? "" });
}

/** `POST /device`: first the code, then, with the ticket of the page it led to, the decision. */
export async function takeDevice(parts: ConsentParts, opened: OpenedPage): Promise<Response> {
  const decider = requireDecider(opened.principal);
  const form = await readFields(opened.request);
  const ticket = form.get("ticket");
  if (ticket === null) return findDevice(parts, form.get("user_code") ?? "", decider, opened);
  const allowed = isAllowed(form);
  const ticked = allowed ? form.getAll("scope") : null;
  await parts.devices.decide(ticket, ticked, decider, actorOf(decider, opened.call));
  return decidedPage(allowed);
}

/** Codes are short, so a person may be wrong a few times a minute only. */
async function findDevice(
  { devices, attempts }: ConsentParts,
  typed: string,
  decider: Decider,
  { call }: OpenedPage,
): Promise<Response> {
  const ip = call.ip ?? "unknown";
  await attempts.check(decider.id, ip);
  const code = parseUserCode(typed);
  const found = code === null ? undefined : await devices.find(code, decider);
  if (found !== undefined) return devicePage(found, decider.email ?? "");
  await attempts.failed(decider.id, ip);
  const wrong = "No device waits for this code. Codes live ten minutes; look again, or begin anew.";
  return codePage({ code: typed.slice(0, 16), wrong, status: 400 });
}

function isAllowed(form: URLSearchParams): boolean {
  const decision = form.get("decision");
  if (decision === "allow") return true;
  if (decision === "deny") return false;
  throw new Failure("invalid", "invalid_request", "The decision is missing: allow or deny.");
}

function deciderOf(principal: Principal | null): Decider | null {
  if (principal === null || principal.signInId === null || principal.userId === null) return null;
  return { ...principal, signInId: principal.signInId, userId: principal.userId };
}

function requireDecider(principal: Principal | null): Decider {
  const decider = deciderOf(principal);
  if (decider !== null) return decider;
  throw new Failure("unauthenticated", "unauthenticated", "You are not signed in any more. Begin again.", {
    headers: { "www-authenticate": 'Bearer realm="specgate"' },
  });
}

const toLogin = ({ publicUrl }: ConsentParts, path: string): Response =>
  redirectTo(`${publicUrl()}/login?next=${encodeURIComponent(path)}`);
