import { describe, expect, test } from "bun:test";
import { and, eq } from "drizzle-orm";
import fc from "fast-check";
import { connect } from "../../db/connection.ts";
import { requireOpenSession } from "../../db/open-session.ts";
import { audit, checks, events, gateEvaluations, gatePolicies, tasks } from "../../db/schema.ts";
import { newId } from "../../platform/ids.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { startGateway } from "../../testing/gateway.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import { checkStatuses, type EvaluationView, type PolicyView } from "./contract.ts";
import type { JudgedGate } from "./judge.ts";
import { usualPolicy } from "./policy.ts";

const gateway = await startGateway();
const { robo, mallory, nobody } = gateway;
const { db } = gateway.database;
const { ada, olga, ed, vera, stranger } = await gateway.people();

type Made = { id: string };
type Version = { status: string; version: number };
type Page = { data: EvaluationView[]; next_cursor: string | null };
const newProject = () => ok<Made>(ada, "POST", "/projects", { name: "another" });

type Scene = { project: string; session: string; iteration: string; checks: string; evaluations: string };
async function newScene(commit_sha: string | null = null, project = robo.projectId): Promise<Scene> {
  const { id: session } = await ok<Made>(ada, "POST", `/projects/${project}/sessions`, { title: "Login" });
  const { id: iteration } = await ok<Made>(ada, "POST", `/sessions/${session}/iterations`, { commit_sha });
  const path = `/iterations/${iteration}`;
  return { project, session, iteration, checks: `${path}/checks`, evaluations: `${path}/gate-evaluations` };
}

async function addTask({ session }: Scene, status: string): Promise<string> {
  const task = { title: `task ${crypto.randomUUID()}`, status };
  const { data } = await ok<{ data: Made[] }>(ada, "PUT", `/sessions/${session}/tasks`, { tasks: [task] });
  return data[0]?.id ?? "";
}
const setTask = (id: string, status: string) => ok<Made>(ed, "PATCH", `/tasks/${id}`, { status });

const submit = (scene: Scene, check: object) =>
  ok<Made>(robo, "POST", scene.checks, { status: "passed", ...check });
async function submitAll(scene: Scene, commit_sha: string | null = null): Promise<void> {
  for (const check of [{ kind: "test" }, { kind: "coverage", percent: 80 }, { kind: "security" }])
    await submit(scene, { ...check, commit_sha });
}
const evaluate = (scene: Scene) =>
  ok<Omit<EvaluationView, "checks"> & { checks: JudgedGate[] }>(robo, "POST", scene.evaluations);
const codes = async (scene: Scene): Promise<Record<string, string>> =>
  Object.fromEntries((await evaluate(scene)).checks.map(({ name, code }) => [name, code]));

