/**
 * A completion from door to books: admit, route, hold, then attempts until one answers.
 *
 * Nothing reaches the caller, headers included, before a provider has answered and START is durable; the last byte
 * waits for END. Who is under a hard budget waits for the database here, and nobody else ever does.
 */
import type { GatewayConfig, LlmEndpoint } from "../../platform/config.ts";
import { llmDialect } from "../../platform/dialects.ts";
import { Failure } from "../../platform/failure.ts";
import type { OpenedBy } from "../../platform/guard.ts";
import { isEndedBy } from "../../platform/principal.ts";
import { Account, type Hold } from "./account.ts";
import { type Admission, Admittance, type AdmittanceNeeds, type Shape, shuttingDown } from "./admit.ts";
import { Attempts, type AttemptsNeeds } from "./attempts.ts";
import type { BreakerState } from "./breakers.ts";
import type { Caller } from "./exchange.ts";
import type { Subjects } from "./holds.ts";
import type { BoughtBeside } from "./priced-apart.ts";
import { Rest } from "./rest.ts";
import { findRoute, type Route } from "./route.ts";
import { ownerOf } from "./spending.ts";
import type { States } from "./states.ts";
import { wireOf } from "./wires.ts";
import { worstCase } from "./worst-case.ts";

export type LlmNeeds = Omit<AdmittanceNeeds, "limits"> &
  AttemptsNeeds & {
    gateway: () => GatewayConfig;
    states: Pick<States, "findProviders">;
    /** From now on tokens are guessed, also those that are being counted. */
    guess: () => void;
  };

/** How long calls that were given up get to be counted, and then, guessed, to be written down. */
const countingMs = 2_000;
const writingMs = 1_000;

export class Completions {
  readonly #needs: LlmNeeds;
  readonly #attempts: Attempts;
  readonly admittance: Admittance;
  /** Calls whose answer has not begun, from the door on: a body that is still on its way is in no watch. */
  #unanswered = 0;
  /** True when nothing may be sent to a provider any more. */
  #isOver = false;

  constructor(needs: LlmNeeds) {
    this.#needs = needs;
    this.#attempts = new Attempts(needs);
    this.admittance = new Admittance({ ...needs, limits: () => needs.gateway().limits.llm });
  }

  /** Answers one call; `shape` says how its body is to be read. Throws a Failure only while nothing has been sent. */
  async complete(endpoint: LlmEndpoint, opened: OpenedBy, shape: Shape | null = null): Promise<Response> {
    let admission: Admission | null = null;
    this.#unanswered++;
    try {
      admission = await this.admittance.admit(endpoint, opened, shape);
      const { asked } = admission;
      const whole = findRoute(this.#needs.gateway(), this.#needs.prices, asked.model, endpoint);
      const route = asked.keptIds.length === 0 ? whole : await this.#keepers(whole, opened, admission);
      const subjects = subjectsOf(opened, admission);
      const caller = callerOf(opened, admission);
      if (this.#isOver) throw shuttingDown();
      // From here on the call is watched.
      const bound = endpoint !== "messages/count_tokens" && this.#needs.holds.isBound(subjects);
      const { route: priced, hold } = bound
        ? await this.#hold(route, subjects, caller, opened, admission)
        : { route, hold: null };
      return await this.#attempts.run({
        opened,
        admission,
        route: priced,
        wire: wireOf(endpoint),
        account: new Account(opened.call.startedAt, hold),
        subjects,
        caller,
        forAnthropic: llmDialect(opened.request) === "anthropic",
      });
    } catch (error) {
      admission?.release();
      throw error;
    } finally {
      this.#unanswered--;
    }
  }

  /** How the targets do that have failed lately. */
  states(): BreakerState[] {
    return this.#needs.breakers.states();
  }

  /** A new configuration is in force. */
  reconfigured(): void {
    this.#needs.breakers.forgetChanged();
  }

  /** Ends the calls under way of a user, client, key or token that was revoked. */
  cut(subject: string): void {
    const failure = new Failure(
      "unauthenticated",
      "unauthenticated",
      "The credential of this call was revoked.",
    );
    this.#needs.watch.giveUp(failure, subject);
  }

