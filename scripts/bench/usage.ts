/**
 * What summaries and pages of usage take with a hundredth of the calls and with all of them.
 *
 * Two gateways, the compiled binary with its embedded PostgreSQL, asked in turn, so that what else the machine does meets
 * both. The calls of 400 days are put in by SQL, with roll-ups as the merge would have kept them, and folded as the gateway
 * folds them; everything that is measured goes over HTTP, as an administrator and as a project's runner.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIfChanged } from "../build.ts";
import { openTables, openTablesDatabase, type Sql } from "../database.ts";
import { type Gateway, run, type Surroundings, serve, tokenOf } from "../gateway.ts";
import { atMost, type Figure } from "./figures.ts";

type Say = (words: string) => void;

/** Ten million take eleven gigabytes and a quarter of an hour. */
const large = Number(process.env.SPECGATE_BENCH_ROWS ?? 3_000_000);
const small = large / 100;
const days = 400;
const projects = 200;
const tasksPerProject = 50;
/** Of what is compared, each is asked this often. */
const asked = 300;

export async function usage(_seconds: number, say: Say): Promise<Figure[]> {
  await buildIfChanged();
  const worlds: World[] = [];
  try {
    for (const count of [small, large]) {
      const world = await World.open(say);
      worlds.push(world);
      await world.fill(count);
    }
    const [few, many] = worlds as [World, World];
    return await compare(few, many, say);
  } finally {
    for (const world of worlds) await world.close();
  }
}

/** p99 of each question with all calls, against that with a hundredth of them. */
async function compare(few: World, many: World, say: Say): Promise<Figure[]> {
  const times = new Map(questions.map(({ name }) => [name, { few: [] as number[], many: [] as number[] }]));
  for (let round = -5; round < asked; round++)
    for (const question of questions) {
      const [ofFew, ofMany] = [await few.time(question), await many.time(question)];
      if (round < 0) continue;
      times.get(question.name)?.few.push(ofFew);
      times.get(question.name)?.many.push(ofMany);
    }
  return [...times].map(([name, { few, many }]) => {
    const told = (all: number[]) => `${quantile(all, 0.5).toFixed(1)}/${quantile(all, 0.99).toFixed(1)} ms`;
    const note = `p50/p99 ${told(few)} at ${small}, ${told(many)} at ${large}`;
    say(`${name}: ${note}`);
    const ratio = quantile(many, 0.99) / Math.max(quantile(few, 0.99), 1);
    return atMost(`${name}: p99 against a hundredth`, ratio, 1.5, "×", note);
  });
}

type Question = { name: string; as: "admin" | "runner"; path: (projectId: string) => string };

const month = (): string => `from=${new Date(Date.now() - 30 * 86_400_000).toISOString()}`;
const anyTask = (): string => taskOf(Math.floor(Math.random() * projects * tasksPerProject));
const anyProject = (first: string): string => projectOf(Math.floor(Math.random() * projects), first);

const questions: Question[] = [
  { name: "a summary by day", as: "admin", path: () => "summary?group_by=day" },
  { name: "by model and project", as: "admin", path: () => "summary?group_by=model,project" },
  {
    name: "by task in a project",
    as: "admin",
    path: (own) => `summary?group_by=task&project=${anyProject(own)}`,
  },
  { name: "by task, as its runner", as: "runner", path: () => "summary?group_by=task" },
  { name: "by day and model, 30 days", as: "admin", path: () => `summary?group_by=day,model&${month()}` },
  { name: "by client, 30 days", as: "admin", path: () => `summary?group_by=client&${month()}` },
  { name: "the sum of all", as: "admin", path: () => "summary" },
  { name: "a page of calls", as: "admin", path: () => "requests?limit=50" },
  {
    name: "of one project",
    as: "admin",
    path: (own) => `requests?project=${anyProject(own)}&to=${anyTime()}`,
  },
  { name: "of one task", as: "admin", path: () => `requests?task=${anyTask()}` },
  { name: "of failed calls", as: "admin", path: () => `requests?state=failed&to=${anyTime()}` },
];

class World {
  private constructor(
    private readonly dir: string,
    private readonly gateway: Gateway,
    private readonly sql: Sql,
    private readonly callers: Callers,
    private readonly say: Say,
  ) {}