describe("a gate policy", () => {
  const pathOf = ({ id }: Made) => `/projects/${id}/gate-policy`;

  test("is the usual one at version 0 until somebody sets another", async () => {
    const project = await newProject();
    const usual = await call<PolicyView>(ada, "GET", pathOf(project));
    expect([usual.http, usual.headers.get("etag")]).toEqual([200, '"0"']);
    expect(usual.body).toEqual({
      project_id: project.id,
      policy: {
        tasks: { required: true, minimum: 1 },
        tests: { required: true },
        coverage: { required: true, percent_min: 80 },
        security: { required: true },
        custom: [],
      },
      updated_by: null,
      updated_at: null,
      version: 0,
    });
    const set = await call<PolicyView>(ada, "PUT", pathOf(project), {
      tasks: { minimum: 3 },
      coverage: { required: false },
      custom: ["lint", { name: "licences", required: false }, { name: "docs" }],
    });
    expect([set.http, set.headers.get("etag")]).toEqual([200, '"1"']);
    expect(set.body).toMatchObject({
      policy: {
        tasks: { required: true, minimum: 3 },
        tests: { required: true },
        coverage: { required: false, percent_min: 80 },
        security: { required: true },
        custom: [
          { name: "lint", required: true },
          { name: "licences", required: false },
          { name: "docs", required: true },
        ],
      },
      updated_by: ada.id,
      version: 1,
    });
    expect(await ok<PolicyView>(ada, "GET", pathOf(project))).toEqual(set.body);
    const reset = await ok<PolicyView>(ada, "PUT", pathOf(project), {});
    expect([reset.policy, reset.version]).toEqual([usualPolicy, 2]);
  });

  test("that is as it was already changes nothing", async () => {
    const project = await newProject();
    const first = await ok<PolicyView>(ada, "PUT", pathOf(project), {});
    expect(first.version).toBe(1);
    expect(await ok<PolicyView>(ada, "PUT", pathOf(project), { custom: [] })).toEqual(first);
    const told = await db
      .select()
      .from(events)
      .where(and(eq(events.projectId, project.id), eq(events.type, "gate_policy.updated")));
    expect(told.map(({ payload }) => payload)).toMatchObject([{ id: project.id, version: 1 }]);
    await ok(ada, "PUT", pathOf(project), { tasks: { minimum: 2 }, custom: ["lint"] });
    const recorded = await db
      .select()
      .from(audit)
      .where(and(eq(audit.projectId, project.id), eq(audit.action, "gate_policy.updated")))
      .orderBy(audit.id);
    expect(recorded.map(({ actor, details }) => [actor, details])).toEqual([
      [ada.id, { from: usualPolicy, to: usualPolicy }],
      [
        ada.id,
        {
          from: usualPolicy,
          to: {
            ...usualPolicy,
            tasks: { required: true, minimum: 2 },
            custom: [{ name: "lint", required: true }],
          },
        },
      ],
    ]);
  });

  test("is read by members, and set by the project's owners, people all of them", async () => {
    const path = pathOf({ id: robo.projectId });
    for (const who of [robo, ada, olga, ed, vera]) await ok(who, "GET", path);
    await ok(olga, "PUT", path, {});
    const rows = [
      [robo, "403 people_only"],
      [ed, "403 insufficient_role"],
      [vera, "403 insufficient_role"],
      [stranger, "404 not_found"],
      [nobody, "401 unauthenticated"],
    ] as const;
    for (const [who, answer] of rows)
      expect([who.id, await refused(who, "PUT", path, {})]).toEqual([who.id, answer]);
    for (const who of [mallory, stranger]) expect(await refused(who, "GET", path)).toBe("404 not_found");
  });

  test("refuses a bad body with every mistake named", async () => {
    const path = pathOf({ id: robo.projectId });
    const mistakes = async (body: object) => {
      const answered = await call<{ errors: { path: string }[] }>(olga, "PUT", path, body);
      return [answered.http, answered.body.errors.map((error) => error.path).sort()];
    };
    expect(
      await mistakes({
        tasks: { minimum: 0, maximum: 3 },
        tests: { required: "yes" },
        coverage: { percent_min: 101 },
        security: true,
        custom: ["tasks", "Two Words", { required: true }],
        colour: "red",
      }),
    ).toEqual([
      422,
      [
        "colour",
        "coverage.percent_min",
        "custom.0.name",
        "custom.1.name",
        "custom.2.name",
        "security",
        "tasks.maximum",
        "tasks.minimum",
        "tests.required",
      ],
    ]);
    expect(await mistakes({ tasks: { minimum: 10_001 } })).toEqual([422, ["tasks.minimum"]]);
    expect(await mistakes({ tasks: { minimum: 1.5 } })).toEqual([422, ["tasks.minimum"]]);
    expect(await mistakes({ custom: ["docs", { name: "docs" }] })).toEqual([422, ["custom"]]);
    expect(await mistakes({ custom: Array.from({ length: 51 }, (_, no) => `gate-${no}`) })).toEqual([
      422,
      ["custom"],
    ]);
  });

  test("is not set in an archived project", async () => {
    const project = await newProject();
    await ok(ada, "DELETE", `/projects/${project.id}`);
    expect(await refused(ada, "PUT", pathOf(project), {})).toBe("409 closed");
    expect((await ok<PolicyView>(ada, "GET", pathOf(project))).version).toBe(0);
  });

  test("is set over the version that was seen by one of many, the first one too", async () => {
    const project = await newProject();
    for (let version = 0; version < 5; version++) {
      const seen = { "if-match": `"${version}"` };
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, no) =>
          call<PolicyView>(ada, "PUT", pathOf(project), { tasks: { minimum: version * 100 + no + 1 } }, seen),
        ),
      );
      const won = answers.filter(({ http }) => http === 200);
      expect(won.map(({ body }) => body.version)).toEqual([version + 1]);
      expect(answers.filter(({ http }) => http === 412)).toHaveLength(11);
      expect(await ok<PolicyView>(ada, "GET", pathOf(project))).toEqual(won[0]?.body as PolicyView);
    }
    expect(await refused(ada, "PUT", pathOf(project), {}, { "if-match": '"4"' })).toBe("412 stale_version");
    const fresh = await newProject();
    expect(await refused(ada, "PUT", pathOf(fresh), {}, { "if-match": '"1"' })).toBe("412 stale_version");
    expect(await db.select().from(gatePolicies).where(eq(gatePolicies.projectId, fresh.id))).toEqual([]);
  });

  test("counts every change when nobody says what they saw", async () => {
    const project = await newProject();
    const all = await Promise.all(
      Array.from({ length: 10 }, (_, no) =>
        ok<PolicyView>(ada, "PUT", pathOf(project), { tasks: { minimum: no + 1 } }),
      ),
    );
    expect(all.map(({ version }) => version).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 10 }, (_, no) => no + 1),
    );
  });
});

