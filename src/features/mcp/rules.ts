/**
 * One policy, ready to decide: what its rules say about a tool's name alone, and about a call of it.
 *
 * Every rule that denies is asked before any that allows, and what no rule allows is denied. A policy that cannot be read
 * allows nothing: an older gateway must not overlook what a newer one wrote.
 */
import { z } from "zod";
import { sha256 } from "../../platform/digest.ts";
import { compileToolGlobs } from "../../platform/tool-glob.ts";
import { type Arguments, type CompiledCondition, compileCondition } from "./conditions.ts";
import { type Rule, ruleForm } from "./contract.ts";

export type StoredPolicy = {
  readonly principal: string;
  readonly revision: number;
  readonly rules: readonly unknown[];
};

export type CompiledPolicy = {
  readonly principal: string;
  readonly revision: number;
  readonly rules: readonly Rule[];
  /** By the name alone: what decides about it, whatever the arguments are. */
  look(name: string): Look;
};

/** The rules about one tool; `hiddenBy` when no arguments could be allowed. */
export type Look = {
  readonly hiddenBy: string | null;
  readonly denies: readonly CompiledRule[];
  readonly allows: readonly CompiledRule[];
};

export type CompiledRule = {
  /** Whose policy it stands in. */
  readonly policy: string;
  /** Such as `usr_… rule 3: deny github__*`. */
  readonly text: string;
  readonly effect: Rule["effect"];
  readonly names: (name: string) => boolean;
  readonly conditions: readonly CompiledCondition[];
  /** The same for as long as the rule says the same about the same, wherever it stands and whatever its numbers are. */
  readonly key: string;
  readonly requestsPerMinute: number | null;
  readonly resultBytesMax: number | null;
};

/** Null for a policy that was taken away. */
export function compilePolicy({ principal, revision, rules }: StoredPolicy): CompiledPolicy | null {
  if (rules.length === 0) return null;
  const parsed = z.array(ruleForm).safeParse(rules);
  if (!parsed.success) {
    const look = { hiddenBy: `${principal} revision ${revision} cannot be read`, denies: [], allows: [] };
    return { principal, revision, rules: [], look: () => look };
  }
  const compiled = parsed.data.map((rule, at) => compileRule(principal, rule, at + 1));
  const looks = new Map<string, Look>();
  return {
    principal,
    revision,
    rules: parsed.data,
    look(name) {
      const known = looks.get(name);
      if (known !== undefined) return known;
      // Names come from the catalogue, but upstreams may change theirs for ever.
      if (looks.size >= namesMax) looks.clear();
      const look = lookAt(principal, compiled, name);
      looks.set(name, look);
      return look;
    },
  };
}

const namesMax = 4_096;

function compileRule(principal: string, rule: Rule, number: number): CompiledRule {
  const { effect, tool, args = [], requests_per_minute = null, result_bytes_max = null } = rule;
  const said = JSON.stringify([tool, args.map(({ path, op, value }) => [path, op, value])]);
  return {
    policy: principal,
    text: `${principal.slice(0, 80)} rule ${number}: ${effect} ${tool}`,
    effect,
    names: compileToolGlobs([tool]),
    conditions: args.map(compileCondition),
    key: `${principal} ${Buffer.from(sha256(said)).toString("hex", 0, 12)}`,
    requestsPerMinute: requests_per_minute,
    resultBytesMax: result_bytes_max,
  };
}

function lookAt(principal: string, rules: readonly CompiledRule[], name: string): Look {
  const about = rules.filter((rule) => rule.names(name));
  const denies = about.filter(({ effect }) => effect === "deny");
  const allows = about.filter(({ effect }) => effect === "allow");
  const always = denies.find(({ conditions }) => conditions.length === 0);
  const nothing = allows.length === 0 ? `${principal.slice(0, 80)}: no rule allows it` : null;
  return { hiddenBy: always?.text ?? nothing, denies, allows };
}

export type PolicyVerdict =
  | { readonly isAllowed: true; readonly by: readonly CompiledRule[] }
  | { readonly isAllowed: false; readonly rule: string };

/** About a tool that `look` does not hide. */
export function judgeCall(
  { principal }: CompiledPolicy,
  { denies, allows }: Look,
  args: Arguments,
): PolicyVerdict {
  const denied = denies.find(({ conditions }) => conditions.every((condition) => args.mayMeet(condition)));
  if (denied !== undefined) return { isAllowed: false, rule: denied.text };
  const by = allows.filter(({ conditions }) => conditions.every((condition) => args.meets(condition)));
  if (by.length > 0) return { isAllowed: true, by };
  return { isAllowed: false, rule: `${principal.slice(0, 80)}: no rule allows these arguments` };
}
