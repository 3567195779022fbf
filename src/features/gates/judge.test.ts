import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { checkKinds, checkStatuses, policyForm } from "./contract.ts";
import { type Evidence, judge, type LatestCheck } from "./judge.ts";
import { type Policy, usualPolicy } from "./policy.ts";

const now = new Date("2026-05-01T12:00:00Z");
const commit = "0123abc";
const check = (given: Partial<LatestCheck>): LatestCheck => ({
  id: "chk_1",
  kind: "test",
  name: null,
  status: "passed",
  percent: null,
  commitSha: commit,
  ...given,
});
const allPassed: Evidence = {
  counts: { done: 2, cancelled: 1 },
  checks: [check({}), check({ kind: "coverage", percent: 80 }), check({ kind: "security" })],
  commitSha: commit,
  waivers: [],
  now,
};
const gate = (name: string, evidence: Partial<Evidence>, policy: Policy = usualPolicy) =>
  judge(policy, { ...allPassed, ...evidence }).checks.find((one) => one.name === name);

describe("a verdict", () => {
  test("passes what has every proof", () => {
    expect(judge(usualPolicy, allPassed)).toEqual({
      ok: true,
      checks: [
        {
          name: "tasks",
          ok: true,
          code: "passed",
          details: { minimum: 1, counts: { planned: 0, doing: 0, blocked: 0, done: 2, cancelled: 1 } },
        },
        { name: "tests", ok: true, code: "passed", details: { check_id: "chk_1" } },
        {
          name: "coverage",
          ok: true,
          code: "passed",
          details: { check_id: "chk_1", percent: 80, percent_min: 80 },
        },
        { name: "security", ok: true, code: "passed", details: { check_id: "chk_1" } },
      ],
    });
  });

  test("passes nothing for lack of evidence", () => {
    const { ok, checks } = judge(usualPolicy, { ...allPassed, counts: {}, checks: [] });
    expect([ok, checks.map(({ code }) => code)]).toEqual([
      false,
      ["too_few_tasks", "check_missing", "check_missing", "check_missing"],
    ]);
  });

  test("says what is wrong with the tasks", () => {
    const zeros = { planned: 0, doing: 0, blocked: 0, done: 0, cancelled: 0 };
    const rows: [Evidence["counts"], string][] = [
      [{}, "too_few_tasks"],
      [{ cancelled: 9 }, "too_few_tasks"],
      [{ done: 1, planned: 1 }, "tasks_open"],
      [{ done: 1, doing: 1 }, "tasks_open"],
      [{ done: 1, blocked: 1 }, "tasks_open"],
      [{ done: 1, cancelled: 1 }, "passed"],
    ];
    for (const [counts, code] of rows)
      expect(gate("tasks", { counts })).toMatchObject({
        code,
        ok: code === "passed",
        details: { minimum: 1, counts: { ...zeros, ...counts } },
      });
    const three = { ...usualPolicy, tasks: { required: true, minimum: 3 } };
    expect(gate("tasks", { counts: { done: 2, cancelled: 5 } }, three)?.code).toBe("too_few_tasks");
    expect(gate("tasks", { counts: { done: 3 } }, three)?.code).toBe("passed");
  });

  test("says what is wrong with a check", () => {
    const rows: [string, Partial<LatestCheck>, string, object][] = [
      ["tests", { status: "failed" }, "check_failed", { status: "failed" }],
      ["tests", { status: "error" }, "check_failed", { status: "error" }],
      ["tests", { status: "skipped" }, "check_failed", { status: "skipped" }],
      [
        "tests",
        { commitSha: "0123abcd" },
        "commit_mismatch",
        { commit_sha: commit, check_commit_sha: "0123abcd" },
      ],
      ["tests", { commitSha: null }, "commit_mismatch", { commit_sha: commit, check_commit_sha: null }],
      ["coverage", { kind: "coverage" }, "percent_missing", { percent_min: 80 }],
      [
        "coverage",
        { kind: "coverage", percent: 79.999 },
        "percent_low",
        { percent: 79.999, percent_min: 80 },
      ],
    ];
    for (const [name, given, code, details] of rows)
      expect(gate(name, { checks: [check(given)] })).toEqual({
        name,
        ok: false,
        code: code as "passed",
        details: { check_id: "chk_1", ...details },
      });
    expect(gate("tests", { commitSha: null, checks: [check({ commitSha: null })] })?.code).toBe("passed");
  });

  test("does not ask for what is not required", () => {
    const lenient = policyForm.parse({
      tasks: { required: false },
      tests: { required: false },
      coverage: { required: false },
      security: { required: false },
      custom: [{ name: "licences", required: false }],
    });
    const { ok, checks } = judge(lenient, { ...allPassed, counts: {}, checks: [] });
    expect([ok, checks.map(({ name, code }) => `${name} ${code}`)]).toEqual([
      true,
      ["tasks", "tests", "coverage", "security", "licences"].map((name) => `${name} not_required`),
    ]);
  });

  test("takes lint for the gate of that name, and custom checks for the others", () => {
    const policy = policyForm.parse({ custom: ["lint", "__proto__"] });
    const named = check({ kind: "custom", name: "__proto__", id: "chk_2" });
    expect(gate("lint", { checks: [check({ kind: "lint" })] }, policy)?.code).toBe("passed");
    expect(gate("lint", { checks: [check({ kind: "custom", name: "lint" })] }, policy)).toMatchObject({
      code: "check_missing",
      details: { kind: "lint", name: null },
    });
    expect(gate("__proto__", { checks: [named] }, policy)?.code).toBe("passed");
    expect(gate("__proto__", {}, policy)?.code).toBe("check_missing");
  });

  test("lets a waiver stand in for one gate until its end, and keeps what failed", () => {
    const waiver = {
      id: "wvr_1",
      gate: "tests",
      expiresAt: new Date("2026-05-01T12:00:00.001Z"),
      revokedAt: null,
    };
    const failing = { checks: [check({ status: "failed" })] };
    expect(gate("tests", { ...failing, waivers: [waiver] })).toEqual({
      name: "tests",
      ok: true,
      code: "waived",
      details: { code: "check_failed", check_id: "chk_1", status: "failed" },
      waived_by: "wvr_1",
    });
    expect(gate("tests", { waivers: [waiver] })?.code).toBe("passed");
    for (const over of [{ expiresAt: now }, { revokedAt: now }, { gate: "security" }])
      expect(gate("tests", { ...failing, waivers: [{ ...waiver, ...over }] })?.code).toBe("check_failed");
  });
});

