/**
 * The one decision about tools, for lists and calls alike: the gateway's ceiling ∩ every policy that the principal has,
 * by its own id, its app's or client's, and its key's.
 *
 * Each of them must allow, and a denial anywhere counts; a principal without a policy has the ceiling. A tool is seen
 * unless its name alone decides against it, or its scopes are beyond what the credential's registration could ever hold.
 */
import type { GatewayConfig } from "../../platform/config.ts";
import type { Principal } from "../../platform/principal.ts";
import type { Scope } from "../../platform/scopes.ts";
import { compileToolGlobs } from "../../platform/tool-glob.ts";
import { Arguments } from "./conditions.ts";
import type { Rule } from "./contract.ts";
import type { KnownPolicies, Policies } from "./known-policies.ts";
import { type CompiledRule, judgeCall } from "./rules.ts";

/** What is decided about. */
export type Judged = {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Left out for what is there for everybody. */
  readonly isOffered?: ((principal: Principal) => boolean) | undefined;
};

export type Sight = { readonly isVisible: boolean; readonly rule: string | null };

export type CallVerdict =
  | {
      readonly verdict: "allowed";
      readonly rule: string | null;
      /** The least of all rules that matched; null for the gateway's own limit. */
      readonly resultBytesMax: number | null;
      /** Each is counted by itself, under its key. */
      readonly rates: readonly { readonly key: string; readonly requestsPerMinute: number }[];
    }
  | { readonly verdict: "hidden" | "denied"; readonly rule: string | null; readonly message: string };

/** What holds for one principal at one moment. */
export type Judge = {
  readonly revisions: Readonly<Record<string, number>>;
  /** Whether the tool is there at all, as far as the caller may know; a list shows exactly what this says. */
  sees(tool: Judged): Sight;
  /** Whether it may be called with these arguments. `hidden` for exactly what `sees` does not see. */
  judge(tool: Judged, args: unknown): CallVerdict;
};

/** What the judge goes by, for whoever wants to read it. */
export type RuleBook = {
  readonly ceiling: { readonly allow: readonly string[]; readonly deny: readonly string[] };
  readonly policies: readonly {
    readonly principal: string;
    readonly revision: number;
    readonly rules: readonly Rule[];
  }[];
};

export type AllowlistNeeds = { gateway: () => GatewayConfig; known: KnownPolicies };

type CeilingConfig = GatewayConfig["mcp"];
type Kept = { readonly ceiling: CeilingConfig; readonly policies: Policies; readonly judge: PolicyJudge };

export class Allowlist {
  readonly #needs: AllowlistNeeds;
  readonly #judges = new WeakMap<Principal, Kept>();
  #ceiling: { config: CeilingConfig; hiddenBy: (name: string) => string | null } | null = null;

  constructor(needs: AllowlistNeeds) {
    this.#needs = needs;
  }

  /** At once when its policies are known here already. Throws 503 when they cannot be. */
  for(principal: Principal): Judge | Promise<Judge> {
    const policies = this.#policiesOf(principal);
    if (!(policies instanceof Promise)) return this.#judge(principal, policies);
    return policies.then((read) => this.#judge(principal, read));
  }

  /** Throws 503 as `for` does. */
  async rulesFor(principal: Principal): Promise<RuleBook> {
    const { allow, deny } = this.#needs.gateway().mcp;
    const policies = await this.#policiesOf(principal);
    return {
      ceiling: { allow, deny },
      policies: policies.map(({ principal: id, revision, rules }) => ({ principal: id, revision, rules })),
    };
  }

  #policiesOf(principal: Principal): Policies | Promise<Policies> {
    const ids = idsOf(principal);
    return this.#needs.known.find(ids) ?? this.#needs.known.read(ids);
  }

