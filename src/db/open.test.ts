import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq, like } from "drizzle-orm";
import { Failure } from "../platform/failure.ts";
import { Secret } from "../platform/secret.ts";
import { type OwnCluster, ownCluster, type TestDatabase, testDatabase } from "../testing/cluster.ts";
import { connect, endpointOf, socketPath, urlOf } from "./connection.ts";
import type { Database } from "./database.ts";
import { applicationName, claimEpoch, endOlderBackends, heartbeat } from "./instance.ts";
import { openDatabase } from "./open.ts";
import { reach } from "./reach.ts";
import { projects, users } from "./schema.ts";

let shared: TestDatabase;

beforeAll(async () => {
  shared = await testDatabase();
});

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => null,
    (error) => error,
  );

function expectUnavailable(error: unknown): void {
  expect(error).toBeInstanceOf(Failure);
  expect((error as Failure).code).toBe("unavailable");
}

test("rows keep their types through drizzle and through plain SQL", async () => {
  const { db, sql } = shared.database;
  await db.insert(projects).values({ id: "prj_types", name: "é" });
  const row = await db.query.projects.findFirst({ where: eq(projects.id, "prj_types") });
  expect(row?.createdAt).toBeInstanceOf(Date);
  const [plain] = await sql`select created_at, 2::bigint as n, ${sql.json({ a: [1] })}::jsonb as j,
    ${sql.array(["x", "y"])} as a from projects where created_at = ${row?.createdAt ?? null} and id = any(${["prj_types"]})`;
  expect({ ...plain }).toEqual({ created_at: row?.createdAt ?? null, n: 2, j: { a: [1] }, a: ["x", "y"] });
});

test("a unique violation reaches the store with its code and without the values", async () => {
  const { db, transaction } = shared.database;
  const ada = { id: "usr_ada", email: "ada@example.com", role: "admin" as const, passwordHash: "hunter2" };
  await db.insert(users).values(ada);
  for (const error of [
    await failureOf(db.insert(users).values(ada).execute()),
    await failureOf(transaction((tx) => tx.insert(users).values(ada).execute())),
  ]) {
    expect(error).toMatchObject({ code: "23505", constraint_name: "users_pkey" });
    expect(String((error as Error).stack)).not.toContain("hunter2");
  }
});

test("what goes on in a transaction that has failed is not kept either", async () => {
  const { db, transaction } = shared.database;
  let others: Promise<unknown> = Promise.resolve();
  const failed = transaction(async (tx) => {
    const insert = (id: string) =>
      tx
        .insert(projects)
        .values({ id: `prj_late_${id}`, name: "late" })
        .execute()
        .catch(() => undefined);
    const failing = tx.execute("select 1/0");
    others = Promise.all(
      Array.from({ length: 8 }, async (_, branch) => {
        for (let number = 0; number < 20; number++) await insert(`${branch}_${number}`);
      }),
    );
    await failing;
  });
  expect(await failureOf(failed)).toMatchObject({ code: "22012" });
  await others;
  expect(await db.select().from(projects).where(like(projects.id, "prj_late_%"))).toEqual([]);
});

test("a transaction whose work throws leaves nothing behind", async () => {
  const { db, transaction } = shared.database;
  const swallowed = transaction(async (tx) => {
    await tx.insert(projects).values({ id: "prj_half", name: "half" });
    await tx.execute("select 1/0").catch(() => {});
  });
  expect(await failureOf(swallowed)).toMatchObject({ message: expect.stringContaining("rolled back") });
  expect(await db.select().from(projects).where(eq(projects.id, "prj_half"))).toEqual([]);
  const failed = transaction(async (tx) => {
    await tx.insert(projects).values({ id: "prj_gone", name: "gone" });
    throw new Error("changed my mind");
  });
  expect(await failureOf(failed)).toMatchObject({ message: "changed my mind" });
  expect(await db.select().from(projects).where(eq(projects.id, "prj_gone"))).toEqual([]);
});

test("a statement is ended by the server after five seconds", async () => {
  const began = performance.now();
  expectUnavailable(await failureOf(shared.database.sql`select pg_sleep(30)`));
  expect(performance.now() - began).toBeLessThan(5_900);
}, 10_000);

