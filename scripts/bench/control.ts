/**
 * The control plane with a million tasks in it: batches of a thousand, and what lists and searches take at a hundredth
 * of the size and at the whole.
 *
 * The compiled binary with its embedded PostgreSQL; the rows are put in by SQL, everything that is measured goes over
 * HTTP. Pages are asked for in turn at random places, so that a plan that reads what it does not show is seen.
 */

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIfChanged } from "../build.ts";
import { openTables, type Sql } from "../database.ts";
import { type Gateway, run, type Surroundings, serve, tokenOf } from "../gateway.ts";
import { atMost, type Figure } from "./figures.ts";

type Say = (words: string) => void;

const sessions = 100;
const small = 10_000;
const large = 1_000_000;
const batch = 1_000;
/** Of what is compared, each is asked this often. */
const asked = 400;

export async function control(seconds: number, say: Say): Promise<Figure[]> {
  await buildIfChanged();
  const dir = mkdtempSync(join(tmpdir(), "specgate-bench-"));
  // PostgreSQL runs under another uid when this is root, and has to pass through.
  chmodSync(dir, 0o755);
  let gateway: Gateway | undefined;
  let sql: Sql | undefined;
  try {
    writeFileSync(join(dir, "specgate.yaml"), "limits: { control: { requests_per_minute: null } }\n");
    const surroundings = { cwd: dir, env: { SPECGATE_LOG_LEVEL: "warn" } };
    gateway = await serve([], surroundings);
    sql = await openTables(join(dir, "specgate-data"));
    const world = await Bench.open(gateway, surroundings, sql, say);
    return await world.measure(seconds);
  } finally {
    await sql?.end();
    await gateway?.stop("SIGTERM");
    rmSync(dir, { recursive: true, force: true });
  }
}

