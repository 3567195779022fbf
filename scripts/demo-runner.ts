/**
 * A runner's day against the compiled binary: `bun scripts/demo-runner.ts [--tasks N] [--storage s3]`.
 *
 * A runner with a token bound to its project starts an iteration, syncs a list of tasks from a file, uploads what it
 * built, reports, is stopped by the gates until the work is done, asks a person for approval, waits, consumes it, and
 * finishes; the person downloads what was built. Each step prints what it did and how long it took; the first thing that
 * is not as it should be ends it with exit code 1. Files go to the local store, or to an S3 server started for it.
 */
import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startObjectStore } from "../src/testing/object-store.ts";
import { buildIfChanged } from "./build.ts";
import { type Asks, Files, type Kept } from "./demo-files.ts";
import { type Gateway, type Ran, run, type Surroundings, serve, tokenOf } from "./gateway.ts";
import { storeAt } from "./smoke/artifacts-shelf.ts";

export type Json = Record<string, unknown>;
export type Answer = { status: number; body: Json };
type Say = (step: string, milliseconds: number, note: string) => void;

const ada = { email: "ada@example.com", password: "correct horse battery" };
const commit = "4f2a9c1d";

/** Throws with the first thing that is not as it should be. `home` is an empty directory, `storage` what names a store. */
export async function runnerLoop(
  home: string,
  tasks: number,
  say: Say,
  storage: Record<string, string> = {},
): Promise<void> {
  writeFileSync(join(home, "password"), ada.password, { mode: 0o600 });
  const env = {
    ...storage,
    SPECGATE_ADMIN_EMAIL: ada.email,
    SPECGATE_ADMIN_PASSWORD_FILE: join(home, "password"),
  };
  const surroundings = { cwd: home, env: { ...env, SPECGATE_LOG_LEVEL: "warn" } };
  const gateway = await serve([], surroundings);
  try {
    const place = await employ(gateway, surroundings);
    await new Loop(gateway, place, { cwd: home }, tasks, say).run();
  } finally {
    await gateway.stop();
  }
}

type Place = { projectId: string; token: string; person: Asks };

/** A project, a runner's token in it, and the person who decides. */
async function employ(gateway: Gateway, surroundings: Surroundings): Promise<Place> {
  const cookie = await signIn(gateway);
  const local = async (...args: string[]) =>
    JSON.parse((await ran([...args, "--json"], surroundings)).stdout);
  const project = await local("project", "create", "Billing rewrite", "--owner", ada.email);
  const scope =
    "control:read control:write approvals:request approvals:consume artifacts:read artifacts:write";
  const runner = ["--kind", "runner", "--project", project.id, "--scope", scope];
  const client = await local("client", "create", "--name", "robo", ...runner);
  const token = await tokenOf(gateway, client, { project_id: project.id });
  const person: Asks = (method, path, body) =>
    ask(gateway, { cookie, "sec-fetch-site": "same-origin" }, method, path, body);
  return { projectId: project.id, token, person };
}