describe("an evaluation", () => {
  test("is stored with the policy and what it found, whatever the verdict", async () => {
    const scene = await newScene("0123abc");
    const made = await call<EvaluationView>(robo, "POST", scene.evaluations, {});
    expect(made.http).toBe(201);
    expect(made.body).toMatchObject({
      id: expect.stringMatching(/^gev_[0-9a-f]{32}$/),
      project_id: robo.projectId,
      session_id: scene.session,
      iteration_id: scene.iteration,
      ok: false,
      commit_sha: "0123abc",
      policy: usualPolicy,
      created_by: robo.id,
    });
    await addTask(scene, "done");
    await submitAll(scene, "0123abc");
    const passed = await evaluate(scene);
    expect(passed.ok).toBe(true);
    await ok(robo, "POST", scene.evaluations, undefined, { "idempotency-key": "a" });
    await ok(robo, "POST", scene.evaluations, undefined, { "idempotency-key": "a" });
    const first = await ok<Page>(vera, "GET", `${scene.evaluations}?limit=2`);
    const rest = await ok<Page>(vera, "GET", `${scene.evaluations}?limit=2&cursor=${first.next_cursor}`);
    expect(first.data[1]).toEqual(passed);
    expect([rest.data, rest.next_cursor]).toEqual([[made.body], null]);
  });

  test("is told and recorded once", async () => {
    const scene = await newScene();
    await submit(scene, { kind: "test" });
    const { id } = await evaluate(scene);
    const told = await db
      .select()
      .from(events)
      .where(and(eq(events.sessionId, scene.session), eq(events.type, "gate_evaluation.created")));
    expect(told.map(({ payload }) => payload)).toEqual([
      { id, session_id: scene.session, iteration_id: scene.iteration, ok: false },
    ]);
    const recorded = await db.select().from(audit).where(eq(audit.subject, id));
    expect(recorded).toMatchObject([
      { action: "gate.evaluated", actor: robo.id, projectId: robo.projectId, sessionId: scene.session },
    ]);
    expect(recorded[0]?.details).toEqual({
      ok: false,
      iteration_id: scene.iteration,
      failed: ["tasks", "coverage", "security"],
      waived: [],
    });
  });

  test("is for editors and runners of the project, while its session is open", async () => {
    const scene = await newScene();
    await ok(ed, "POST", scene.evaluations);
    for (const who of [mallory, stranger]) {
      expect(await refused(who, "POST", scene.evaluations)).toBe("404 not_found");
      expect(await refused(who, "GET", scene.evaluations)).toBe("404 not_found");
    }
    expect(await refused(nobody, "POST", scene.evaluations)).toBe("401 unauthenticated");
    expect(await refused(vera, "POST", scene.evaluations)).toBe("403 insufficient_role");
    expect(await refused(robo, "POST", scene.evaluations, { force: true })).toBe("422 invalid_request");
    await ok(robo, "PATCH", `/sessions/${scene.session}`, { status: "failed" });
    expect(await refused(robo, "POST", scene.evaluations)).toBe("409 closed");
    const project = await newProject();
    const archived = await newScene(null, project.id);
    await ok(ada, "DELETE", `/projects/${project.id}`);
    expect(await refused(ada, "POST", archived.evaluations)).toBe("409 closed");
  });

  test("fails without tasks and checks, and passes when each is there", async () => {
    const scene = await newScene();
    const missing = { tests: "check_missing", coverage: "check_missing", security: "check_missing" };
    expect(await codes(scene)).toEqual({ tasks: "too_few_tasks", ...missing });
    await addTask(scene, "cancelled");
    expect(await codes(scene)).toEqual({ tasks: "too_few_tasks", ...missing });
    await addTask(scene, "done");
    const open = await addTask(scene, "doing");
    expect(await codes(scene)).toEqual({ tasks: "tasks_open", ...missing });
    await setTask(open, "done");
    await submitAll(scene);
    expect((await evaluate(scene)).ok).toBe(true);
  });

  test("takes checks of the iteration's own commit, and null for null alone", async () => {
    const scene = await newScene("0123abc");
    for (const commit_sha of ["0123abcd", "0123abb", null]) {
      await submit(scene, { kind: "test", commit_sha });
      expect((await codes(scene)).tests).toBe("commit_mismatch");
    }
    await submit(scene, { kind: "test", commit_sha: "0123abc" });
    expect((await codes(scene)).tests).toBe("passed");
    await ok(robo, "PATCH", `/iterations/${scene.iteration}`, { commit_sha: "4567def" });
    expect((await codes(scene)).tests).toBe("commit_mismatch");
    const without = await newScene();
    await submit(without, { kind: "test", commit_sha: "0123abc" });
    expect((await codes(without)).tests).toBe("commit_mismatch");
    await submit(without, { kind: "test" });
    expect((await codes(without)).tests).toBe("passed");
  });

  test("goes by the latest check of a kind: passed once is not passed now", async () => {
    const scene = await newScene();
    for (const status of ["failed", "error", "skipped"] as const) {
      await submit(scene, { kind: "test" });
      expect((await codes(scene)).tests).toBe("passed");
      const { id: check_id } = await submit(scene, { kind: "test", status });
      const [, tests] = (await evaluate(scene)).checks;
      expect(tests).toMatchObject({ ok: false, code: "check_failed", details: { check_id, status } });
    }
    await submit(scene, { kind: "security" });
    expect((await codes(scene)).tests).toBe("check_failed");
  });

  test("asks coverage for its percentage", async () => {
    const scene = await newScene();
    const rows = [
      [undefined, "percent_missing"],
      [79.99, "percent_low"],
      [80, "passed"],
      [0, "percent_low"],
    ] as const;
    for (const [percent, code] of rows) {
      await submit(scene, { kind: "coverage", percent });
      expect([percent, (await codes(scene)).coverage]).toEqual([percent, code]);
    }
  });

  test("asks the custom gates that the project has right now", async () => {
    const project = await newProject();
    const scene = await newScene(null, project.id);
    const submitHere = (check: object) => ok(ada, "POST", scene.checks, { status: "passed", ...check });
    const judged = async () => (await ok<{ checks: JudgedGate[] }>(ada, "POST", scene.evaluations)).checks;
    await ok(ada, "PUT", `/projects/${project.id}/gate-policy`, {
      tests: { required: false },
      custom: ["lint", "licences", { name: "docs", required: false }],
    });
    const code = async () => (await judged()).map((gate) => gate.code);
    const missing = "check_missing";
    expect(await code()).toEqual([
      "too_few_tasks",
      "not_required",
      missing,
      missing,
      missing,
      missing,
      "not_required",
    ]);
    await submitHere({ kind: "lint" });
    await submitHere({ kind: "custom", name: "docs" });
    expect((await code()).slice(4)).toEqual(["passed", missing, "not_required"]);
    await submitHere({ kind: "custom", name: "licences" });
    expect((await code()).slice(4)).toEqual(["passed", "passed", "not_required"]);
    await submitHere({ kind: "custom", name: "licences", status: "failed" });
    await submitHere({ kind: "custom", name: "docs" });
    expect((await code()).slice(4)).toEqual(["passed", "check_failed", "not_required"]);
    await ok(ada, "PUT", `/projects/${project.id}/gate-policy`, {});
    expect((await judged()).map(({ name }) => name)).toEqual(["tasks", "tests", "coverage", "security"]);
  });

  test("finds the latest of each kind and name, whatever was sent before", async () => {
    const project = await newProject();
    await ok(ada, "PUT", `/projects/${project.id}/gate-policy`, { custom: ["lint", "docs", "licences"] });
    const sent = fc.record({
      gate: fc.constantFrom("tests", "security", "lint", "docs", "licences"),
      status: fc.constantFrom(...checkStatuses),
    });
    const kinds: Record<string, object> = {
      tests: { kind: "test" },
      security: { kind: "security" },
      lint: { kind: "lint" },
    };
    await fc.assert(
      fc.asyncProperty(fc.array(sent, { maxLength: 10 }), async (history) => {
        const scene = await newScene(null, project.id);
        for (const { gate, status } of history)
          await ok(ada, "POST", scene.checks, { ...(kinds[gate] ?? { kind: "custom", name: gate }), status });
        const { checks } = await ok<{ checks: JudgedGate[] }>(ada, "POST", scene.evaluations);
        for (const { name, code, details } of checks.filter(
          (one) => !["tasks", "coverage"].includes(one.name),
        )) {
          const latest = history.findLast(({ gate }) => gate === name)?.status;
          const failing = latest === undefined ? "check_missing" : "check_failed";
          expect([name, code]).toEqual([name, latest === "passed" ? "passed" : failing]);
          if (code === "check_failed") expect(details.status).toBe(latest);
        }
      }),
      { numRuns: 12 },
    );
  });

  test("looks at everything at one moment, also while others write", async () => {
    const scene = await newScene();
    const task = await addTask(scene, "doing");
    await submitAll(scene);
    const home = { projectId: scene.project, sessionId: scene.session, iterationId: scene.iteration };
    // The task is open, or the tests fail: one of both at every moment.
    const swap = (isDone: boolean): Promise<void> =>
      gateway.database.transaction(async (tx) => {
        await requireOpenSession(tx, scene.session);
        const status = isDone ? "failed" : "passed";
        const check = { ...home, id: newId("chk"), kind: "test", status, createdBy: robo.id } as const;
        await tx.insert(checks).values(check);
        await tx
          .update(tasks)
          .set({ status: isDone ? "done" : "doing" })
          .where(eq(tasks.id, task));
      });
    let isOver = false;
    const swaps = (async () => {
      for (let no = 0; !isOver; no++) await swap(no % 2 === 0);
    })();
    const judges = Array.from({ length: 4 }, async () => {
      for (let no = 0; no < 20; no++) expect((await evaluate(scene)).ok).toBe(false);
    });
    await Promise.all(judges).finally(() => {
      isOver = true;
      return swaps;
    });
  });

  test("is changed by nobody, not even by the owner of the table", async () => {
    const scene = await newScene();
    const { id } = await evaluate(scene);
    const mine = eq(gateEvaluations.id, id);
    const denied = /permission denied/;
    await expect(db.update(gateEvaluations).set({ ok: true }).where(mine).execute()).rejects.toThrow(denied);
    await expect(db.delete(gateEvaluations).where(mine).execute()).rejects.toThrow(denied);
    const { owner, drop } = await testDatabase();
    const settings = {
      applicationName: "owner",
      prepare: false,
      connectionsMax: 1,
      statementTimeoutMs: null,
    };
    const hands = connect(owner, settings);
    for (const table of ["gate_evaluations", "checks"])
      for (const deed of [`update ${table} set id = 'x'`, `delete from ${table}`, `truncate ${table}`])
        await expect(Promise.resolve(hands.unsafe(deed))).rejects.toThrow(/append-only/);
    await hands.end({ timeout: 5 });
    await drop();
  });
});

