import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mayMove } from "../../platform/states.ts";
import { startGateway } from "../../testing/gateway.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { IterationView, SessionView } from "./contract.ts";
import {
  type IterationState,
  iterationMoves,
  iterationStates,
  type SessionState,
  sessionMoves,
  sessionStates,
} from "./states.ts";

const gateway = await startGateway();
const { robo, mallory } = gateway;
const { ada, olga, ed, vera } = await gateway.people();
const inProject = `/projects/${robo.projectId}`;

const newSession = (title = "Login by e-mail") =>
  ok<SessionView>(robo, "POST", `${inProject}/sessions`, { title });
const newIteration = (session: SessionView, body: object = {}) =>
  ok<IterationView>(robo, "POST", `/sessions/${session.id}/iterations`, body);

describe("a session", () => {
  test("is opened by a runner, and looks the same to whoever may see it", async () => {
    const body = { title: "  เข้าสู่ระบบด้วยอีเมล  ", spec: "SSP-WEB-003", notes: "first\nsecond" };
    const made = await call<SessionView>(robo, "POST", `${inProject}/sessions`, body);
    expect(made.http).toBe(201);
    expect(made.headers.get("etag")).toBe('"1"');
    expect(made.body).toMatchObject({
      project_id: robo.projectId,
      title: "เข้าสู่ระบบด้วยอีเมล",
      spec: "SSP-WEB-003",
      notes: "first\nsecond",
      status: "open",
      iterations: 0,
      created_by: robo.id,
      closed_at: null,
      version: 1,
    });
    expect(made.body.id).toMatch(/^ses_[0-9a-f]{32}$/);
    for (const who of [robo, olga, ed, vera])
      expect(await ok<SessionView>(who, "GET", `/sessions/${made.body.id}`)).toEqual(made.body);
  });

  test("does not exist for another project's runner", async () => {
    const { id } = await newSession();
    expect(await refused(mallory, "GET", `/sessions/${id}`)).toBe("404 not_found");
    expect(await refused(mallory, "PATCH", `/sessions/${id}`, { title: "mine" })).toBe("404 not_found");
    expect(await refused(mallory, "POST", `/sessions/${id}/iterations`, {})).toBe("404 not_found");
  });

  test("is not written to by a viewer", async () => {
    const { id } = await newSession();
    // A viewer holds the scope, but not in this project.
    expect(await refused(vera, "PATCH", `/sessions/${id}`, { title: "x" })).toBe("403 insufficient_role");
    expect(await refused(vera, "POST", `${inProject}/sessions`, { title: "x" })).toBe(
      "403 insufficient_role",
    );
  });

  test("refuses a bad body with every mistake named", async () => {
    const { http, body } = await call<{ errors: { path: string; code: string }[] }>(
      robo,
      "POST",
      `${inProject}/sessions`,
      { title: "", spec: 7, colour: "red" },
    );
    expect(http).toBe(422);
    expect(body.errors.map(({ path }) => path).sort()).toEqual(["colour", "spec", "title"]);
  });

  test("changes only at the version that was seen", async () => {
    const { id } = await newSession();
    const changed = await call<SessionView>(
      ed,
      "PATCH",
      `/sessions/${id}`,
      { title: "B" },
      { "if-match": '"1"' },
    );
    expect([changed.http, changed.body.version, changed.headers.get("etag")]).toEqual([200, 2, '"2"']);
    expect(await refused(ed, "PATCH", `/sessions/${id}`, { title: "C" }, { "if-match": '"1"' })).toBe(
      "412 stale_version",
    );
    const same = await ok<SessionView>(ed, "PATCH", `/sessions/${id}`, { title: "B" });
    expect(same.version).toBe(2);
  });

  test("that is over takes no writes, and is opened again by an editor alone", async () => {
    const session = await newSession();
    const iteration = await newIteration(session);
    await ok(robo, "PATCH", `/sessions/${session.id}`, { status: "failed" });
    const writes: [string, string, object][] = [
      ["POST", `/sessions/${session.id}/iterations`, {}],
      ["PATCH", `/iterations/${iteration.id}`, { notes: "x" }],
      ["PATCH", `/sessions/${session.id}`, { title: "x" }],
    ];
    for (const [method, path, body] of writes)
      expect([path, await refused(robo, method, path, body)]).toEqual([path, "409 closed"]);
    expect(await refused(robo, "PATCH", `/sessions/${session.id}`, { status: "completed" })).toBe(
      "409 invalid_transition",
    );
    expect(await refused(robo, "PATCH", `/sessions/${session.id}`, { status: "open" })).toBe(
      "403 people_only",
    );
    const opened = await ok<SessionView>(ed, "PATCH", `/sessions/${session.id}`, { status: "open" });
    expect([opened.status, opened.closed_at]).toEqual(["open", null]);
    await newIteration(session);
  });

  test("is closed in its turn, however busily others write in it", async () => {
    const session = await newSession();
    let over = false;
    const write = async () => {
      while (!over) await call(robo, "POST", `/sessions/${session.id}/iterations`, {});
    };
    const iteration = await newIteration(session);
    const read = async () => {
      while (!over) await call(robo, "PATCH", `/iterations/${iteration.id}`, { notes: crypto.randomUUID() });
    };
    const writers = [write(), write(), read(), read(), read(), read()];
    await Bun.sleep(300);
    const from = performance.now();
    expect((await call(ed, "PATCH", `/sessions/${session.id}`, { status: "failed" })).http).toBe(200);
    const took = performance.now() - from;
    over = true;
    await Promise.all(writers);
    expect(took).toBeLessThan(1_000);
  });

  test("of an archived project takes no writes", async () => {
    const project = await ok<{ id: string }>(ada, "POST", "/projects", { name: "short-lived" });
    const session = await ok<SessionView>(ada, "POST", `/projects/${project.id}/sessions`, { title: "x" });
    await ok(ada, "DELETE", `/projects/${project.id}`);
    expect(await refused(ada, "POST", `/projects/${project.id}/sessions`, { title: "y" })).toBe("409 closed");
    expect(await refused(ada, "PATCH", `/sessions/${session.id}`, { title: "y" })).toBe("409 closed");
    expect(await refused(ada, "POST", `/sessions/${session.id}/iterations`, {})).toBe("409 closed");
  });
});