  /** Lets nobody in, waits for the calls under way, and ends those that are still open after `milliseconds`. */
  async drain(milliseconds: number): Promise<void> {
    const { watch } = this.#needs;
    this.admittance.close();
    const deadline = performance.now() + milliseconds;
    while (this.#unanswered + watch.size > 0 && performance.now() < deadline) await Bun.sleep(20);
    this.#isOver = true;
    watch.giveUp(shuttingDown());
    await watch.emptied(countingMs);
    if (watch.size === 0) return;
    this.#needs.guess();
    await watch.emptied(writingMs);
  }

  /** Of the route, who keeps what the call refers to, for this very owner. */
  async #keepers(route: Route, { principal }: OpenedBy, { asked, attribution }: Admission): Promise<Route> {
    const owner = ownerOf({ project_id: attribution.projectId, principal: principal.id });
    const keepers = await this.#needs.states.findProviders(asked.keptIds, owner);
    const targets = route.targets.filter(({ provider }) => keepers.has(provider));
    const fallbacks = route.fallbacks.filter(({ provider }) => keepers.has(provider));
    if (targets.length + fallbacks.length > 0) return { ...route, targets, fallbacks };
    throw new Failure(
      "invalid",
      "provider_state_refused",
      "The call refers to what a provider keeps, and this gateway has not recorded it for this project and model. Send the whole conversation instead.",
    );
  }

  /** Sets the worst case aside, before anything is written or sent. Throws the 429, or `price_unknown`. */
  async #hold(
    route: Route,
    subjects: Subjects,
    caller: Caller,
    { call }: OpenedBy,
    { asked }: Admission,
  ): Promise<{ route: Route; hold: Hold | null }> {
    const { holds, watch, prices } = this.#needs;
    const [apart] = asked.pricedApart;
    if (apart !== undefined) throw pricedApart(apart);
    if (asked.boughtBeside !== null) throw boughtBeside(asked.boughtBeside);
    const bounded = worstCase(asked, route, prices);
    if (bounded === null) throw priceUnknown(asked.model);
    const { nano } = bounded;
    const taken = holds.take({ req: call.id, subjects, nano, before: 0 });
    const periods = await new Rest(watch, caller).outlast(taken).catch((error: unknown) => {
      // Whoever left meanwhile leaves no money behind; what was refused has none.
      void taken.then(
        () => holds.drop(call.id),
        () => {},
      );
      throw error;
    });
    if (periods.length === 0) return { route, hold: null };
    return { route: bounded.route, hold: { nano, periods } };
  }
}

function subjectsOf({ principal }: OpenedBy, { attribution }: Admission): Subjects {
  return {
    user_id: principal.userId,
    client_id: principal.clientId,
    key_id: principal.keyId,
    project_id: attribution.projectId,
  };
}

/** Asked at each tick instead of listened to: most calls are over before the first one. */
function callerOf({ principal, request, call }: OpenedBy, { attribution }: Admission): Caller {
  const { projectId } = attribution;
  return {
    // A person's part in the project that is charged may end too, though the credential is bound to none.
    isEndedBy: (subject) =>
      isEndedBy(principal, subject) ||
      (projectId !== null && isEndedBy({ ...principal, projectId }, subject)),
    hasLeft: () => request.signal.aborted,
    stayOpen: call.stayOpen,
  };
}

const pricedApart = (key: string): Failure => {
  const message = `\`${key}\` asks for another price than the model's own, and a hard budget applies to this call. Leave it out.`;
  return new Failure("price", "price_unknown", message, {
    errors: [{ path: key, code: "price_unknown", message }],
  });
};

const boughtBeside = ({ path, name }: BoughtBeside): Failure => {
  const hint = name === "web_search" ? ' In Codex, `web_search = "disabled"` in config.toml does that.' : "";
  const message = `\`${name}\` costs something beside the model's tokens, and a hard budget applies to this call. Leave it out.${hint}`;
  return new Failure("price", "price_unknown", message, {
    errors: [{ path, code: "price_unknown", message }],
  });
};

const priceUnknown = (model: string): Failure =>
  new Failure(
    "price",
    "price_unknown",
    `The price of \`${model.slice(0, 200)}\` is not known, and a hard budget applies to this call. A price in specgate.yaml or by PUT /api/v1/prices would let it pass.`,
  );