  #judge(principal: Principal, policies: Policies): PolicyJudge {
    const config = this.#needs.gateway().mcp;
    const kept = this.#judges.get(principal);
    if (kept !== undefined && kept.ceiling === config && areSame(kept.policies, policies)) return kept.judge;
    // A reload of the file makes another object of it.
    if (this.#ceiling?.config !== config) this.#ceiling = { config, hiddenBy: ceilingOf(config) };
    const judge = new PolicyJudge(principal, this.#ceiling.hiddenBy, policies);
    this.#judges.set(principal, { ceiling: config, policies, judge });
    return judge;
  }
}

const areSame = (some: Policies, others: Policies): boolean =>
  some.length === others.length && some.every((policy, at) => policy === others[at]);

/** What a policy may be written for, of this caller. */
const idsOf = ({ id, clientId, keyId }: Principal): string[] =>
  [...new Set([id, clientId, keyId])].filter((one) => one !== null);

function ceilingOf({ allow, deny }: CeilingConfig): (name: string) => string | null {
  const allowed = compileToolGlobs(allow);
  const denied = deny.map((glob) => ({ glob, names: compileToolGlobs([glob]) }));
  return (name) => {
    const by = denied.find(({ names }) => names(name));
    if (by !== undefined) return `ceiling deny ${by.glob}`;
    return allowed(name) ? null : "ceiling: nothing allows it";
  };
}

const noSuchTool = "There is no such tool.";

class PolicyJudge implements Judge {
  readonly revisions: Readonly<Record<string, number>>;
  readonly #principal: Principal;
  readonly #hiddenByCeiling: (name: string) => string | null;
  readonly #policies: Policies;
  /** By name: a list asks about the whole catalogue each time. */
  readonly #hidden = new Map<string, string | null>();

  constructor(principal: Principal, hiddenByCeiling: (name: string) => string | null, policies: Policies) {
    this.#principal = principal;
    this.#hiddenByCeiling = hiddenByCeiling;
    this.#policies = policies;
    this.revisions = Object.fromEntries(policies.map(({ principal, revision }) => [principal, revision]));
  }

  sees({ name, scopes, isOffered }: Judged): Sight {
    const rule = this.#hiddenBy(name) ?? this.#beyondReach(scopes);
    if (rule !== null) return { isVisible: false, rule };
    const isVisible = isOffered?.(this.#principal) ?? true;
    return { isVisible, rule: isVisible ? null : "not offered to this caller" };
  }

  judge(tool: Judged, args: unknown): CallVerdict {
    const { isVisible, rule } = this.sees(tool);
    if (!isVisible) return { verdict: "hidden", rule, message: noSuchTool };
    const looked = new Arguments(args);
    const by: CompiledRule[] = [];
    for (const policy of this.#policies) {
      const verdict = judgeCall(policy, policy.look(tool.name), looked);
      if (!verdict.isAllowed)
        return { verdict: "denied", rule: verdict.rule, message: deniedFor(tool.name, verdict.rule) };
      by.push(...verdict.by);
    }
    return {
      verdict: "allowed",
      rule: this.#policies.length === 0 ? "ceiling" : textOf(by),
      resultBytesMax: least(by.map(({ resultBytesMax }) => resultBytesMax)),
      rates: ratesOf(by),
    };
  }

  #hiddenBy(name: string): string | null {
    const known = this.#hidden.get(name);
    if (known !== undefined) return known;
    let rule = this.#hiddenByCeiling(name);
    for (const policy of this.#policies) rule ??= policy.look(name).hiddenBy;
    if (this.#hidden.size >= namesMax) this.#hidden.clear();
    this.#hidden.set(name, rule);
    return rule;
  }

  #beyondReach(scopes: readonly Scope[]): string | null {
    const beyond = scopes.filter((scope) => !this.#principal.reach.has(scope));
    return beyond.length === 0 ? null : `beyond reach: ${beyond.join(" ")}`;
  }
}

const namesMax = 4_096;

const deniedFor = (name: string, rule: string): string =>
  `\`${name}\` may not be called with these arguments (${rule}). \`whoami\` shows the rules.`;

/** The first of each policy says enough. */
function textOf(by: readonly CompiledRule[]): string {
  const firsts = by.filter(({ policy }, at) => by[at - 1]?.policy !== policy);
  return firsts.map(({ text }) => text).join("; ");
}

const least = (numbers: readonly (number | null)[]): number | null => {
  const set = numbers.filter((number) => number !== null);
  return set.length === 0 ? null : Math.min(...set);
};

function ratesOf(by: readonly CompiledRule[]) {
  const rates = new Map<string, number>();
  for (const { key, requestsPerMinute } of by) {
    if (requestsPerMinute === null) continue;
    rates.set(key, Math.min(requestsPerMinute, rates.get(key) ?? requestsPerMinute));
  }
  return [...rates].map(([key, requestsPerMinute]) => ({ key, requestsPerMinute }));
}
