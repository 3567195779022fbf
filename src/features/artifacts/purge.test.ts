/**
 * What goes by itself, and that nothing else does: times are shifted in the database, everything else is as in `serve`.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq, inArray, sql } from "drizzle-orm";
import fc from "fast-check";
import { artifactRoom, artifacts, audit } from "../../db/schema.ts";
import { Failure } from "../../platform/failure.ts";
import { silentLog } from "../../platform/log.ts";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { putSession } from "../../testing/objects.ts";
import { announce, keep, put } from "../../testing/stores.ts";
import { ok, refused } from "../../testing/wire.ts";
import { openHeads } from "../audit/heads.ts";
import { verify } from "../audit/verify.ts";
import type { ArtifactView } from "./contract.ts";
import type { ObjectStore } from "./object-store.ts";
import { Purge } from "./purge.ts";

let gateway: TestGateway;
let session: string;
let disk: ObjectStore;

beforeAll(async () => {
  gateway = await startGateway();
  if (gateway.parts.disk === null) throw new Error("no local store");
  disk = gateway.parts.disk;
});
afterAll(() => gateway.close());
beforeEach(async () => {
  session = await putSession(gateway.database, gateway.robo.projectId);
});

const bytes = new TextEncoder().encode("what was found out\n");
const run = (dryRun = false) => gateway.parts.upkeep.run({ dryRun, orphans: false });
const filesOf = (report: Awaited<ReturnType<typeof run>>) =>
  report.tallies.find(({ kind }) => kind === "artifacts");
const show = (id: string) => ok<ArtifactView>(gateway.robo, "GET", `/artifacts/${id}`);
const rowOf = async (id: string) => {
  const [row] = await gateway.database.db.select().from(artifacts).where(eq(artifacts.id, id));
  if (row === undefined) throw new Error("no such row");
  return row;
};
const isStored = async (id: string) => (await disk.find((await rowOf(id)).key)) !== null;
const kept = () => keep(gateway.robo, session, bytes);
const drop = (id: string) => ok(gateway.robo, "DELETE", `/artifacts/${id}`);
/** As if so many hours had passed for these. */
const age = (hours: number, ...ids: string[]) =>
  gateway.database.db
    .update(artifacts)
    .set({
      expiresAt: sql`expires_at - make_interval(hours => ${hours})`,
      uploadUntil: sql`upload_until - make_interval(hours => ${hours})`,
    })
    .where(inArray(artifacts.id, ids));

/** The owner's room, and what the rows add up to. */
async function roomOf(owner: string) {
  const [room] = await gateway.database.db.select().from(artifactRoom).where(eq(artifactRoom.owner, owner));
  const [sum] = await gateway.database.db.execute<{ bytes: number; objects: number }>(sql`
    select coalesce(sum(size_bytes), 0)::int as bytes, count(*)::int as objects
    from artifacts where owner = ${owner} and status <> 'purged'`);
  return { room: [room?.sizeBytes ?? 0, room?.objects ?? 0], rows: [sum?.bytes, sum?.objects] };
}

const purgeWith = (objects: Partial<ObjectStore>, changes = gateway.parts.changes) =>
  new Purge({ database: gateway.database, changes, objects: { ...disk, ...objects }, log: silentLog });