  static async open(say: Say): Promise<World> {
    const dir = mkdtempSync(join(tmpdir(), "specgate-bench-"));
    // PostgreSQL runs under another uid when this is root, and has to pass through.
    chmodSync(dir, 0o755);
    const password = crypto.randomUUID();
    writeFileSync(join(dir, "password"), password);
    writeFileSync(join(dir, "specgate.yaml"), "limits: { control: { requests_per_minute: null } }\n");
    const env = {
      SPECGATE_LOG_LEVEL: "warn",
      SPECGATE_ADMIN_EMAIL: "ada@example.com",
      SPECGATE_ADMIN_PASSWORD_FILE: join(dir, "password"),
    };
    const gateway = await serve([], { cwd: dir, env });
    try {
      const callers = await signIn(gateway, { cwd: dir, env }, password);
      return new World(dir, gateway, await openTables(join(dir, "specgate-data")), callers, say);
    } catch (error) {
      await gateway.stop("SIGTERM");
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.sql.end();
    await this.gateway.stop("SIGTERM");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Of each project one runner works on a task at a time, mostly with one model; three people ask others beside it. */
  async fill(count: number): Promise<void> {
    const { sql, callers, say } = this;
    const begun = performance.now();
    const seconds = () => ((performance.now() - begun) / 1_000).toFixed(0);
    await sql.unsafe(`
      set synchronous_commit = off; set statement_timeout = 0;
      truncate requests, usage_hours, usage_spans, usage_marks;
      alter table requests set unlogged; alter table usage_hours set unlogged; alter table usage_spans set unlogged`);
    const indexes = await sql<{ indexname: string; indexdef: string }[]>`
      select indexname, indexdef from pg_indexes where tablename = 'requests' and indexname <> 'requests_pkey'`;
    for (const { indexname } of indexes) await sql.unsafe(`drop index ${indexname}`);
    const pieces = 10;
    for (let piece = 0; piece < pieces; piece++)
      await sql.unsafe(callsOf(count, piece, pieces, callers.projectId));
    say(`${count} calls after ${seconds()} s`);
    for (const { indexdef } of indexes) await sql.unsafe(indexdef);
    say(`indexed after ${seconds()} s`);
    for (let day = 0; day <= days; day++) await sql.unsafe(rollUpOf(day));
    await sql.unsafe("vacuum analyze requests");
    await sql.unsafe("vacuum analyze usage_hours");
    say(`rolled up after ${seconds()} s`);
    const { foldDays } = await import("../../src/features/usage/folds.ts");
    const database = await openTablesDatabase(join(this.dir, "specgate-data"));
    const from = performance.now();
    const folded = await foldDays(database, { pauseMs: 0 });
    await database.close();
    say(`${folded} days folded, ${((performance.now() - from) / Math.max(folded, 1)).toFixed(0)} ms each`);
    await sql.unsafe("vacuum analyze usage_spans");
    const sizes = await sql<{ name: string; rows: string; size: string }[]>`
      select relname as name, reltuples::bigint::text as rows, pg_size_pretty(pg_total_relation_size(oid)) as size
      from pg_class where relname in ('requests', 'usage_hours', 'usage_spans')`;
    for (const { name, rows, size } of sizes) say(`${name}: ${rows} rows, ${size}`);
  }

  /** Milliseconds until the answer was read. */
  async time({ as, path }: Question): Promise<number> {
    const url = `${this.gateway.url}/api/v1/usage/${path(this.callers.projectId)}`;
    const from = performance.now();
    const response = await fetch(url, { headers: this.callers[as] });
    const text = await response.text();
    if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 500)}`);
    return performance.now() - from;
  }
}

type Callers = { admin: Record<string, string>; runner: Record<string, string>; projectId: string };

/** An administrator in a browser, and a project's runner. */
async function signIn(gateway: Gateway, surroundings: Surroundings, password: string): Promise<Callers> {
  const local = async (...args: string[]) =>
    JSON.parse((await run([...args, "--json"], surroundings)).stdout);
  const project = await local("project", "create", "Bench");
  const kind = ["--kind", "runner", "--project", project.id, "--scope", "usage:read"];
  const client = await local("client", "create", "--name", "bench", ...kind);
  const token = await tokenOf(gateway, client, { ttl_seconds: "3600" });
  const response = await fetch(`${gateway.url}/api/v1/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ email: "ada@example.com", password }),
  });
  const cookie = response.headers.get("set-cookie")?.split(";")[0];
  if (cookie === undefined) throw new Error(`no cookie: ${response.status} ${await response.text()}`);
  return {
    admin: { cookie, "sec-fetch-site": "same-origin" },
    runner: { authorization: `Bearer ${token}` },
    projectId: project.id,
  };
}