test("a database's place can be said as a URL, sockets included", async () => {
  expect(endpointOf(urlOf(shared.gateway))).toMatchObject({ kind: "socket", user: "specgate" });
  const again = connect(endpointOf(urlOf(shared.gateway)), {
    applicationName: "x",
    prepare: false,
    connectionsMax: 1,
    statementTimeoutMs: null,
  });
  expect(await again`select 1 as one`).toHaveLength(1);
  await again.end();
});

test("a pooler that knows few start parameters is served without them", async () => {
  const { gateway } = shared;
  if (gateway.kind !== "socket") throw new Error("not a socket");
  const pooler = startPooler(socketPath(gateway.directory));
  const name = `${gateway.user}:${gateway.password.reveal()}`;
  const database = await openDatabase({
    endpoint: {
      kind: "url",
      url: new Secret(`postgres://${name}@127.0.0.1:${pooler.port}/${gateway.database}`),
    },
    direct: gateway,
    prepare: false,
    applicationName: "specgate/test",
  });
  const [limit] = await database.sql`show statement_timeout`;
  expect(limit?.statement_timeout).toBe("0");
  await database.db.insert(projects).values({ id: "prj_pooled", name: "pooled" });
  const found = await database.transaction((tx) =>
    tx.select().from(projects).where(eq(projects.id, "prj_pooled")),
  );
  expect(found).toHaveLength(1);
  await database.close();
  pooler.stop(true);
});

test("a database that does not answer is named by its address, with the reason and nothing else of the URL", async () => {
  const web = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const said = async (place: string) => {
    const endpoint = endpointOf(new Secret(`postgres://canary:canary@${place}/x`));
    const error = await failureOf(reach(endpoint, "specgate/test", 500));
    expectUnavailable(error);
    return (error as Failure).message;
  };
  expect(await said("127.0.0.1:1")).toBe(
    "DATABASE_URL: 127.0.0.1:1 refuses connections (ECONNREFUSED); is PostgreSQL running there?",
  );
  expect(await said("nosuchhost.invalid")).toMatch(/nosuchhost\.invalid:5432 cannot be resolved \(E\w+\)$/);
  expect(await said(`127.0.0.1:${web.port}`)).toContain(`${web.port} does not answer as PostgreSQL does`);
  web.stop(true);
});

/** As PgBouncer does: a start parameter that it does not track ends the connection. */
function startPooler(path: string) {
  type Link = { up: Promise<Bun.Socket<undefined>> | null };
  return Bun.listen<Link>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (down) => {
        down.data = { up: null };
      },
      async data(down, bytes) {
        if (down.data.up === null && bytes.includes("statement_timeout")) {
          const said = Buffer.from("SFATAL\0C08P01\0Munsupported startup parameter: statement_timeout\0\0");
          const size = Buffer.alloc(4);
          size.writeInt32BE(said.length + 4);
          down.end(Buffer.concat([Buffer.from("E"), size, said]));
          return;
        }
        down.data.up ??= Bun.connect<undefined>({
          unix: path,
          socket: { data: (_up, answer) => void down.write(answer), close: () => void down.end() },
        });
        (await down.data.up).write(bytes);
      },
      close: (down) => void down.data.up?.then((up) => up.end()),
    },
  });
}

test("an epoch is only raised, and a copied data dir is found out", async () => {
  const { sql } = shared.database;
  const instance = crypto.randomUUID();
  await claimEpoch(sql, { instance, epoch: 3, nonce: "a" });
  await claimEpoch(sql, { instance, epoch: 3, nonce: "a" });
  await heartbeat(sql, { instance, epoch: 3, nonce: "a" });
  for (const copy of [
    { instance, epoch: 3, nonce: "b" },
    { instance, epoch: 2, nonce: "a" },
  ])
    expect(await failureOf(claimEpoch(sql, copy))).toMatchObject({ code: "data_dir_copied" });
  await claimEpoch(sql, { instance, epoch: 4, nonce: "b" });
  expect(await failureOf(heartbeat(sql, { instance, epoch: 3, nonce: "a" }))).toMatchObject({
    code: "data_dir_copied",
  });
});