class Bench {
  private constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly projectId: string,
    private readonly sql: Sql,
    private readonly say: Say,
  ) {}

  static async open(gateway: Gateway, surroundings: Surroundings, sql: Sql, say: Say): Promise<Bench> {
    const local = async (...args: string[]) =>
      JSON.parse((await run([...args, "--json"], surroundings)).stdout);
    const project = await local("project", "create", "Bench");
    const scope = "control:read control:write";
    const kind = ["--kind", "runner", "--project", project.id, "--scope", scope];
    const client = await local("client", "create", "--name", "bench", ...kind);
    await sql`insert into sessions (id, project_id, title, status, created_by)
      select ${`ses_${"0".repeat(26)}`} || lpad(n::text, 6, '0'), ${project.id}, 'session ' || n, 'open', 'bench'
      from generate_series(1, ${sessions}) n`;
    const token = await tokenOf(gateway, client, { ttl_seconds: "3600" });
    return new Bench(gateway.url, token, project.id, sql, say);
  }

  async measure(seconds: number): Promise<Figure[]> {
    const upserts = await this.#upserts("an empty table", seconds);
    await this.#fill(small);
    const before = await this.#reads();
    await this.#fill(large);
    const after = await this.#reads();
    const later = await this.#upserts("1 M tasks", seconds);
    await this.#explain();
    const ratios = [...after].map(([name, p99]) => {
      const base = before.get(name) ?? p99;
      const note = `${base.toFixed(1)} ms at ${small}, ${p99.toFixed(1)} ms at ${large}`;
      return atMost(`${name}: p99 against a hundredth`, p99 / Math.max(base, 1), 1.5, "×", note);
    });
    return [...upserts, ...later, ...ratios];
  }

  /** Medians: a batch now and then waits for a checkpoint, which belongs to the disk. */
  async #upserts(where: string, seconds: number): Promise<Figure[]> {
    const fresh: number[] = [];
    const again: number[] = [];
    const until = performance.now() + seconds * 1_000;
    while (performance.now() < until || fresh.length < 5) {
      const { id } = await this.#ask<{ id: string }>("POST", `/projects/${this.projectId}/sessions`, {
        title: "upsert",
      });
      const body = { mode: "replace", tasks: Array.from({ length: batch }, (_, at) => item(at)) };
      fresh.push(await this.#time("PUT", `/sessions/${id}/tasks`, body));
      again.push(await this.#time("PUT", `/sessions/${id}/tasks`, body));
    }
    this.say(`${fresh.length} batches upserted in ${where}`);
    const note = (times: number[]) => `p95 ${quantile(times, 0.95).toFixed(0)} ms, ${times.length} batches`;
    return [
      atMost(`upsert of ${batch} new tasks, ${where}`, quantile(fresh, 0.5), 150, "ms", note(fresh)),
      atMost(`the same sent again, ${where}`, quantile(again, 0.5), 60, "ms", note(again)),
    ];
  }

  async #fill(count: number): Promise<void> {
    const { projectId, sql } = this;
    const each = count / sessions;
    const [{ most } = { most: 0 }] = await sql<{ most: number }[]>`
      select coalesce(max(position), 0) as most from tasks where session_id = ${sessionId(1)}`;
    for (let session = 1; session <= sessions; session++) {
      await sql`
        insert into tasks (id, project_id, session_id, dedupe_key, task_ref, title, originating_spec, mapped_files,
          mapped_tests, status, position, search)
        select 'tsk_' || md5(${session}::text || ' ' || n), ${projectId}, ${sessionId(session)}, 'key ' || n,
          'TASK-' || n, 'Task number ' || n, 'spec ' || n % 20, '{}', '{}',
          (array['planned', 'doing', 'done', 'done', 'done', 'done', 'done', 'done', 'done', 'blocked'])[1 + n % 10], n,
          to_tsvector('simple', 'task number ' || n || case when n % 5000 = 0 then ' zebra' else '' end)
        from generate_series(${most + 1}::int, ${each}::int) n`;
      if (session % 25 === 0)
        this.say(`${((session * each) / 1_000).toFixed(0)} k of ${count / 1_000} k tasks`);
    }
    await sql`vacuum analyze tasks`;
  }

  /** p99 in milliseconds, by what was asked. */
  async #reads(): Promise<Map<string, number>> {
    const pages = new Map<string, () => string>([
      ["a page of a session's tasks", () => `/sessions/${anySession()}/tasks?limit=50`],
      ["of one status", () => `/sessions/${anySession()}/tasks?limit=50&status=blocked`],
      ["of two statuses", () => `/sessions/${anySession()}/tasks?limit=50&status=doing,planned`],
      ["of one spec", () => `/sessions/${anySession()}/tasks?limit=50&spec=spec%207`],
      ["a page of sessions", () => `/projects/${this.projectId}/sessions?limit=50`],
      ["a search for a rare word", () => `/projects/${this.projectId}/search?q=zebra&limit=20`],
    ]);
    const times = new Map<string, number[]>([...pages.keys()].map((name) => [name, []]));
    for (let round = 0; round < asked; round++)
      for (const [name, path] of pages) times.get(name)?.push(await this.#time("GET", path()));
    return new Map([...times].map(([name, all]) => [name, quantile(all, 0.99)]));
  }

  /** What the database does for the lists, for whoever reads the bench's words. */
  async #explain(): Promise<void> {
    const asks = {
      list: `session_id = '${sessionId(7)}' and position > 100`,
      status: `session_id = '${sessionId(7)}' and status = 'blocked' and position > 100`,
      spec: `session_id = '${sessionId(7)}' and originating_spec = 'spec 7' and position > 100`,
    };
    for (const [name, where] of Object.entries(asks)) {
      const plan = await this.sql.unsafe(
        `explain (analyze, buffers, costs off, timing off) select * from tasks where ${where} order by position limit 51`,
      );
      this.say(`plan of ${name}:\n${plan.map((row) => `    ${row["QUERY PLAN"]}`).join("\n")}`);
    }
  }

  async #time(method: string, path: string, body?: object): Promise<number> {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const from = performance.now();
    await this.#send(method, path, sent);
    return performance.now() - from;
  }

  async #ask<Body>(method: string, path: string, body: object): Promise<Body> {
    return JSON.parse(await this.#send(method, path, JSON.stringify(body)));
  }

  async #send(method: string, path: string, body: string | undefined): Promise<string> {
    for (;;) {
      const response = await fetch(`${this.url}/api/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body }),
      });
      const text = await response.text();
      if (response.ok) return text;
      throw new Error(`${method} ${path} answered ${response.status}: ${text.slice(0, 500)}`);
    }
  }
}

const sessionId = (number: number): string => `ses_${String(number).padStart(32, "0")}`;
const anySession = (): string => sessionId(1 + Math.floor(Math.random() * sessions));

const item = (at: number) => ({
  task_ref: `SSP-BENCH-001-TASK-${at}`,
  title:
    at % 2 === 0 ? `ตรวจสอบการชำระเงินด้วยบัตรเครดิต ครั้งที่ ${at}` : `Validate the card payment form, case ${at}`,
  originating_spec: "SSP-BENCH-001",
  acceptance_criteria: `Given a card, when it is charged ${at} times, then it is charged once.`,
  mapped_files: [`src/payments/card-${at}.ts`],
  mapped_tests: [`src/payments/card-${at}.test.ts`],
  status: "planned",
});

function quantile(values: number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}
