/** `specgate purge` beside a gateway that runs: on its database, in its store. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { inArray, sql } from "drizzle-orm";
import { urlOf } from "../db/connection.ts";
import { artifacts } from "../db/schema.ts";
import { scratchDir } from "../testing/cluster.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { putSession } from "../testing/objects.ts";
import { keep } from "../testing/stores.ts";
import { runAt } from "../testing/terminal.ts";
import type { UpkeepReport } from "../wiring-upkeep.ts";

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
    await gateway.people();
    const asked = { "idempotency-key": "k1", "content-type": "application/json" };
    const body = JSON.stringify({ title: "Invoices" });
    await gateway.robo.fetch(`/api/v1/projects/${gateway.robo.projectId}/sessions`, {
      method: "POST",
      headers: asked,
      body,
    });
    await (await gateway.robo.chat({})).text();
    await gateway.parts.ledger.settled();
    expect((await shown("purge --dry-run")).counts).toEqual({});
    await shift("idempotency", "at", 1);
    await shift("events", "at", 2);
    await shift("requests", "at", 401);
    await gateway.database.sql`update sign_ins set ended_at = now() - interval '2 days'`;
    await gateway.database.sql`insert into revocations (subject, at) values ('x', now() - interval '2 days')`;
    const dry = await shown("purge --dry-run");
    expect(dry.counts).toMatchObject({
      idempotency: 1,
      events: expect.any(Number),
      requests: 1,
      attempts: 1,
      sign_ins: 5,
      revocations: 1,
    });
    const { counts } = await shown("purge");
    expect(counts).toEqual(dry.counts);
    expect((await shown("purge")).counts).toEqual({});
  });

  test("takes orphans, and says what belongs to somebody else", async () => {
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
    expect(await shown("purge")).toMatchObject({ counts: { orphans: 1 }, foreign_objects: 1 });
    expect((await specgate("purge")).err).toBe(
      "Nothing is over its time.\nOld objects in the store that are of no project or person here, and stay: 1.\n",
    );
  });

  test("keeps calls as long as the gateway does, wherever it is run", async () => {
    await (await gateway.robo.chat({})).text();
    await gateway.parts.ledger.settled();
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
