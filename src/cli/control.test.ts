import { beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import type { ApprovalView } from "../features/approvals/contract.ts";
import type { PolicyView } from "../features/gates/contract.ts";
import type { IterationView, SessionView } from "../features/sessions/contract.ts";
import type { TaskView } from "../features/tasks/contract.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { openShell, type Shell, signedInShell } from "../testing/shell.ts";

let gateway: TestGateway;
let robo: Shell;
let olga: Shell;
let ed: Shell;
beforeAll(async () => {
  gateway = await startGateway();
  robo = openShell(gateway.url, gateway.robo.bearer);
  const people = await gateway.people();
  const scopes = ["control:read", "control:write", "approvals:request", "approvals:decide"];
  olga = await signedInShell(gateway.url, people.olga, scopes);
  ed = await signedInShell(gateway.url, people.ed, scopes);
  return () => gateway.close();
});

type Row = { id: string };
type Rows<R = Row> = { data: R[]; next_cursor: null };
const commit = "0123456789abcdef0123456789abcdef01234567";

const newSession = (title = "Invoices"): Promise<SessionView> =>
  robo.json<SessionView>(["session", "create", title]);
async function newIteration(): Promise<IterationView> {
  const { id } = await newSession();
  return robo.json<IterationView>(`iteration start --session ${id} --commit ${commit}`);
}

test("a runner does its whole work by commands, and a person says yes in between", async () => {
  const session = await robo.json<SessionView>(["session", "create", "Sign-in", "--spec", "specs/login.md"]);
  robo.write("tasks.md", "# Tasks\n\n- [ ] T001 Write the form\n- [ ] T002 Check the password\n");
  const synced = await robo.specgate(`sync tasks tasks.md --session ${session.id}`);
  expect(synced).toEqual({ code: 0, out: "", err: "2 created, 0 updated, 0 unchanged, 0 cancelled\n" });
  const started = `iteration start --session ${session.id} --step IMPLEMENT`;
  const { id: iteration, number } = await robo.json<IterationView>(started);
  expect(number).toBe(1);

  const { data: tasks } = await robo.json<Rows<TaskView>>(`task list --session ${session.id}`);
  for (const { id } of tasks) {
    await robo.json(`task update ${id} --status doing`);
    expect(await robo.json(`task update ${id} --status done`)).toMatchObject({ status: "done" });
  }
  await robo.json(`iteration update ${iteration} --step TEST_SUITE --commit ${commit}`);
  robo.write("review.md", "# Review\n\nAll well.\n");
  await robo.json(`report submit review.md --session ${session.id} --iteration ${iteration} --kind review`);

  const early = await robo.specgate(`gate evaluate --iteration ${iteration}`);
  expect([early.code, early.err]).toEqual([1, ""]);
  expect(early.out).toMatch(
    /^GATE +VERDICT +CODE +DETAILS\ntasks +ok +passed .*\ntests +FAIL +check_missing /,
  );
  for (const what of ["test", "coverage --percent 91.5", "security"]) {
    const line = `check submit --iteration ${iteration} --status passed --commit ${commit} --kind ${what}`;
    await robo.json(line);
  }
  expect((await robo.specgate(`gate evaluate --iteration ${iteration}`)).code).toBe(0);

  robo.write("build.tgz", new Uint8Array([1, 2, 3]));
  const asked = ["--action", "deploy.production", "--subject-file", "build.tgz"];
  const request = ["approval", "request", "--session", session.id, ...asked, "--reason", "Release 1.4"];
  const { id: approval } = await robo.json<ApprovalView>(request);
  const waiting = robo.specgate(`approval wait ${approval} --timeout-seconds 30`);
  expect(await ed.json(`approval approve ${approval} --note fine`)).toMatchObject({ status: "approved" });
  expect(await waiting).toMatchObject({ code: 0, err: "" });
  expect(await robo.json(["approval", "consume", approval, ...asked])).toMatchObject({ status: "consumed" });
  expect((await robo.specgate(["approval", "consume", approval, ...asked])).code).toBe(1);

  expect(await robo.json(`iteration pass ${iteration}`)).toMatchObject({ status: "passed" });
  expect(await robo.json(`session complete ${session.id}`)).toMatchObject({ status: "completed" });
});

describe("sessions and iterations", () => {
  test("a credential that is bound to a project need not name it, any other must", async () => {
    const made = await newSession("Bound");
    expect(made.project_id).toBe(gateway.robo.projectId);
    const lost = await ed.specgate("session create Unbound");
    expect([lost.code, lost.out]).toEqual([2, ""]);
    expect(lost.err).toContain("--project prj_…");
    const named = await ed.json<SessionView>(
      `session create Named --project ${gateway.robo.projectId} --spec specs/a.md`,
    );
    expect(named).toMatchObject({ title: "Named", spec: "specs/a.md", status: "open" });
    const { data } = await robo.json<Rows<SessionView>>("session list --status open");
    expect(data.map(({ title }) => title).slice(0, 2)).toEqual(["Named", "Bound"]);
  });

  test("are shown for people, ended, and opened again by a person alone", async () => {
    const { id } = await newSession("Ends");
    const shown = await robo.specgate(`session show ${id}`);
    expect([shown.code, shown.err]).toEqual([0, ""]);
    expect(shown.out).toMatch(new RegExp(`^id +${id}$`, "m"));
    expect(shown.out).toMatch(/^title +Ends$/m);
    for (const [verb, status] of [
      ["cancel", "cancelled"],
      ["reopen", "open"],
      ["fail", "failed"],
    ] as const)
      expect(await ed.json(`session ${verb} ${id}`)).toMatchObject({ status });
    const refused = await robo.specgate(`session reopen ${id}`);
    expect([refused.code, refused.out]).toEqual([1, ""]);
    expect(refused.err).toContain("Only a person opens a session again");
    expect((await robo.specgate(`iteration start --session ${id}`)).err).toContain("failed");
  });

  test("iterations are counted, moved on, and ended", async () => {
    const { id } = await newSession();
    const first = await robo.json<IterationView>(`iteration start --session ${id}`);
    const second = await robo.json<IterationView>(`iteration start --session ${id} --step TASKS`);
    expect([first.number, first.step, second.number, second.step]).toEqual([1, "SPEC", 2, "TASKS"]);
    const args = [
      "iteration",
      "update",
      first.id,
      "--step",
      "PLAN",
      "--commit",
      commit,
      "--notes",
      "two\nlines",
    ];
    expect(await robo.json(args)).toMatchObject({ step: "PLAN", commit_sha: commit, notes: "two\nlines" });
    expect((await robo.specgate(`iteration show ${first.id}`)).out).toEndWith("\nnotes\n  two\n  lines\n");
    expect(await robo.json(`iteration fail ${first.id}`)).toMatchObject({ status: "failed" });
    expect(await robo.json(`iteration abandon ${second.id}`)).toMatchObject({ status: "abandoned" });
    const list = await robo.specgate(`iteration list --session ${id}`);
    expect(list.out).toMatch(/^ID +NUMBER +STEP +STATUS .*\nitr_\w+ +2 +TASKS +abandoned .*\nitr_\w+ +1 /);
    const failed = await robo.json<Rows>(`iteration list --session ${id} --status failed`);
    expect(failed.data.map((row) => row.id)).toEqual([first.id]);
  });

  test("each gate that stands in the way is named with its code, and exit 1", async () => {
    const { id, session_id: session } = await newIteration();
    await robo.json(`check submit --iteration ${id} --kind security --status failed --commit ${commit}`);
    for (const line of [
      `iteration pass ${id}`,
      `session complete ${session}`,
      `iteration pass ${id} --json`,
    ]) {
      const said = await robo.specgate(line);
      expect([said.code, said.out]).toEqual([1, ""]);
      expect(said.err).toMatch(
        /^specgate: not every gate is passed:\n {2}tasks: too_few_tasks .*planned=0.*\n {2}tests: check_missing .*\n {2}coverage: check_missing .*\n {2}security: check_failed .*status=failed.*\n$/,
      );
    }
  });
});

describe("misuse", () => {
  const someId = (prefix: string) => `${prefix}_${"0".repeat(32)}`;

  test("what is missing, mixed up or unknown is said before anything is sent, and exit 2", async () => {
    const nowhere = openShell("http://127.0.0.1:1", "sgk_nothing");
    const [ses, itr, apv] = [someId("ses"), someId("itr"), someId("apv")];
    const request = `approval request --session ${ses} --action a --reason r`;
    for (const [line, word] of [
      ["session create", "title"],
      [`session show ${itr}`, "It takes the id of a session: ses_"],
      [`iteration start --session ${itr}`, "It takes the id of a session: ses_"],
      ["iteration list", "--session"],
      [`iteration start --session ${ses} --step PALN`, "PLAN"],
      [`iteration update ${itr}`, "--step, --commit, --notes"],
      [`task list --session ${ses} --status planned,doen`, 'did you mean "done"'],
      [`task update ${someId("tsk")}`, "--status, --title, --notes"],
      [`check submit --iteration ${itr} --kind test`, "--status"],
      [
        `check submit --iteration ${itr} --kind coverage --status passed --percent most`,
        "such as 80 or 92.5",
      ],
      [`report submit missing.md --session ${ses}`, "missing.md cannot be read"],
      [`report submit - --session ${ses}`, "--title is missing"],
      [request, "either --subject-sha256 DIGEST or --subject-file FILE"],
      [`${request} --subject-sha256 ${"a".repeat(64)} --subject-file f`, "cannot be used with"],
      [`${request} --subject-file missing`, "missing cannot be read"],
      [`approval wait ${apv} --timeout-seconds soon`, "whole number"],
      [`gate policy --project ${someId("prj")} --set missing.json`, "missing.json cannot be read"],
      ["project create Name --owner olga@example.com", "over HTTP you become the owner"],
      ["project list --data-dir . --url http://127.0.0.1:1", "cannot be used with"],
      ["approval aprove", "(Did you mean approve?)"],
    ] as const) {
      const said = await nowhere.specgate(line);
      expect([line, said.code, said.out]).toEqual([line, 2, ""]);
      expect(said.err).toContain(word);
    }
  });

  test("what the gateway refuses is said in one line, and exit 1", async () => {
    const { id } = await newSession();
    for (const [line, word] of [
      [`session show ${someId("ses")}`, "not_found"],
      [`iteration start --session ${id} --commit xyz`, "commit_sha: A commit is 7 to 64"],
    ] as const) {
      const said = await robo.specgate(line);
      expect([line, said.code, said.out]).toEqual([line, 1, ""]);
      expect(said.err.split("\n")).toHaveLength(2);
      expect(said.err.toLowerCase()).toContain(word === "not_found" ? "nothing here" : word.toLowerCase());
    }
  });

  test("every command has help with an example, and says where it goes", async () => {
    const groups = {
      session: ["create", "list", "show", "complete", "fail", "cancel", "reopen"],
      iteration: ["start", "list", "show", "update", "pass", "fail", "abandon"],
      task: ["list", "show", "update", "history"],
      report: ["submit", "list", "show"],
      check: ["submit", "list"],
      gate: ["evaluate", "policy", "waive"],
      approval: ["request", "list", "show", "wait", "approve", "reject", "consume", "withdraw", "revoke"],
      sync: ["tasks"],
      project: ["create", "list", "show", "rename", "archive", "members", "search"],
    };
    for (const [group, names] of Object.entries(groups)) {
      for (const name of names) {
        const said = await robo.specgate(`${group} ${name} --help`);
        expect([said.code, said.err]).toEqual([0, ""]);
        for (const word of ["Example", `$ specgate ${group} ${name}`, "--json", "--url", "SPECGATE_TOKEN"])
          expect([group, name, said.out]).toEqual([group, name, expect.stringContaining(word)]);
      }
    }
  });
});

describe("tasks", () => {
  test("more than a page is listed whole, and found by status, specification and words", async () => {
    const { id } = await newSession();
    const tasks = Array.from({ length: 450 }, (_, index) => ({
      task_ref: `T${index}`,
      title: index === 7 ? "Reset a password" : `Step ${index}`,
      originating_spec: index < 3 ? "specs/a.md" : null,
      status: index < 10 ? "done" : "planned",
    }));
    await robo.specgate(`sync tasks - --session ${id}`, { stdin: JSON.stringify(tasks) });
    const list = async (more: string) =>
      (await robo.json<Rows<TaskView>>(`task list --session ${id}${more}`)).data.map((row) => row.task_ref);
    expect(await list("")).toEqual(tasks.map(({ task_ref }) => task_ref));
    expect(await list(" --status done,blocked")).toHaveLength(10);
    expect(await list(" --spec specs/a.md")).toEqual(["T0", "T1", "T2"]);
    expect(await list(" --text password")).toEqual(["T7"]);
    const shown = await robo.specgate(`task list --session ${id} --spec specs/a.md`);
    expect(shown.out).toMatch(/^ID +STATUS +TASK_REF +TITLE\ntsk_\w+ +done +T0 +Step 0\n/);
  });

  test("what became of a task is told version by version", async () => {
    const { id } = await newSession();
    const stdin = JSON.stringify([{ title: "One", acceptance_criteria: "first\nsecond" }]);
    await robo.specgate(`sync tasks - --session ${id}`, { stdin });
    const { data } = await robo.json<Rows<TaskView>>(`task list --session ${id}`);
    const task = data[0]?.id ?? "";
    await robo.json([
      "task",
      "update",
      task,
      "--status",
      "blocked",
      "--notes",
      "no access\u001b[31m",
      "--title",
      "Two",
    ]);
    const shown = await robo.specgate(`task show ${task}`);
    expect(shown.out).toMatch(/^status +blocked$/m);
    expect(shown.out).toMatch(/^notes +no access\?\[31m$/m);
    expect(shown.out).toEndWith("\nacceptance_criteria\n  first\n  second\n");
    const history = await robo.specgate(`task history ${task}`);
    expect(history.out).toMatch(
      /^VERSION +AT +ACTOR +ACTION +CHANGES\n +2 .* cli_\w+ +updated .*status: planned → blocked/,
    );
    const told = await robo.json<Rows>(`task history ${task}`);
    expect(told.data).toHaveLength(2);
  });
});

describe("reports", () => {
  test("take their title and their format from what they are", async () => {
    const { id } = await newSession();
    robo.write("a.md", "```\n# not this\n```\n\n## The second try ##\n# later\n");
    robo.write("notes/b.md", "no heading here");
    robo.write("c.json", '{"passed": true}');
    robo.write("d.log", "# line 1\n");
    const submit = (more: string, stdin = "") =>
      robo.json(`report submit ${more} --session ${id}`, { stdin }) as Promise<Record<string, unknown>>;
    for (const [more, title, format] of [
      ["a.md", "The second try", "markdown"],
      ["notes/b.md", "b.md", "markdown"],
      ["c.json", "c.json", "json"],
      ["d.log", "d.log", "text"],
      ["d.log --title Run --format markdown", "Run", "markdown"],
    ] as const)
      expect(await submit(more)).toMatchObject({ title, format, kind: "report" });
    expect(await submit("- --kind review", "# By standard input\n")).toMatchObject({
      title: "By standard input",
      kind: "review",
    });
    const list = await robo.specgate(`report list --session ${id} --kind review`);
    expect(list.out).toMatch(/^ID +KIND .* TITLE\nrpt_\w+ +review +markdown .*By standard input\n$/);
  });

  test("are shown without what a terminal would obey, and exactly as JSON", async () => {
    const { id } = await newSession();
    const body = "# Title\r\n\u001b]0;owned\u0007\ttab\n\nend";
    const made = await robo.json<Row>(`report submit - --session ${id}`, { stdin: body });
    expect(await robo.specgate(`report show ${made.id}`)).toEqual({
      code: 0,
      out: "# Title\n?]0;owned?\ttab\n\nend\n",
      err: "",
    });
    expect(await robo.json(`report show ${made.id}`)).toMatchObject({ body });
  });

  test("a file that is not text is refused", async () => {
    const { id } = await newSession();
    robo.write("picture.md", new Uint8Array([0xff, 0xfe, 0x00]));
    const said = await robo.specgate(`report submit picture.md --session ${id}`);
    expect([said.code, said.err]).toEqual([2, "specgate: picture.md: not text; would be a file in UTF-8\n"]);
  });
});

describe("checks and gates", () => {
  test("checks are listed, newest first and by kind", async () => {
    const { id } = await newIteration();
    const submit = (more: string) => robo.json(`check submit --iteration ${id} --commit ${commit} ${more}`);
    await submit("--kind test --status failed --summary slow");
    const custom = await submit("--kind custom --name migrations --status passed");
    expect(custom).toMatchObject({ kind: "custom", name: "migrations", commit_sha: commit });
    const list = await robo.specgate(`check list --iteration ${id}`);
    expect(list.out).toMatch(
      /^ID +KIND .*\nchk_\w+ +custom +migrations +passed .*\nchk_\w+ +test .* slow\n$/,
    );
    expect((await robo.json<Rows>(`check list --iteration ${id} --kind test`)).data).toHaveLength(1);
  });

  test("a policy that was printed can be changed and set, by an owner only", async () => {
    const project = `--project ${gateway.robo.projectId}`;
    const printed = await olga.specgate(`gate policy ${project}`);
    const policy = JSON.parse(printed.out) as PolicyView["policy"];
    policy.coverage.percent_min = 90;
    olga.write("policy.json", JSON.stringify(policy));
    const set = await olga.json<PolicyView>(`gate policy ${project} --set policy.json`);
    expect(set).toMatchObject({ policy, version: 1 });
    expect(JSON.parse((await robo.specgate("gate policy")).out)).toEqual(policy);
    const refused = await robo.specgate("gate policy --set -", { stdin: "{}" });
    expect([refused.code, refused.out]).toEqual([1, ""]);
    const broken = await olga.specgate(`gate policy ${project} --set -`, { stdin: "{" });
    expect([broken.code, broken.err]).toEqual([2, "specgate: standard input: not JSON\n"]);
    const usual = await olga.json<PolicyView>(`gate policy ${project} --set -`, { stdin: "{}" });
    expect(usual.policy.coverage.percent_min).toBe(80);
  });

  test("an owner waives a gate for some hours, and the verdict names the waiver", async () => {
    const { id } = await newIteration();
    const args = ["gate", "waive", "--iteration", id, "--gate", "tests", "--reason", "no tests yet"];
    expect((await robo.specgate([...args, "--expires-hours", "2"])).code).toBe(1);
    const waiver = await olga.json<{ id: string; expires_at: string }>([...args, "--expires-hours", "1.5"]);
    const hours = (Date.parse(waiver.expires_at) - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(1.4);
    expect(hours).toBeLessThan(1.51);
    const verdict = await robo.specgate(`gate evaluate --iteration ${id}`);
    expect(verdict.code).toBe(1);
    expect(verdict.out).toMatch(
      new RegExp(`^tests +ok +waived +waived_by=${waiver.id} code=check_missing`, "m"),
    );
    const asJson = await robo.specgate(`gate evaluate --iteration ${id} --json`);
    expect([asJson.code, JSON.parse(asJson.out).ok]).toEqual([1, false]);
  });
});

describe("approvals", () => {
  const digest = createHash("sha256").update("what").digest("hex");

  async function request(...more: string[]): Promise<string[]> {
    const { id } = await newSession();
    const what = ["--action", "deploy", "--subject-sha256", digest, "--reason", "now"];
    return ["approval", "request", "--session", id, ...what, ...more];
  }
  const requested = async () => (await robo.json<ApprovalView>(await request())).id;

  test("are asked for one thing: a file's digest, or one that is given", async () => {
    robo.write("what.txt", "what");
    const { id } = await newSession();
    const args = ["approval", "request", "--session", id, "--action", "deploy", "--reason", "now"];
    const file = await robo.json<ApprovalView>([
      ...args,
      ...["--subject-file", "what.txt", "--ttl-seconds", "120", "--pending-seconds", "600"],
    ]);
    expect(file).toMatchObject({ status: "pending", subject_sha256: digest, ttl_seconds: 120 });
    await robo.json([...args, "--subject-sha256", digest.toUpperCase()]);
    const list = await robo.specgate(`approval list --session ${id} --status pending`);
    expect(list.out.match(/^apv_\w+ +pending +deploy /gm)).toHaveLength(2);
    expect(await robo.json(`approval show ${file.id} --wait 0`)).toMatchObject({ id: file.id });
  });

  test("a no ends the wait with exit 1 and its reason, whoever waits and however", async () => {
    const args = await request("--wait", "30");
    const waiting = robo.specgate(args);
    const session = args[3] ?? "";
    const pending = async (): Promise<string> => {
      const { data } = await ed.json<Rows>(`approval list --session ${session}`);
      return data[0]?.id ?? pending();
    };
    const id = await pending();
    await ed.json(["approval", "reject", id, "--note", "not on a Friday"]);
    const said = await waiting;
    expect([said.code, said.err]).toEqual([
      1,
      `${id} waits for a decision.\nspecgate: ${id} is rejected: not on a Friday\n`,
    ]);
    expect(said.out).toMatch(/^status +rejected$/m);
    expect((await robo.specgate(`approval wait ${id}`)).code).toBe(1);
  });

  test("a wait ends when its time is over, and says so; at a terminal it is seen", async () => {
    const id = await requested();
    const quiet = await robo.specgate(`approval wait ${id} --timeout-seconds 0`);
    expect([quiet.code, quiet.err]).toEqual([1, `specgate: ${id} is still pending\n`]);
    const seen = await robo.specgate(`approval wait ${id} --timeout-seconds 2`, { isTerminal: true });
    expect(seen.code).toBe(1);
    expect(seen.err).toContain(`waiting for a decision on ${id} (1 s)`);
    expect(seen.err).toEndWith(`\r\u001b[Kspecgate: ${id} is still pending\n`);
  });

  test("a request is withdrawn, an approval revoked, and what is over cannot be used", async () => {
    const [first, second] = [await requested(), await requested()];
    expect(await robo.json(`approval withdraw ${first}`)).toMatchObject({ status: "withdrawn" });
    await ed.json(`approval approve ${second}`);
    const other = await robo.specgate(`approval consume ${second} --action other --subject-sha256 ${digest}`);
    expect(other.code).toBe(1);
    expect(await ed.json(`approval revoke ${second}`)).toMatchObject({ status: "revoked" });
    const late = await robo.specgate(`approval consume ${second} --action deploy --subject-sha256 ${digest}`);
    expect([late.code, late.out]).toEqual([1, ""]);
  });
});

describe("projects", () => {
  test("are made here unless a gateway is named, and never both", async () => {
    const there = await ed.json<Row>(["project", "create", "Over HTTP"]);
    const { data } = await ed.json<Rows<{ id: string; role: string }>>("project list");
    expect(data.find(({ id }) => id === there.id)?.role).toBe("owner");
    const unset = { SPECGATE_URL: undefined as unknown as string };
    const here = await ed.specgate("project create Here", { env: unset });
    expect([here.code, here.err]).toEqual([1, expect.stringContaining("specgate-data")]);
    const chosen = await ed.specgate("project list --data-dir elsewhere");
    expect([chosen.code, chosen.err]).toEqual([1, expect.stringContaining("elsewhere")]);
    expect((await ed.specgate(`project list --url ${gateway.url}`, { env: unset })).code).toBe(0);
    const token = { ...unset, SPECGATE_TOKEN: "sgk_nothing" };
    expect((await ed.specgate(`project list --url ${gateway.url}`, { env: token })).err).toContain(
      "API key is mistyped",
    );
  });

  test("are shown with their members, renamed and archived", async () => {
    const { id } = await ed.json<Row>(["project", "create", "First"]);
    expect(await ed.json(["project", "rename", id, "Second name"])).toMatchObject({ name: "Second name" });
    expect((await ed.specgate(`project show ${id}`)).out).toMatch(/^name +Second name$/m);
    const members = await ed.specgate(`project members ${id}`);
    expect(members.out).toMatch(/^USER_ID +EMAIL +ROLE .*\nusr_\w+ +ed@example.com +owner /);
    expect(await ed.json(`project archive ${id}`)).toMatchObject({ archived: true });
    expect((await ed.specgate(`session create Late --project ${id}`)).err).toContain("archived");
  });

  test("have tasks and reports that are found by their words", async () => {
    const { id } = await newSession();
    await robo.specgate(`sync tasks - --session ${id}`, { stdin: "- [ ] T001 Escalate the zeppelin\n" });
    await robo.json(`report submit - --session ${id}`, { stdin: "# Zeppelin flights\n" });
    const search = `project search ${gateway.robo.projectId} zeppelin`;
    const found = await robo.specgate(search);
    expect([found.code, found.err]).toEqual([0, ""]);
    expect(found.out).toMatch(/^ID +SESSION_ID +TITLE\n/);
    expect(found.out).toMatch(new RegExp(`^tsk_\\w+ +${id} +Escalate the zeppelin$`, "m"));
    expect(found.out).toMatch(new RegExp(`^rpt_\\w+ +${id} +Zeppelin flights$`, "m"));
    const one = await robo.specgate(`${search} --limit 1`);
    expect([one.code, one.err]).toEqual([0, "There is more; say it with more words.\n"]);
    expect((await robo.json<Rows>(`${search} flights`)).data.map((row) => row.id.slice(0, 3))).toEqual([
      "rpt",
    ]);
  });
});