describe("purge", () => {
  test("takes what is over, row and object, and nothing else", async () => {
    const { id: waiting, upload } = await announce(gateway.robo, session, bytes);
    const { id: forgotten, upload: late } = await announce(gateway.robo, session, bytes);
    await put(upload, bytes);
    await put(late, bytes);
    const [young, old, deleted, justDeleted] = [await kept(), await kept(), await kept(), await kept()];
    await drop(deleted);
    await drop(justDeleted);
    await age(26, forgotten);
    await age(91 * 24, old);
    await age(2, deleted);
    const over = [forgotten, old, deleted];
    expect(filesOf(await run(true))).toEqual({ kind: "artifacts", count: 3, bytes: 3 * bytes.length });
    expect(await isStored(old)).toBe(true);
    expect(await Promise.all(over.map(async (id) => (await show(id)).status))).toEqual([
      "pending",
      "complete",
      "deleted",
    ]);

    const report = await run();
    expect([filesOf(report), report.troubles]).toEqual([
      { kind: "artifacts", count: 3, bytes: 3 * bytes.length },
      [],
    ]);
    for (const id of over) {
      expect([(await show(id)).status, await isStored(id)]).toEqual(["purged", false]);
      expect(await refused(gateway.robo, "GET", `/artifacts/${id}/download`)).toMatch(/^409 /);
    }
    expect([(await show(waiting)).status, await isStored(waiting)]).toEqual(["pending", true]);
    expect([(await show(young)).status, await isStored(young)]).toEqual(["complete", true]);
    expect((await show(justDeleted)).status).toBe("deleted");
    expect(filesOf(await run())?.count).toBe(0);
  });

  test("writes who did it into the audit log, which stays intact", async () => {
    const id = await kept();
    await age(91 * 24, id);
    await run();
    const entries = await gateway.database.db
      .select()
      .from(audit)
      .where(eq(audit.subject, id))
      .orderBy(audit.id);
    const last = entries.at(-1);
    expect([last?.action, last?.actor, last?.actorKind]).toEqual(["artifact.purged", "specgate", "system"]);
    expect([last?.projectId, last?.sessionId]).toEqual([gateway.robo.projectId, session]);
    const heads = openHeads(gateway.dir.file("audit/heads.jsonl"));
    expect(await verify({ db: gateway.database.db, heads }, { from: null, to: null })).toMatchObject({
      outcome: "intact",
    });
  });

  test("finishes what one that was killed between object and row began", async () => {
    const id = await kept();
    await age(91 * 24, id);
    await disk.remove((await rowOf(id)).key);
    expect(filesOf(await run())).toEqual({ kind: "artifacts", count: 1, bytes: bytes.length });
    expect((await show(id)).status).toBe("purged");
  });

  test("twice at once is as good as once", async () => {
    const ids = await Promise.all(Array.from({ length: 30 }, kept));
    await age(91 * 24, ...ids);
    const reports = await Promise.all(Array.from({ length: 4 }, () => run()));
    expect(reports.flatMap(({ troubles }) => troubles)).toEqual([]);
    expect(reports.reduce((sum, report) => sum + (filesOf(report)?.count ?? 0), 0)).toBe(30);
    const entries = await gateway.database.db.select().from(audit).where(inArray(audit.subject, ids));
    expect(entries.filter(({ action }) => action === "artifact.purged")).toHaveLength(30);
    const { room, rows } = await roomOf(gateway.robo.projectId);
    expect(room).toEqual(rows as number[]);
  });

  test("keeps the rows of what the store does not let go, and takes the others", async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, kept));
    await age(91 * 24, ...ids);
    const stubborn = ids.slice(0, 2);
    const remove = async (key: string) => {
      if (stubborn.some((id) => key.includes(id))) throw new Error("not this one");
      await disk.remove(key);
    };
    expect(await purgeWith({ remove }).run()).toMatchObject({ objects: 4, failed: 2 });
    const states = await Promise.all(ids.map(async (id) => (await show(id)).status));
    expect(states).toEqual(["complete", "complete", "purged", "purged", "purged", "purged"]);
    expect(filesOf(await run())?.count).toBe(2);
  });

  test("gives up on a store that lets nothing go", async () => {
    const ids = await Promise.all(Array.from({ length: 30 }, kept));
    const [source] = await gateway.database.db
      .select()
      .from(artifacts)
      .where(inArray(artifacts.id, ids))
      .limit(1);
    if (source === undefined) throw new Error("no row");
    const many = Array.from({ length: 400 }, (_, n) => ({
      ...source,
      id: `art_${String(n).padStart(32, "0")}`,
    }));
    await gateway.database.db.insert(artifacts).values(many);
    await age(91 * 24, ...many.map(({ id }) => id));
    let asked = 0;
    const remove = async () => {
      asked += 1;
      throw new Error("not today");
    };
    expect(await purgeWith({ remove }).run()).toMatchObject({ objects: 0, failed: 200 });
    expect(asked).toBe(200);
    await gateway.database.db.delete(artifacts).where(
      inArray(
        artifacts.id,
        many.map(({ id }) => id),
      ),
    );
  });

  test("makes room on a disk that is full", async () => {
    const id = await kept();
    await age(91 * 24, id);
    const check = () => Promise.reject(new Failure("no_room", "no_room", "The disk is full."));
    expect(await purgeWith({ check }).run()).toMatchObject({ objects: 1, failed: 0 });
    expect([(await show(id)).status, await isStored(id)]).toEqual(["purged", false]);
  });

  test("takes nothing while the store is away", async () => {
    const id = await kept();
    await age(91 * 24, id);
    const check = () => Promise.reject(new Failure("unavailable", "storage_unavailable", "It is away."));
    await expect(purgeWith({ check }).run()).rejects.toThrow("It is away.");
    expect([(await show(id)).status, await isStored(id)]).toEqual(["complete", true]);
    expect(filesOf(await run())?.count).toBe(1);
  });

  test("holds up no upload of the same project while it writes down what went", async () => {
    await age(91 * 24, await kept());
    const { changes } = gateway.parts;
    const isFree = async () => {
      await gateway.database.db.execute(sql`
        select from artifact_room where owner = ${gateway.robo.projectId} for update nowait`);
    };
    let looks = 0;
    const make: typeof changes.make = (actor, work) =>
      changes.make(actor, (change) =>
        work({
          ...change,
          async record(entry) {
            await isFree();
            looks += 1;
            return change.record(entry);
          },
        }),
      );
    expect(await purgeWith({}, { ...changes, make }).run()).toMatchObject({ objects: 1 });
    expect(looks).toBe(1);
    const { room, rows } = await roomOf(gateway.robo.projectId);
    expect(room).toEqual(rows as number[]);
  });

  test("leaves what is in another store alone", async () => {
    const id = await kept();
    await age(91 * 24, id);
    await gateway.database.db.update(artifacts).set({ place: "s3 elsewhere b" }).where(eq(artifacts.id, id));
    expect(filesOf(await run())?.count).toBe(0);
    expect((await show(id)).status).toBe("complete");
  });
});