describe("whatever is found", () => {
  const commits = fc.constantFrom(null, "aaaaaaa", "bbbbbbb");
  const statuses = fc.constantFrom("planned", "doing", "blocked", "done", "cancelled");
  const names = ["licences", "lint", "tests-again"];
  const policies = fc
    .record({
      tasks: fc.record({ required: fc.boolean(), minimum: fc.integer({ min: 1, max: 3 }) }),
      tests: fc.record({ required: fc.boolean() }),
      coverage: fc.record({ required: fc.boolean(), percent_min: fc.constantFrom(0, 50, 80, 100) }),
      security: fc.record({ required: fc.boolean() }),
      custom: fc.uniqueArray(fc.record({ name: fc.constantFrom(...names), required: fc.boolean() }), {
        selector: ({ name }) => name,
      }),
    })
    .map((policy) => policyForm.parse(policy));
  const found = fc
    .record({
      kind: fc.constantFrom(...checkKinds),
      name: fc.constantFrom(...names),
      status: fc.constantFrom("passed" as const, "passed" as const, ...checkStatuses),
      percent: fc.constantFrom(null, 0, 49.9, 80, 100),
      commitSha: commits,
    })
    .map((one) => ({ ...one, name: one.kind === "custom" ? one.name : null }));
  const waivers = fc.array(
    fc.record({
      gate: fc.constantFrom("tasks", "tests", "coverage", "security", ...names),
      seconds: fc.integer({ min: -2, max: 2 }),
      revokedAt: fc.constantFrom(null, null, now),
    }),
  );

  test("is judged as the contract says", () => {
    fc.assert(
      fc.property(
        policies,
        fc.array(statuses, { maxLength: 6 }),
        fc.array(found, { maxLength: 12 }),
        commits,
        waivers,
        (policy, tasks, history, commitSha, given) => {
          const terms = given.map(({ seconds, ...waiver }, index) => ({
            ...waiver,
            id: `wvr_${index}`,
            expiresAt: new Date(now.getTime() + seconds * 1_000),
          }));
          const counts = Object.fromEntries(
            tasks.map((status) => [status, tasks.filter((one) => one === status).length]),
          );
          const checks = history
            .map((one, index) => ({ ...one, id: `chk_${index}` }))
            .filter((one, index) => !history.slice(index + 1).some((later) => isSame(later, one)));
          const verdict = judge(policy, { counts, checks, commitSha, waivers: terms, now });

          const mayPass = (name: string, required: boolean): boolean =>
            !required ||
            isProved(name, { policy, tasks, history, commitSha }) ||
            terms.some(
              (waiver) => waiver.gate === name && waiver.revokedAt === null && waiver.expiresAt > now,
            );
          const asked: [string, boolean][] = [
            ["tasks", policy.tasks.required],
            ["tests", policy.tests.required],
            ["coverage", policy.coverage.required],
            ["security", policy.security.required],
            ...policy.custom.map(({ name, required }): [string, boolean] => [name, required]),
          ];
          expect(verdict.checks.map(({ name, ok }) => [name, ok])).toEqual(
            asked.map(([name, required]) => [name, mayPass(name, required)]),
          );
          expect(verdict.ok).toBe(asked.every(([name, required]) => mayPass(name, required)));
          for (const { ok, code, waived_by } of verdict.checks) {
            expect(ok).toBe(["not_required", "passed", "waived"].includes(code));
            expect(waived_by !== undefined).toBe(code === "waived");
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

type Found = Pick<LatestCheck, "kind" | "name" | "status" | "percent" | "commitSha">;
type World = { policy: Policy; tasks: string[]; history: Found[]; commitSha: string | null };

const isSame = (a: Found, b: Found): boolean => a.kind === b.kind && a.name === b.name;

/** Section 4 of the contract, sentence by sentence, over everything that was ever sent. */
function isProved(gate: string, { policy, tasks, history, commitSha }: World): boolean {
  if (gate === "tasks") {
    const alive = tasks.filter((status) => status !== "cancelled");
    return alive.length >= policy.tasks.minimum && alive.every((status) => status === "done");
  }
  const kind = { tests: "test", coverage: "coverage", security: "security", lint: "lint" }[gate] ?? "custom";
  const latest = history.findLast((one) => one.kind === kind && (kind !== "custom" || one.name === gate));
  if (latest?.status !== "passed" || latest.commitSha !== commitSha) return false;
  return gate !== "coverage" || (latest.percent !== null && latest.percent >= policy.coverage.percent_min);
}
