/** `specgate purge` beside a gateway that runs: on its database, in its store. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { eq, inArray, sql } from "drizzle-orm";
import { urlOf } from "../db/connection.ts";
import { artifacts, authorizationCodes, clients } from "../db/schema.ts";
import { Purge } from "../features/artifacts/purge.ts";
import type { Elsewhere } from "../features/artifacts/store-orphans.ts";
import { systemClock } from "../platform/clock.ts";
import { silentLog } from "../platform/log.ts";
import { scratchDir } from "../testing/cluster.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { putSession } from "../testing/objects.ts";
import { keep } from "../testing/stores.ts";
import { runAt } from "../testing/terminal.ts";
import { createUpkeep, type UpkeepReport } from "../wiring-upkeep.ts";

let gateway: TestGateway;
let session: string;
const home = scratchDir();
beforeAll(async () => {
  gateway = await startGateway();
  session = await putSession(gateway.database, gateway.robo.projectId);
});
afterAll(() => gateway.close());

const bytes = new TextEncoder().encode("twelve bytes");
const specgate = (line: string, env: Record<string, string> = {}) => {
  const database = urlOf(gateway.owner).reveal();
  const around = { SPECGATE_DATA_DIR: gateway.dir.path, DATABASE_URL: database, ...env };
  return runAt(home, line.split(" "), { env: around });
};
type Shown = {
  dry_run: boolean;
  data: UpkeepReport["tallies"];
  foreign_objects: number;
  unknown_objects: number;
  elsewhere: Elsewhere[];
  troubles: unknown[];
};
async function shown(line: string): Promise<{ counts: Record<string, number> } & Omit<Shown, "data">> {
  const said = await specgate(`${line} --json`);
  expect([said.code, said.err]).toEqual([0, ""]);
  const { data, ...rest } = JSON.parse(said.out) as Shown;
  const counts = data.filter(({ count }) => count > 0).map(({ kind, count }) => [kind, count]);
  return { ...rest, counts: Object.fromEntries(counts) };
}
async function putOld(count: number): Promise<void> {
  const ids = await Promise.all(Array.from({ length: count }, () => keep(gateway.robo, session, bytes)));
  await gateway.database.db
    .update(artifacts)
    .set({ expiresAt: sql`now() - interval '1 minute'` })
    .where(inArray(artifacts.id, ids));
}
const shift = (table: string, column: string, days: number) =>
  gateway.database.sql.unsafe(`update ${table} set ${column} = ${column} - interval '${days} days'`);

/** An app that registered itself, and whose only code was never redeemed. */
async function registerLongAgo(userId: string): Promise<void> {
  const { db } = gateway.database;
  const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000);
  const app = { id: "cli_noise", name: "Noise", kind: "desktop", origin: "registration" } as const;
  const lists = { scopes: [], redirectUris: [] };
  await db.insert(clients).values({ ...app, ...lists, createdAt: daysAgo(3) });
  await db.insert(authorizationCodes).values({
    hash: new Uint8Array(32),
    clientId: app.id,
    userId,
    scopes: [],
    audiences: [],
    challenge: "x",
    expiresAt: daysAgo(3),
  });
}

