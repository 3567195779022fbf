import { afterAll, beforeAll, expect, test } from "bun:test";
import { migrations } from "../../drizzle/migrations.ts";
import { type OwnCluster, ownCluster, type TestDatabase, testDatabase } from "../testing/cluster.ts";
import { connect, type Endpoint } from "./connection.ts";
import type { Sql } from "./database.ts";
import { migrate, pendingMigrations } from "./migrate.ts";

const plain = { applicationName: "test", prepare: false, connectionsMax: 2, statementTimeoutMs: null };
let cluster: OwnCluster;
let admin: Sql;
let shared: TestDatabase;

beforeAll(async () => {
  [cluster, shared] = await Promise.all([ownCluster(), testDatabase()]);
  admin = connect(cluster.embedded.superuser, plain);
});

afterAll(async () => {
  await admin.end();
  await cluster.stop();
});

async function emptyDatabase(): Promise<{ owner: Sql; gateway: Sql }> {
  const name = `empty_${Bun.randomUUIDv7().replaceAll("-", "")}`;
  await admin.unsafe(`create database ${name} owner specgate_owner`);
  const at = (endpoint: Endpoint) => connect({ ...endpoint, database: name } as Endpoint, plain);
  return { owner: at(cluster.embedded.owner), gateway: at(cluster.embedded.gateway) };
}

test("of two migrators that start together each step is taken once", async () => {
  const { owner } = await emptyDatabase();
  const names = migrations.map((step) => step.name);
  expect(await pendingMigrations(owner)).toEqual(names);
  const took = await Promise.all([1, 2].map(() => migrate(owner, { gatewayRole: "specgate" })));
  expect(took.flat()).toEqual(names);
  expect(await pendingMigrations(owner)).toEqual([]);
  const rows = await owner<{ name: string }[]>`select name from schema_migrations order by name`;
  expect(rows.map((row) => row.name)).toEqual(names);
});

test("a step that fails takes none of its start with it", async () => {
  const { owner } = await emptyDatabase();
  const broken = [...migrations, { name: "9999_broken", sql: "create table half (id int); select 1/0" }];
  expect(migrate(owner, { gatewayRole: null, migrations: broken })).rejects.toThrow("division by zero");
  await Bun.sleep(50);
  expect(await owner`select from pg_tables where schemaname = 'public'`).toHaveLength(0);
});

test("a schema newer than the binary is refused, and so is another history", async () => {
  const { owner } = await emptyDatabase();
  const newer = [...migrations, { name: "9999_future", sql: "create table future (id int)" }];
  await migrate(owner, { gatewayRole: "specgate", migrations: newer });
  expect(migrate(owner, { gatewayRole: "specgate" })).rejects.toThrow("newer than this binary");
  expect(pendingMigrations(owner)).rejects.toThrow("newer than this binary");
  const changed = newer.map((step) => ({ ...step, sql: `${step.sql} -- changed` }));
  expect(migrate(owner, { gatewayRole: "specgate", migrations: changed })).rejects.toThrow("differs");
});

test("a role that owns nothing starts on a schema that is up to date, and is told when it is not", async () => {
  const { owner, gateway } = await emptyDatabase();
  expect(migrate(gateway, { gatewayRole: "specgate" })).rejects.toThrow("permission denied");
  await migrate(owner, { gatewayRole: "specgate" });
  expect(await migrate(gateway, { gatewayRole: "specgate" })).toEqual([]);
});

test("the gateway's role writes rows and cannot touch the schema", async () => {
  const { owner, gateway } = await emptyDatabase();
  await migrate(owner, { gatewayRole: "specgate" });
  await gateway`insert into projects (id, name) values ('prj_1', 'one')`;
  expect(await pendingMigrations(gateway)).toEqual([]);
  for (const refused of [
    "create table mine (id int)",
    "drop table projects",
    "alter table audit disable trigger all",
    "delete from schema_migrations",
    "select grant_gateway('specgate')",
    "update audit set action = 'x'",
  ])
    expect(gateway.unsafe(refused).execute()).rejects.toThrow(/permission denied|must be owner/);
  const tables = await owner<{ name: string }[]>`
    select relname as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
      and not has_table_privilege('specgate', oid, 'SELECT')`;
  expect(tables.map((table) => table.name)).toEqual([]);
});

test("a DATABASE_URL that names another role gets its rights at the next start", async () => {
  const { owner } = await emptyDatabase();
  await migrate(owner, { gatewayRole: "specgate" });
  await admin.unsafe("drop role if exists other; create role other");
  await migrate(owner, { gatewayRole: "other" });
  const [row] = await owner`select has_table_privilege('other', 'users', 'UPDATE') as users,
    has_table_privilege('other', 'audit', 'UPDATE') as audit`;
  expect({ ...row }).toEqual({ users: true, audit: false });
});

test("an owner that is the gateway too migrates and works", async () => {
  const { owner } = await emptyDatabase();
  await migrate(owner, { gatewayRole: "specgate_owner" });
  expect(await migrate(owner, { gatewayRole: null })).toEqual([]);
  await owner`insert into projects (id, name) values ('prj_1', 'one')`;
});

test("nobody changes or removes what the audit log holds, not even the owner", async () => {
  const owner = connect(shared.owner, plain);
  const { sql } = shared.database;
  await sql`insert into audit (epoch, event_id, at, actor, actor_kind, action, outcome, details, row_hash)
    values (1, 'evt_1', now(), 'usr_1', 'user', 'client.created', 'ok', '{}', '\\x00')`;
  for (const table of ["audit", "audit_seals"])
    for (const change of [`update ${table} set epoch = 2`, `delete from ${table}`, `truncate ${table}`]) {
      expect(owner.unsafe(change).execute()).rejects.toThrow("append-only");
      expect(sql.unsafe(change).execute()).rejects.toThrow("permission denied");
    }
  await Bun.sleep(100);
  const [row] = await sql`select count(*) from audit`;
  expect(row?.count).toBe(1);
  await owner.end();
});
