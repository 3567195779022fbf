/**
 * The verdict: whether a piece of work is done, gate by gate. A pure function of what was found at one moment.
 *
 * Nothing passes for lack of evidence: no task, no check, a check of another commit, each fails its gate. A waiver lets a
 * failed gate pass and is named for it; what failed stays readable beside it.
 */
import type { CheckKind, CheckStatus } from "./contract.ts";
import { gatesOf, type Policy } from "./policy.ts";

type TaskStatus = "planned" | "doing" | "blocked" | "done" | "cancelled";

/** What there is to judge by, all of it as of `now`. */
export type Evidence = {
  /** The session's tasks; a status that nothing has may be left out. */
  readonly counts: Readonly<Partial<Record<TaskStatus, number>>>;
  /** The iteration's latest check of each kind and name, whatever its commit. */
  readonly checks: readonly LatestCheck[];
  /** The iteration's. */
  readonly commitSha: string | null;
  /** The iteration's; where several count for one gate, the first of them is named. */
  readonly waivers: readonly (WaiverTerm & { readonly id: string; readonly gate: string })[];
  readonly now: Date;
};

export type LatestCheck = {
  readonly id: string;
  readonly kind: CheckKind;
  readonly name: string | null;
  readonly status: CheckStatus;
  readonly percent: number | null;
  readonly commitSha: string | null;
};

export type WaiverTerm = { readonly expiresAt: Date; readonly revokedAt: Date | null };

export type Code =
  | "not_required"
  | "passed"
  | "waived"
  | "too_few_tasks"
  | "tasks_open"
  | "check_missing"
  | "check_failed"
  | "commit_mismatch"
  | "percent_missing"
  | "percent_low";

type Finding = { ok: boolean; code: Code; details: Record<string, unknown> };
export type JudgedGate = Finding & { name: string; waived_by?: string };

export function judge(policy: Policy, evidence: Evidence): { ok: boolean; checks: JudgedGate[] } {
  const checks = gatesOf(policy).map(({ name, required }): JudgedGate => {
    if (!required) return { name, ok: true, code: "not_required", details: {} };
    const found = findingOf(name, policy, evidence);
    return { name, ...(found.ok ? found : waive(name, found, evidence)) };
  });
  return { ok: checks.every(({ ok }) => ok), checks };
}

/** Neither revoked nor expired. */
export const isActive = ({ expiresAt, revokedAt }: WaiverTerm, now: Date): boolean =>
  revokedAt === null && expiresAt > now;

function findingOf(gate: string, policy: Policy, evidence: Evidence): Finding {
  if (gate === "tasks") return tasksFinding(policy.tasks.minimum, evidence.counts);
  const asked = checkOf(gate);
  const check = evidence.checks.find(({ kind, name }) => kind === asked.kind && name === asked.name);
  if (check === undefined) return failed("check_missing", { ...asked });
  const { id: check_id, status, percent } = check;
  if (status !== "passed") return failed("check_failed", { check_id, status });
  if (check.commitSha !== evidence.commitSha) {
    const commits = { commit_sha: evidence.commitSha, check_commit_sha: check.commitSha };
    return failed("commit_mismatch", { check_id, ...commits });
  }
  if (gate !== "coverage") return passed({ check_id });
  const { percent_min } = policy.coverage;
  if (percent === null) return failed("percent_missing", { check_id, percent_min });
  const numbers = { check_id, percent, percent_min };
  return percent < percent_min ? failed("percent_low", numbers) : passed(numbers);
}

function tasksFinding(minimum: number, counts: Evidence["counts"]): Finding {
  const { planned = 0, doing = 0, blocked = 0, done = 0, cancelled = 0 } = counts;
  const details = { minimum, counts: { planned, doing, blocked, done, cancelled } };
  const open = planned + doing + blocked;
  if (open + done < minimum) return failed("too_few_tasks", details);
  return open > 0 ? failed("tasks_open", details) : passed(details);
}

/** Which check a gate asks for. */
function checkOf(gate: string): { kind: CheckKind; name: string | null } {
  if (gate === "tests") return { kind: "test", name: null };
  if (gate === "coverage" || gate === "security" || gate === "lint") return { kind: gate, name: null };
  return { kind: "custom", name: gate };
}

function waive(gate: string, found: Finding, { waivers, now }: Evidence): Finding & { waived_by?: string } {
  const waiver = waivers.find((one) => one.gate === gate && isActive(one, now));
  if (waiver === undefined) return found;
  const details = { code: found.code, ...found.details };
  return { ok: true, code: "waived", details, waived_by: waiver.id };
}

const passed = (details: Finding["details"]): Finding => ({ ok: true, code: "passed", details });
const failed = (code: Code, details: Finding["details"]): Finding => ({ ok: false, code, details });