/** The first administrator's cookie; the configuration makes them a moment after the gateway is ready. */
async function signIn({ url }: Gateway): Promise<string> {
  for (const deadline = performance.now() + 10_000; ; await Bun.sleep(100)) {
    const response = await fetch(`${url}/api/v1/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json", "sec-fetch-site": "same-origin" },
      body: JSON.stringify(ada),
    });
    const cookie = response.headers.getSetCookie()[0]?.split(";", 1)[0];
    if (cookie !== undefined) return cookie;
    must(performance.now() < deadline, `nobody can sign in: ${response.status} ${await response.text()}`);
  }
}

class Loop {
  readonly #file: string;
  /** As words spell it. */
  readonly #count: string;

  constructor(
    private readonly gateway: Gateway,
    private readonly place: Place,
    private readonly surroundings: Surroundings,
    private readonly tasks: number,
    private readonly say: Say,
  ) {
    this.#file = join(surroundings.cwd, "tasks.md");
    this.#count = tasks.toLocaleString("en-US");
  }

  async run(): Promise<void> {
    const { projectId, person } = this.place;
    const opened = { title: "จ่ายเงินด้วยบัตร / Card payments", spec: "SSP-PAY-001" };
    const session = await this.#made("opens a session", "POST", `/projects/${projectId}/sessions`, opened);
    const inSession = `/sessions/${session.id}`;
    const start = { step: "IMPLEMENT", commit_sha: commit };
    const iteration = await this.#made("starts an iteration", "POST", `${inSession}/iterations`, start);
    await this.#syncs(`${session.id}`, "planned", `${this.#count} created`);
    await this.#syncs(`${session.id}`, "planned", `${this.#count} unchanged`);
    const files = new Files((...asked) => this.#ask(...asked), person, inSession, `${iteration.id}`);
    const zip = await this.#uploads("its build", () => files.uploadZip());
    const report = await this.#uploads("its report", () => files.uploadReport());
    await this.#reports(inSession, `/iterations/${iteration.id}`, { zip, report });
    await this.#isStopped(`/iterations/${iteration.id}`);
    await this.#syncs(`${session.id}`, "done", `${this.#count} updated`);
    await this.#made(
      "passes its gates",
      "POST",
      `/iterations/${iteration.id}/gate-evaluations`,
      {},
      { ok: true },
    );
    await this.#step("is read by a person, byte for byte", () => files.download());
    await this.#step("is read by a desktop app in Chromium, byte for byte", () => files.downloadInChromium());
    await this.#isApproved(inSession, person);
    const over = { status: "passed" };
    await this.#made("passes the iteration", "PATCH", `/iterations/${iteration.id}`, over, over);
    await this.#isStoppedByReopening(inSession);
    const completed = { status: "completed" };
    await this.#made("completes the session", "PATCH", inSession, completed, completed);
  }

  /** With the command, as a runner does. */
  async #syncs(sessionId: string, status: "planned" | "done", outcome: string): Promise<void> {
    writeFileSync(this.#file, taskList(this.tasks, status));
    await this.#step(`syncs ${this.tasks} tasks, ${status}`, async () => {
      const env = { SPECGATE_URL: this.gateway.url, SPECGATE_TOKEN: this.place.token };
      const { stderr } = await ran(["sync", "tasks", this.#file, "--session", sessionId], {
        ...this.surroundings,
        env,
      });
      must(stderr.includes(outcome), `it said: ${stderr}`);
      return stderr.trim().split("\n").at(-1) ?? "";
    });
  }

  async #uploads(what: string, upload: () => Promise<Kept>): Promise<Kept> {
    let kept: Kept | undefined;
    await this.#step(`uploads ${what} and completes it`, async () => {
      kept = await upload();
      return `${kept.name}, ${kept.sizeBytes} bytes`;
    });
    return kept as Kept;
  }

  async #reports(inSession: string, inIteration: string, files: { zip: Kept; report: Kept }): Promise<void> {
    const written = { title: "What was done", body: "# ทำแล้ว\n\nCards can be charged." };
    const report = { ...written, artifact_id: files.report.id };
    await this.#made("submits a report", "POST", `${inSession}/reports`, report, {
      artifact_id: files.report.id,
    });
    for (const kind of ["test", "coverage", "security"]) {
      const check = {
        kind,
        status: "passed",
        commit_sha: commit,
        percent: kind === "coverage" ? 91.5 : null,
        artifact_id: kind === "test" ? files.zip.id : null,
      };
      await this.#made(`submits its ${kind} check`, "POST", `${inIteration}/checks`, check);
    }
  }

  async #isStopped(inIteration: string): Promise<void> {
    await this.#step("is stopped by the gates while tasks are open", async () => {
      const refused = await this.#ask("PATCH", inIteration, { status: "passed" });
      must(refused.status === 409 && refused.body.code === "gate_failed", JSON.stringify(refused.body));
      const { checks } = refused.body.evaluation as { checks: { name: string; ok: boolean; code: string }[] };
      return checks
        .filter(({ ok }) => !ok)
        .map(({ name, code }) => `${name}: ${code}`)
        .join(", ");
    });
  }

  async #isApproved(inSession: string, person: Asks): Promise<void> {
    const subject = { action: "deploy", subject_sha256: createHash("sha256").update(commit).digest("hex") };
    const asked = { ...subject, reason: "Put card payments live" };
    const { id } = await this.#made("asks for approval", "POST", `${inSession}/approvals`, asked, {
      status: "pending",
    });
    const path = `/approvals/${id}`;
    await this.#step("cannot approve itself", async () => {
      const { status, body } = await this.#ask("POST", `${path}/decision`, { decision: "approve" });
      must(status === 403, JSON.stringify(body));
      return String(body.code);
    });
    await this.#step("waits until a person has approved", async () => {
      const decided = Bun.sleep(700).then(() => person("POST", `${path}/decision`, { decision: "approve" }));
      const { body } = await this.#ask("GET", `${path}?wait_seconds=30`);
      const answer = await decided;
      must(body.status === "approved", `${JSON.stringify(body)} after ${JSON.stringify(answer)}`);
      return String(body.decided_by);
    });
    await this.#made("consumes it", "POST", `${path}/consumption`, subject, { status: "consumed" });
    await this.#step("cannot consume it again", async () => {
      const { status, body } = await this.#ask("POST", `${path}/consumption`, subject);
      must(status === 409 && body.code === "already_consumed", JSON.stringify(body));
      return String(body.code);
    });
  }

  async #isStoppedByReopening(inSession: string): Promise<void> {
    await this.#step("cannot complete once a task is open again", async () => {
      const listed = await this.#ask("GET", `${inSession}/tasks?limit=1`);
      const [first] = listed.body.data as { id: string }[];
      await this.#ask("PATCH", `/tasks/${first?.id}`, { status: "doing" });
      const refused = await this.#ask("PATCH", inSession, { status: "completed" });
      must(refused.body.code === "gate_failed", JSON.stringify(refused.body));
      await this.#ask("PATCH", `/tasks/${first?.id}`, { status: "done" });
      return "gate_failed";
    });
  }

  /** One request whose answer must be a 2xx with these members. */
  async #made(step: string, method: string, path: string, body: Json, members: Json = {}): Promise<Json> {
    let made: Json = {};
    await this.#step(step, async () => {
      const answer = await this.#ask(method, path, body);
      must(answer.status >= 200 && answer.status < 300, JSON.stringify(answer.body));
      for (const [name, value] of Object.entries(members))
        must(answer.body[name] === value, `${name} is ${answer.body[name]}: ${JSON.stringify(answer.body)}`);
      made = answer.body;
      return String(made.id);
    });
    return made;
  }

  async #step(words: string, work: () => Promise<string>): Promise<void> {
    const from = performance.now();
    try {
      const note = await work();
      this.say(words, performance.now() - from, note);
    } catch (error) {
      throw new Error(`${words}: ${error instanceof Error ? error.message : error}`);
    }
  }

  #ask(method: string, path: string, body?: Json): Promise<Answer> {
    return ask(this.gateway, { authorization: `Bearer ${this.place.token}` }, method, path, body);
  }
}