test("what an earlier boot left running is gone before the next one goes on", async () => {
  const instance = crypto.randomUUID();
  const open = (epoch: number): Promise<Database> =>
    openDatabase({
      endpoint: shared.gateway,
      direct: null,
      prepare: true,
      applicationName: applicationName({ instance, epoch }),
    });
  const [old, fresh] = await Promise.all([open(1), open(2)]);
  const left = failureOf(old.sql`select pg_sleep(4)`);
  await Bun.sleep(100);
  const began = performance.now();
  await endOlderBackends(fresh.sql, { instance, epoch: 2 });
  expect(performance.now() - began).toBeLessThan(1_000);
  expectUnavailable(await left);
  await Promise.all([old.close(), fresh.close()]);
});

describe("a server that goes away", () => {
  let cluster: OwnCluster;
  let database: Database;

  beforeAll(async () => {
    cluster = await ownCluster();
    database = await openDatabase({
      endpoint: cluster.embedded.gateway,
      direct: null,
      prepare: true,
      applicationName: "specgate/test",
    });
  });

  afterAll(async () => {
    await database.close();
    await cluster.stop();
  });

  async function answersAgain(): Promise<void> {
    const began = performance.now();
    while ((await failureOf(database.ping(500))) !== null && performance.now() - began < 5_000)
      await Bun.sleep(20);
  }

  test("killed, it comes back and the gateway finds it without help", async () => {
    const { db } = database;
    await db.insert(projects).values({ id: "prj_kept", name: "kept" });
    const before = cluster.embedded.pid();
    const cut = failureOf(database.sql`select pg_sleep(3)`);
    const cutInside = failureOf(database.transaction((tx) => tx.execute("select pg_sleep(3)")));
    await Bun.sleep(100);
    cluster.kill();
    expectUnavailable(await cut);
    expectUnavailable(await cutInside);
    const began = performance.now();
    let rows: unknown[] | null = null;
    while (rows === null && performance.now() - began < 5_000) {
      const answer = await db
        .select()
        .from(projects)
        .then(
          (found) => found,
          (error: unknown) => error,
        );
      if (Array.isArray(answer)) rows = answer;
      else expectUnavailable(answer);
      await Bun.sleep(20);
    }
    expect(rows).toHaveLength(1);
    expect(cluster.embedded.pid()).not.toBe(before);
  }, 10_000);

  test("a transaction that lost its connection sends nothing more, whatever its work still tries", async () => {
    const work = database.transaction(async (tx) => {
      await tx.insert(projects).values({ id: "prj_before", name: "before" });
      cluster.kill();
      await Bun.sleep(1_500);
      for (const id of ["prj_after", "prj_later"])
        await tx
          .insert(projects)
          .values({ id, name: "after" })
          .catch(() => {});
    });
    expectUnavailable(await failureOf(work));
    await answersAgain();
    const rows = await database.db.select().from(projects).where(like(projects.name, "%fter"));
    expect(rows).toEqual([]);
    expect(await database.db.select().from(projects)).toHaveLength(1);
  }, 10_000);

  test("frozen, it costs a caller six seconds and no more, and thawed it answers again", async () => {
    cluster.freeze();
    const began = performance.now();
    const refused = await Promise.all([
      failureOf(database.db.select().from(projects).execute()),
      failureOf(database.sql`select 1`),
      failureOf(database.transaction((tx) => tx.select().from(projects).execute())),
      ...Array.from({ length: 30 }, () => failureOf(database.db.select().from(users).execute())),
    ]);
    for (const error of refused) expectUnavailable(error);
    expect(performance.now() - began).toBeLessThan(6_500);
    const pinged = performance.now();
    expectUnavailable(await failureOf(database.ping(200)));
    expect(performance.now() - pinged).toBeLessThan(400);
    cluster.thaw();
    await answersAgain();
    expect(await database.db.select().from(projects)).toHaveLength(1);
  }, 20_000);

  test("stopped, it is refused at once", async () => {
    await cluster.embedded.stop();
    const began = performance.now();
    expectUnavailable(await failureOf(database.db.select().from(projects).execute()));
    expectUnavailable(await failureOf(database.transaction(async () => {})));
    expect(performance.now() - began).toBeLessThan(1_000);
  });
});