describe("what is not done", () => {
  type Problem = { code: string; evaluation: EvaluationView & { checks: JudgedGate[] } };
  const stored = (session: string) =>
    db.select().from(gateEvaluations).where(eq(gateEvaluations.sessionId, session));

  test("lets no iteration pass, and the verdict stays though nothing else does", async () => {
    const scene = await newScene("0123abc");
    const path = `/iterations/${scene.iteration}`;
    const before = await ok<Version>(robo, "GET", path);
    const answered = await call<Problem>(robo, "PATCH", path, { status: "passed", commit_sha: "4567def" });
    expect([answered.http, answered.body.code]).toEqual([409, "gate_failed"]);
    const { evaluation } = answered.body;
    // Judged as what it would have become.
    expect(evaluation).toMatchObject({ ok: false, commit_sha: "4567def", iteration_id: scene.iteration });
    expect(evaluation.checks.map(({ code }) => code)).toEqual([
      "too_few_tasks",
      "check_missing",
      "check_missing",
      "check_missing",
    ]);
    expect(await ok<Version>(robo, "GET", path)).toEqual(before);
    expect((await ok<Page>(vera, "GET", scene.evaluations)).data).toEqual([evaluation]);
    const recorded = await db.select().from(audit).where(eq(audit.subject, evaluation.id));
    expect(recorded.map(({ action }) => action)).toEqual(["gate.evaluated"]);
  });

  test("lets no session be completed, with or without an iteration", async () => {
    const { id: empty } = await ok<Made>(robo, "POST", `/projects/${robo.projectId}/sessions`, {
      title: "nothing yet",
    });
    const refusal = await call<Problem>(robo, "PATCH", `/sessions/${empty}`, { status: "completed" });
    expect([refusal.http, refusal.body.code]).toEqual([409, "gate_failed"]);
    expect(refusal.body.evaluation).toMatchObject({ ok: false, iteration_id: null, commit_sha: null });
    expect((await stored(empty)).map(({ id }) => id)).toEqual([refusal.body.evaluation.id]);
    expect(await ok<Version>(robo, "GET", `/sessions/${empty}`)).toMatchObject({
      status: "open",
      version: 1,
    });
  });

  test("becomes done once every gate is passed, and the verdict says so", async () => {
    const scene = await newScene("0123abc");
    await addTask(scene, "done");
    await submitAll(scene, "0123abc");
    const passed = await ok<Version>(robo, "PATCH", `/iterations/${scene.iteration}`, { status: "passed" });
    expect(passed).toMatchObject({ status: "passed", version: 2 });
    const done = await ok<Version>(robo, "PATCH", `/sessions/${scene.session}`, { status: "completed" });
    expect(done).toMatchObject({ status: "completed", version: 2 });
    expect((await stored(scene.session)).map(({ ok: isOk }) => isOk)).toEqual([true, true]);
  });

  test("stops a completion when a task was opened again after the iteration had passed", async () => {
    const scene = await newScene();
    const task = await addTask(scene, "done");
    await submitAll(scene);
    await ok(robo, "PATCH", `/iterations/${scene.iteration}`, { status: "passed" });
    await setTask(task, "doing");
    const refusal = await call<Problem>(robo, "PATCH", `/sessions/${scene.session}`, { status: "completed" });
    expect([refusal.http, refusal.body.evaluation.checks[0]?.code]).toEqual([409, "tasks_open"]);
    await setTask(task, "done");
    await ok(robo, "PATCH", `/sessions/${scene.session}`, { status: "completed" });
  });

  test("stops a completion when the last iteration is another one than the one that passed", async () => {
    const scene = await newScene();
    await addTask(scene, "done");
    await submitAll(scene);
    await ok(robo, "PATCH", `/iterations/${scene.iteration}`, { status: "passed" });
    await ok(robo, "POST", `/sessions/${scene.session}/iterations`, {});
    expect(await refused(robo, "PATCH", `/sessions/${scene.session}`, { status: "completed" })).toBe(
      "409 gate_failed",
    );
  });

  test("is never completed, whatever is opened again and submitted at that moment", async () => {
    for (let round = 0; round < 8; round++) {
      const scene = await newScene();
      const ids = await Promise.all(Array.from({ length: 5 }, () => addTask(scene, "done")));
      await submitAll(scene);
      await raceWithCompletion(scene, ids);
      // Whoever opened a task or submitted a failure before the end was seen; whoever came later was refused.
      const open = await db
        .select()
        .from(tasks)
        .where(and(eq(tasks.sessionId, scene.session), eq(tasks.status, "doing")));
      const latest = await ok<{ data: { status: string }[] }>(
        robo,
        "GET",
        `${scene.checks}?kind=test&limit=1`,
      );
      const { status } = await ok<Version>(robo, "GET", `/sessions/${scene.session}`);
      expect([status, open, latest.data[0]?.status]).toEqual(["completed", [], "passed"]);
      expect((await stored(scene.session)).filter((verdict) => verdict.ok)).toHaveLength(1);
    }
  });

  /** Thirty who open and close tasks and submit checks, beside three who complete until it is done. */
  async function raceWithCompletion(scene: Scene, ids: string[]): Promise<void> {
    const soon = () => Bun.sleep(Math.random() * 150);
    const reopen = async (id: string): Promise<void> => {
      await soon();
      await setTask(id, "doing");
      await setTask(id, "done");
    };
    const resubmit = async (): Promise<void> => {
      await soon();
      await submit(scene, { kind: "test", status: "failed" });
      await submit(scene, { kind: "test" });
    };
    const complete = async (): Promise<void> => {
      const answered = await call(olga, "PATCH", `/sessions/${scene.session}`, { status: "completed" });
      if (answered.http === 200) return;
      expect([answered.http, answered.body.code]).toEqual([409, "gate_failed"]);
      await complete();
    };
    const writers = Array.from({ length: 30 }, (_, no) =>
      no % 3 === 0 ? resubmit() : reopen(ids[no % 5] as string),
    );
    const completions = Array.from({ length: 3 }, () => soon().then(complete));
    const ends = await Promise.all(writers.map((writer) => writer.then(() => "done", String)));
    await Promise.all(completions);
    for (const end of ends) expect(end).toMatch(/^done$|: 409 .*"closed"/);
  }
});