async function ask(
  { url }: Gateway,
  credential: Record<string, string>,
  method: string,
  path: string,
  body?: Json,
): Promise<Answer> {
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    headers: { ...credential, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Json };
}

async function ran(args: string[], surroundings: Surroundings): Promise<Ran> {
  const result = await run(args, surroundings);
  must(result.code === 0, `specgate ${args.join(" ")}: exit code ${result.code}: ${result.stderr}`);
  return result;
}

function must(holds: boolean, why: string): void {
  if (!holds) throw new Error(why);
}

function taskList(count: number, status: "planned" | "done"): string {
  const box = status === "done" ? "[x]" : "[ ]";
  const lines = Array.from({ length: count }, (_, index) => {
    const ref = `SSP-PAY-001-TASK-${String(index + 1).padStart(4, "0")}`;
    const title = index % 2 === 0 ? `ตรวจสอบบัตรหมายเลข ${index + 1}` : `Check card number ${index + 1}`;
    return `- ${box} **${ref} [P${index % 3}]**: ${title}`;
  });
  return `# SSP-PAY-001: Card payments\n\n## Tasks\n\n${lines.join("\n")}\n`;
}

if (import.meta.main) {
  const at = process.argv.indexOf("--tasks");
  const tasks = at < 0 ? 1_000 : Number(process.argv[at + 1]);
  await buildIfChanged();
  const home = mkdtempSync(join(tmpdir(), "specgate-demo-"));
  const isS3 = process.argv[process.argv.indexOf("--storage") + 1] === "s3";
  // PostgreSQL runs under another uid when this is root, and has to pass through.
  chmodSync(home, 0o755);
  try {
    const storage = isS3 ? (await storeAt(await startObjectStore())).env : {};
    const say: Say = (step, milliseconds, note) =>
      console.log(`${String(Math.round(milliseconds)).padStart(6)} ms  the runner ${step}  ${note}`);
    await runnerLoop(home, tasks, say, storage);
    console.log("the runner is done");
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