describe("specgate purge", () => {
  test("says that there is nothing to do", async () => {
    expect(await specgate("purge")).toEqual({ code: 0, out: "", err: "Nothing is over its time.\n" });
  });

  test("says what would go, and then what went", async () => {
    await putOld(3);
    const table = /^KIND +COUNT +BYTES\nartifacts +3 +36\n$/;
    const [dry, real, again] = [
      await specgate("purge --dry-run"),
      await specgate("purge"),
      await specgate("purge"),
    ];
    expect([dry.code, dry.err]).toEqual([0, "3 files (36 bytes) and 0 rows would go.\n"]);
    expect(dry.out).toMatch(table);
    expect([real.code, real.err]).toEqual([0, "3 files (36 bytes) and 0 rows went.\n"]);
    expect(real.out).toMatch(table);
    expect(again.err).toBe("Nothing is over its time.\n");
    const verified = await specgate("audit verify");
    expect([verified.code, verified.out]).toEqual([0, expect.stringMatching(/^intact: /)]);
  });

  test("takes rows of every kind, an hour or a day late", async () => {
    const { vera } = await gateway.people();
    const asked = { "idempotency-key": "k1", "content-type": "application/json" };
    const body = JSON.stringify({ title: "Invoices" });
    await gateway.robo.fetch(`/api/v1/projects/${gateway.robo.projectId}/sessions`, {
      method: "POST",
      headers: asked,
      body,
    });
    await (await gateway.robo.chat({})).text();
    await gateway.parts.ledger.settled();
    // The newest event stays, however old: one that came in the middle would let another one go.
    const ticks = () => gateway.database.sql`select 1 from events where type = 'usage.tick'`;
    while ((await ticks()).length === 0) await Bun.sleep(20);
    expect((await shown("purge --dry-run")).counts).toEqual({});
    await shift("idempotency", "at", 1);
    await shift("events", "at", 2);
    await shift("requests", "at", 401);
    await gateway.database.sql`update sign_ins set ended_at = now() - interval '2 days'`;
    await gateway.database.sql`insert into revocations (subject, at) values ('x', now() - interval '2 days')`;
    await registerLongAgo(vera.id);
    const dry = await shown("purge --dry-run");
    expect(dry.counts).toMatchObject({
      idempotency: 1,
      events: expect.any(Number),
      requests: 1,
      attempts: 1,
      sign_ins: 5,
      revocations: 1,
      authorization_codes: 1,
      clients: 1,
    });
    const { counts } = await shown("purge");
    expect(counts).toEqual(dry.counts);
    expect((await shown("purge")).counts).toEqual({});
  });

  test("takes no object that no artifact names unless told to, and none that belongs to somebody else", async () => {
    const old = new Date(Date.now() - 8 * 86_400_000);
    const put = (project: string) => {
      const tail = "0".repeat(32);
      const path = `${gateway.dir.path}/blobs/projects/${project}/sessions/ses_${tail}/iterations/0/art_${tail}/x`;
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, "orphan");
      utimesSync(path, old, old);
    };
    put(gateway.robo.projectId);
    put(`prj_${"1".repeat(32)}`);
    expect(await shown("purge")).toMatchObject({ counts: {}, foreign_objects: 1, unknown_objects: 1 });
    const { err } = await specgate("purge");
    expect(err).toContain("Nothing is over its time.\n");
    expect(err).toContain("that no artifact names, and stay: 1. Was an older backup restored,");
    const told = "purge --unknown-objects";
    const going = { counts: { orphans: 1 }, foreign_objects: 1, unknown_objects: 0 };
    expect(await shown(`${told} --dry-run`)).toMatchObject(going);
    expect(await shown(told)).toMatchObject(going);
    expect((await specgate(told)).err).toBe(
      "Nothing is over its time.\nOld objects in the store that are of no project or person here, and stay: 1.\n",
    );
  });

  test("the gateway warns of objects that no artifact names", async () => {
    const id = await keep(gateway.robo, session, bytes);
    const [row] = await gateway.database.db.delete(artifacts).where(eq(artifacts.id, id)).returning();
    const old = new Date(Date.now() - 8 * 86_400_000);
    utimesSync(`${gateway.dir.path}/blobs/${row?.key}`, old, old);
    const { database, parts } = gateway;
    const warned: unknown[] = [];
    const log = { ...silentLog, warn: (...said: unknown[]) => void warned.push(said) };
    if (parts.disk === null) throw new Error("no local store");
    const purge = new Purge({ database, changes: parts.changes, objects: parts.disk, log });
    const needs = { ...parts, database, purge, objects: parts.disk, clock: systemClock(), log };
    const report = await createUpkeep(needs).run({ dryRun: false, orphans: true });
    expect([report.unknown, report.troubles]).toEqual([1, []]);
    expect(warned).toEqual([
      [
        "objects of no artifact stay in the store",
        { objects: 1, advice: expect.stringContaining("--unknown-objects") },
      ],
    ]);
    await parts.disk.remove(row?.key ?? "");
  });

  test("keeps calls as long as the gateway does, wherever it is run", async () => {
    await (await gateway.robo.chat({})).text();
    await gateway.parts.ledger.settled();
    await specgate("purge");
    await shift("requests", "at", 500);
    const file = `${home}/for-ever.yaml`;
    writeFileSync(file, "retention: { requests_days: null }\n");
    const note = gateway.dir.file("config-file");
    writeFileSync(note, `${file}\n`);
    expect((await shown("purge --dry-run")).counts).toEqual({});
    writeFileSync(note, "/nowhere/specgate.yaml\n");
    const lost = await specgate("purge");
    expect([lost.code, lost.out]).toEqual([2, ""]);
    expect(lost.err).toContain("/nowhere/specgate.yaml");
    writeFileSync(note, "\n");
    expect((await shown("purge --dry-run")).counts).toEqual({ requests: 1, attempts: 1 });
    expect((await shown(`purge --dry-run --config ${file}`)).counts).toEqual({});
  });

  test("reads the gateway's file and not one that happens to be where it is run, and says so", async () => {
    const [local, own] = [`${home}/specgate.yaml`, `${home}/of-the-gateway.yaml`];
    const note = gateway.dir.file("config-file");
    writeFileSync(own, "retention: { requests_days: null }\n");
    writeFileSync(local, "retention: { requests_days: 1 }\n");
    const counted = async (line: string, env = {}) => {
      const { out, err } = await specgate(`${line} --dry-run --json`, env);
      const { data } = JSON.parse(out) as Shown;
      return [data.find(({ kind }) => kind === "requests")?.count ?? 0, err];
    };
    await shift("requests", "at", -300);
    writeFileSync(note, `${own}\n`);
    const reading = (file: string) => `specgate: reading ${file}, as the gateway does, and not ${local}.\n`;
    expect(await counted("purge")).toEqual([0, reading(own)]);
    expect(await counted(`purge --config ${local}`)).toEqual([1, ""]);
    expect(await counted("purge", { SPECGATE_CONFIG: local })).toEqual([1, ""]);
    writeFileSync(local, "not: [a, configuration\n");
    expect(await counted("purge")).toEqual([0, reading(own)]);
    writeFileSync(local, "retention: { requests_days: 1 }\n");
    writeFileSync(note, "\n");
    expect(await counted("purge")).toEqual([0, reading("no specgate.yaml")]);
    writeFileSync(note, `${local}\n`);
    expect(await counted("purge")).toEqual([1, ""]);
    rmSync(note);
    expect(await counted("purge")).toEqual([1, ""]);
    rmSync(local);
  });

  test("says what is in another store, where it cannot go, and doctor says it too", async () => {
    await putOld(2);
    const place = "s3 elsewhere.example.com artifacts";
    const mine = sql`status <> 'purged'`;
    const held = await gateway.database.db.select().from(artifacts).where(mine);
    await gateway.database.db.update(artifacts).set({ place }).where(mine);
    expect((await shown("purge")).elsewhere).toEqual([{ place, count: 2, bytes: 24 }]);
    const words = `2 artifacts (24 bytes) in another store (${place}): not served and not purged`;
    expect((await specgate("purge")).err).toContain(`\n${words}`);
    const doctor = () => specgate("doctor");
    expect((await doctor()).out).toMatch(/^WARN +storage +2 artifacts \(24 bytes\) in another store/m);
    await gateway.database.db
      .update(artifacts)
      .set({ place: held[0]?.place ?? "" })
      .where(mine);
    expect((await doctor()).out).not.toContain("another store");
    expect(await shown("purge")).toMatchObject({ counts: { artifacts: 2 }, elsewhere: [] });
  });

  test("does everything else when the store is away, and says so with exit code 1", async () => {
    await putOld(1);
    await shift("requests", "at", 500);
    const away = {
      SPECGATE_STORAGE: "s3",
      S3_ENDPOINT: "http://127.0.0.1:9",
      S3_BUCKET: "artifacts",
      S3_ACCESS_KEY_ID: "the-id",
      S3_SECRET_ACCESS_KEY: "the-secret-of-the-key",
    };
    await gateway.database.db
      .update(artifacts)
      .set({ place: "s3 127.0.0.1:9 artifacts" })
      .where(sql`status = 'complete'`);
    const said = await specgate("purge", away);
    expect(said.code).toBe(1);
    expect(said.out).toMatch(/^requests +1 +-$/m);
    expect(said.err).toMatch(/^specgate: artifacts: The object store cannot be reached\./m);
    expect(said.err).toMatch(/^specgate: orphans: The object store cannot be reached\./m);
    expect(said.err + said.out).not.toContain("the-secret");
    const [row] = await gateway.database.db.select().from(artifacts).where(sql`status = 'complete'`);
    expect(row?.place).toBe("s3 127.0.0.1:9 artifacts");
  });
});