const anyTime = (): string => new Date(Date.now() - Math.random() * days * 86_400_000).toISOString();
const taskOf = (number: number): string => `tsk_${String(number).padStart(32, "0")}`;
/** The first project is the runner's. */
const projectOf = (number: number, first: string): string =>
  number === 0 ? first : `prj_${String(number).padStart(32, "0")}`;

/** The numbers of one piece, in the order of time. Each project works eight hours a day. */
const callsOf = (count: number, piece: number, pieces: number, projectId: string): string => `
  insert into requests (id, state, at, endpoint, requested_model, provider, model, principal, user_id, client_id,
    project_id, session_id, task_id, stream, status, delivery, input, output, cached_read, cost_nano, charged_nano,
    first_token_ms, duration_ms, instance, epoch)
  select 'req_' || md5(n::text), case when n % 50 = 0 then 'failed' else 'settled' end, at, 'chat/completions', model,
    'provider' || hashtext(model) % 2, model, coalesce(person, runner), person, case when person is null then runner end,
    project, case when person is null then 'ses_' || lpad((task / 5)::text, 32, '0') end,
    case when person is null then 'tsk_' || lpad(task::text, 32, '0') end,
    true, 200, 'whole', 500 + n % 4000, n % 900, n % 300, 10000 + n % 70000, 10000 + n % 70000,
    200 + (random() * 900)::int, 800 + (exp(random() * 4) * 300)::int, '00000000-0000-4000-8000-000000000000', 1
  from (
    select n, at, task, 'cli_' || p as runner, case when p = 0 then '${projectId}' else 'prj_' || lpad(p::text, 32, '0') end as project,
      case when isPerson then 'usr_' || p || '_' || extract(hour from at)::int % 3 end as person,
      'model' || (p + case when isPerson then 1 + extract(hour from at)::int % 3 else 0 end * 11) % 40 as model
    from (
      select n, p, random() < 0.2 as isPerson,
        (p * ${tasksPerProject} + floor(n::float8 / ${count + 1} * ${tasksPerProject}))::int as task,
        date_trunc('day', now(), 'UTC') - interval '${days} days'
          + floor(n::float8 / ${count + 1} * ${days}) * interval '1 day'
          + interval '9 hours' + random() * interval '8 hours' as at
      from (
        select n, floor(${projects} * pow(random(), 1.5))::int as p
        from generate_series(${Math.floor((count / pieces) * piece) + 1}::bigint, ${Math.floor((count / pieces) * (piece + 1))}::bigint) n
      ) as numbers
    ) as timed
  ) as called`;

/** As the merge keeps them. */
const rollUpOf = (day: number): string => `
  insert into usage_hours (hour, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id,
    requests, errors, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, unknown_nano,
    latency, first_token)
  select date_trunc('hour', at, 'UTC'), provider, model, coalesce(project_id, ''), coalesce(session_id, ''), '',
    coalesce(task_id, ''), coalesce(user_id, ''), coalesce(client_id, ''), '', count(*),
    count(*) filter (where state = 'failed'), sum(input), sum(output), sum(cached_read), 0, 0, 0, sum(cost_nano),
    sum(charged_nano), 0, sum(latency_count(duration_ms)), sum(latency_count(first_token_ms))
  from requests
  where at >= date_trunc('day', now(), 'UTC') - interval '${days - day} days'
    and at < date_trunc('day', now(), 'UTC') - interval '${days - day - 1} days'
  group by 1, 2, 3, 4, 5, 7, 8, 9`;

function quantile(values: number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}
