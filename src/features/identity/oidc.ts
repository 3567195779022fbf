/**
 * Signing in through an identity provider: there, back again, and in, if the person is one of those who are here.
 *
 * A callback counts only in the browser that began the sign-in, within ten minutes, once. Whoever is refused is told
 * little, and one thing whether nobody has their address, its owner is disabled, or belongs to another account. What
 * fails is counted by address and audited, without tokens and without strangers' e-mail addresses.
 * Signing out stays here: the provider's own session is not ended.
 */
import { randomNonce, randomPKCECodeVerifier, randomState } from "openid-client";
import { type Origin, originOf, type RecordAudit, strangerFrom } from "../../db/audit-entry.ts";
import type { Database } from "../../db/database.ts";
import type { Attempts } from "../../platform/attempts.ts";
import type { Call } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import type { OidcConfig } from "../../platform/config.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import { redirectTo } from "../../platform/guard.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import type { Log } from "../../platform/log.ts";
import type { Principal } from "../../platform/principal.ts";
import { withCookie } from "./console-cookie.ts";
import { FirstLogins } from "./first-login.ts";
import { IdentityProvider, type Vouched } from "./identity-provider.ts";
import type { Login } from "./login.ts";
import { createFlows, type Flow, type Flows } from "./oidc-flow.ts";
import type { UserRow } from "./store.ts";

export type OidcNeeds = {
  config: OidcConfig;
  /** Seals what travels with the browser: 32 bytes, the same on every instance behind one public URL. */
  key: Uint8Array;
  publicUrl: () => string;
  fetch: GuardedFetch;
  database: Database;
  record: RecordAudit;
  login: Pick<Login, "open">;
  /** Shared with the passwords: an address that fails too often fails at both. */
  attempts: Attempts;
  clock: Clock;
  log: Log;
};

export type Oidc = {
  /** The provider's, as people see it. */
  readonly host: string;
  /** Sends the browser to the provider; `next` is a path of this gateway. Throws `identity_provider_unavailable`. */
  begin(next: string): Promise<Response>;
  /** Signs the browser in, or throws a Failure that takes the flow's cookie away. `previous` ends. */
  finish(request: Request, call: Call, previous: Principal | null): Promise<Response>;
};

export function createOidc(needs: OidcNeeds): Oidc {
  const { publicUrl } = needs;
  const flows = createFlows(needs);
  const provider = new IdentityProvider({ ...needs, redirectUri: () => `${publicUrl()}/login/callback` });
  const callback = new Callback({ ...needs, flows, provider });
  return {
    host: provider.host,
    async begin(next) {
      const verifier = randomPKCECodeVerifier();
      const flow = { state: randomState(), nonce: randomNonce(), verifier, next };
      const response = redirectTo(await provider.authorizationUrl(flow));
      response.headers.append("set-cookie", flows.seal(flow));
      return response;
    },
    async finish(request, call, previous) {
      try {
        const { user, next } = await callback.identify(request, call);
        const { cookie } = await needs.login.open(user, "oidc", originOf(call), previous);
        const response = withCookie(redirectTo(publicUrl() + next), publicUrl(), cookie);
        response.headers.append("set-cookie", flows.cleared());
        return response;
      } catch (error) {
        throw withoutFlow(asFailure(error), flows.cleared());
      }
    },
  };
}

type CallbackNeeds = Omit<OidcNeeds, "login"> & { flows: Flows; provider: IdentityProvider };

class Callback {
  readonly #needs: CallbackNeeds;
  readonly #firstLogins: FirstLogins;

  constructor(needs: CallbackNeeds) {
    this.#needs = needs;
    this.#firstLogins = new FirstLogins(needs);
  }

  async identify({ headers }: Request, call: Call): Promise<{ user: UserRow; next: string }> {
    const { flows, attempts } = this.#needs;
    const flow = flows.open(headers);
    if (flow === null || !isAnswerTo(flow, call.url.searchParams)) throw notBegun();
    const ip = call.ip ?? "unknown";
    await attempts.check(null, ip);
    try {
      return { user: await this.#vouchedFor(flow, call), next: flow.next };
    } catch (error) {
      if (asFailure(error).status < 500) await attempts.failed(null, ip);
      throw error;
    }
  }

  async #vouchedFor(flow: Flow, call: Call): Promise<UserRow> {
    const origin = originOf(call);
    const redeemed = await this.#needs.provider.redeem(call.url.search, flow);
    if ("refused" in redeemed) {
      if (redeemed.refused === "spent") throw notBegun();
      if (redeemed.refused === "unproven") this.#warn(redeemed.cause, call);
      throw await this.#refuse(redeemed.refused, { origin });
    }
    const { vouched } = redeemed;
    const admission = await this.#firstLogins.admit(vouched, origin);
    if (!("refused" in admission)) return admission.user;
    throw await this.#refuse(admission.refused, { origin, vouched, user: admission.user });
  }

  async #refuse(
    reason: Reason,
    { origin, vouched, user = null }: { origin: Origin; vouched?: Vouched; user?: UserRow | null },
  ): Promise<Failure> {
    await this.#needs.database.transaction((tx) =>
      this.#needs.record(tx, {
        actor: strangerFrom(origin),
        action: "login.failed",
        subject: user?.id ?? null,
        outcome: "refused",
        details: { method: "oidc", reason },
      }),
    );
    return refusals[reason](this.#needs.provider.host, vouched?.email ?? null);
  }

  /** It is the person who is refused, and the operator who can do something about it. */
  #warn(error: Error, { id }: Call): void {
    this.#needs.log.warn("the identity provider's answer proves nothing", { request_id: id, error });
  }
}

/** A page elsewhere can make a browser come here with an answer to somebody else's sign-in. */
function isAnswerTo({ state }: Flow, answer: URLSearchParams): boolean {
  const sent = answer.getAll("state");
  return sent.length === 1 && sent[0] === state && (answer.has("code") || answer.has("error"));
}

type Reason = "denied" | "unproven" | "unverified" | "unknown" | "disabled" | "linked_elsewhere";

const refusals: Record<Reason, (host: string, email: string | null) => Failure> = {
  denied: (host) => refused("login_denied", `${host} did not sign you in: it was declined there.`),
  unproven: (host) =>
    refused("login_unproven", `What ${host} answered does not prove who you are. Begin again.`),
  unverified: (host) =>
    refused(
      "email_unverified",
      `${host} does not vouch for your e-mail address. Have it verified there, then begin again.`,
    ),
  unknown: nobodyHere,
  disabled: nobodyHere,
  linked_elsewhere: nobodyHere,
};

/** One answer to all of them: it is for those who are here to know who is. */
function nobodyHere(host: string, email: string | null): Failure {
  const what = email === null ? `your account at ${host}` : `the e-mail ${email}`;
  return refused("nobody_here", `Nobody here has ${what}. Ask an administrator to add you.`);
}

const refused = (code: string, message: string): Failure => new Failure("forbidden", code, message);

const notBegun = (): Failure =>
  new Failure(
    "invalid",
    "login_not_begun",
    "This sign-in was not begun in this browser, was begun more than ten minutes ago, or is over. Go back to the start and begin again.",
  );

function withoutFlow(failure: Failure, cleared: string): Failure {
  const { kind, code, message, cause, retryAfterSeconds, headers } = failure;
  return new Failure(kind, code, message, {
    cause,
    headers: { ...headers, "set-cookie": cleared },
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}