test("after any history the room of a project is what its rows add up to", async () => {
  type Step = { deed: "announce" | "send" | "complete" | "delete" | "expire" | "purge"; pick: number };
  const step = fc.record({
    deed: fc.constantFrom<Step["deed"]>("announce", "send", "complete", "delete", "expire", "purge"),
    pick: fc.nat(20),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      const made: Awaited<ReturnType<typeof announce>>[] = [];
      const deeds = {
        send: ({ upload }: (typeof made)[number]) => put(upload, bytes),
        complete: ({ id }: (typeof made)[number]) =>
          gateway.robo.fetch(`/api/v1/artifacts/${id}/completion`, { method: "POST" }),
        delete: ({ id }: (typeof made)[number]) =>
          gateway.robo.fetch(`/api/v1/artifacts/${id}`, { method: "DELETE" }),
        expire: ({ id }: (typeof made)[number]) => age(91 * 24, id),
      };
      const walk = async ({ deed, pick }: Step) => {
        if (deed === "purge") return run();
        const one = made[pick % Math.max(1, made.length)];
        if (deed === "announce" || one === undefined)
          return made.push(await announce(gateway.robo, session, bytes));
        return deeds[deed](one);
      };
      // Two by two, so that they meet.
      for (let at = 0; at < steps.length; at += 2) await Promise.all(steps.slice(at, at + 2).map(walk));
      const { room, rows } = await roomOf(gateway.robo.projectId);
      expect(room).toEqual(rows as number[]);
    }),
    { numRuns: 25 },
  );
}, 60_000);