describe("an iteration", () => {
  test("is numbered without gap or repeat when 64 are started at once", async () => {
    const session = await newSession();
    const made = await Promise.all(Array.from({ length: 64 }, () => newIteration(session)));
    expect(made.map(({ number }) => number).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 64 }, (_, index) => index + 1),
    );
    const seen = await ok<SessionView>(robo, "GET", `/sessions/${session.id}`);
    expect([seen.iterations, seen.version]).toEqual([64, 1]);
  });

  test("gives no number to one that was refused", async () => {
    const session = await newSession();
    await refused(robo, "POST", `/sessions/${session.id}/iterations`, { step: "LUNCH" });
    expect((await newIteration(session)).number).toBe(1);
  });

  test("goes through its steps, ends once, and stays as it ended", async () => {
    const session = await newSession();
    const { id } = await newIteration(session, { step: "PLAN", commit_sha: "0123abc" });
    const path = `/iterations/${id}`;
    const moved = await ok<IterationView>(robo, "PATCH", path, { step: "IMPLEMENT", commit_sha: "4567def" });
    expect(moved).toMatchObject({ step: "IMPLEMENT", commit_sha: "4567def", status: "running", version: 2 });
    const over = await ok<IterationView>(robo, "PATCH", path, { status: "abandoned" });
    expect(over.ended_at).not.toBeNull();
    expect(await refused(robo, "PATCH", path, { status: "passed" })).toBe("409 invalid_transition");
    expect(await refused(robo, "PATCH", path, { step: "SPEC" })).toBe("409 closed");
    expect(await refused(robo, "PATCH", path, { commit_sha: "HEAD" })).toBe("422 invalid_request");
  });

  test("is listed last first, in pages, and by status", async () => {
    const session = await newSession();
    for (let number = 1; number <= 5; number++) await newIteration(session);
    const path = `/sessions/${session.id}/iterations`;
    const first = await ok<Page>(vera, "GET", `${path}?limit=3`);
    expect(first.data.map(({ number }) => number)).toEqual([5, 4, 3]);
    const rest = await ok<Page>(vera, "GET", `${path}?limit=3&cursor=${first.next_cursor}`);
    expect([rest.data.map(({ number }) => number), rest.next_cursor]).toEqual([[2, 1], null]);
    expect((await ok<Page>(vera, "GET", `${path}?status=passed`)).data).toEqual([]);
    expect(await refused(vera, "GET", `${path}?status=over`)).toBe("400 invalid_request");
    const other = await newSession();
    expect(await refused(vera, "GET", `/sessions/${other.id}/iterations?cursor=${first.next_cursor}`)).toBe(
      "400 invalid_request",
    );
  });
});

type Page = { data: IterationView[]; next_cursor: string | null };

describe("a state machine", () => {
  const machines = [
    ["session", sessionStates, sessionMoves],
    ["iteration", iterationStates, iterationMoves],
  ] as const;
  test.each(machines)("of a %s never leaves its states, and knows each of them", (_, states, moves) => {
    const table = moves as Record<string, readonly string[]>;
    expect(Object.keys(table).sort()).toEqual([...states].sort());
    for (const to of Object.values(table).flat()) expect(states as readonly string[]).toContain(to);
  });

  test("walks as its table says, whatever is asked", async () => {
    const session = await newSession();
    const path = `/sessions/${session.id}`;
    let now: SessionState = "open";
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...sessionStates), async (to) => {
        // Completion also asks the gates.
        fc.pre(to !== "completed");
        const { http } = await call(ed, "PATCH", path, { status: to });
        expect([now, to, http]).toEqual([now, to, mayMove(sessionMoves, now, to) ? 200 : 409]);
        if (http === 200) now = to;
      }),
      { numRuns: 60 },
    );
  });

  test("of an iteration ends in one step", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...iterationStates),
        fc.constantFrom(...iterationStates),
        (from: IterationState, to: IterationState) =>
          mayMove(iterationMoves, from, to) === (from === to || from === "running"),
      ),
    );
  });
});
