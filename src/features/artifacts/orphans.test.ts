/**
 * Objects that should be gone, or have no row, in both stores. Nobody can make an object old in a bucket, so the sweep's clock is ahead.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { artifacts } from "../../db/schema.ts";
import { newId } from "../../platform/ids.ts";
import type { TestGateway } from "../../testing/gateway.ts";
import { putSession } from "../../testing/objects.ts";
import { announce, keep, put, sha256Of, startGatewayOn, storeKinds } from "../../testing/stores.ts";
import { ok } from "../../testing/wire.ts";
import { openStorage } from "../../wiring-storage.ts";
import { artifactKey, attachmentKey } from "./key.ts";
import type { ObjectStore } from "./object-store.ts";
import { type OrphansTerms, sweepOrphans } from "./orphans.ts";

const bytes = new TextEncoder().encode("left behind\n");
const dayMs = 86_400_000;

describe.each(storeKinds)("the orphan sweep in the store $kind", ({ kind, isMissing }) => {
  describe.skipIf(isMissing)("with a gateway before it", () => {
    let gateway: TestGateway;
    let session: string;
    let objects: ObjectStore;

    beforeAll(async () => {
      gateway = await startGatewayOn(kind);
      const { config } = gateway.parts;
      objects = openStorage({ config, dir: gateway.dir, publicUrl: () => gateway.url }).objects;
      session = await putSession(gateway.database, gateway.robo.projectId);
    }, 90_000);
    afterAll(async () => {
      await objects?.close();
      await gateway?.close();
    });

    const sweep = (daysAhead: number, terms: Partial<OrphansTerms> = {}) =>
      sweepOrphans(
        { ...gateway, objects, clock: { now: () => Date.now() + daysAhead * dayMs } },
        { dryRun: false, ...terms },
      );
    async function leave(key: string): Promise<string> {
      const terms = { key, contentType: "text/plain", sizeBytes: bytes.length, sha256: sha256Of(bytes) };
      const upload = await objects.presignPut({ ...terms, ttlSeconds: 60 });
      const { expiresAt, ...rest } = upload;
      expect((await put({ ...rest, expires_at: expiresAt.toISOString() }, bytes)).status).toBe(200);
      return key;
    }
    const isStored = async (key: string) => (await objects.find(key)) !== null;
    const keyIn = (projectId: string) =>
      artifactKey({ projectId, sessionId: session, iteration: 0 }, newId("art"), "x.txt");

    /** Of an upload that ended after its artifact was purged. */
    async function leaveLate(): Promise<string> {
      const id = await keep(gateway.robo, session, bytes);
      const [row] = await gateway.database.db
        .update(artifacts)
        .set({ status: "purged" })
        .where(eq(artifacts.id, id))
        .returning();
      return row?.key ?? "";
    }

    test("leaves what has no row, and says how much it is: a database that lost its rows must not lose the bytes too", async () => {
      const people = await gateway.people();
      const rowless = [
        await leave(keyIn(gateway.robo.projectId)),
        await leave(attachmentKey(people.vera.id, newId("art"), "x.txt")),
      ];
      // As when an older backup was restored: the row is not there any more, the object is.
      const lost = await keep(gateway.robo, session, bytes);
      const [row] = await gateway.database.db.delete(artifacts).where(eq(artifacts.id, lost)).returning();
      const unknown = [...rowless, row?.key ?? ""];
      const late = await leaveLate();
      const foreign = [
        await leave(keyIn(newId("prj"))),
        await leave(attachmentKey(newId("usr"), newId("art"), "x")),
        await leave(`projects/${gateway.robo.projectId}/notes.txt`),
      ];
      const complete = await keep(gateway.robo, session, bytes);
      const { id: pending, upload } = await announce(gateway.robo, session, bytes);
      await put(upload, bytes);
      const stay = { foreign: 3, unknown: 3 };
      expect(await sweep(6)).toMatchObject({ objects: 0, foreign: 0, unknown: 0, failed: 0 });
      expect(await sweep(8, { dryRun: true })).toMatchObject({ objects: 1, ...stay });
      expect(await isStored(late)).toBe(true);
      expect(await sweep(8)).toMatchObject({ objects: 1, bytes: bytes.length, failed: 0, ...stay });
      expect(await isStored(late)).toBe(false);
      expect(await Promise.all(unknown.map(isStored))).toEqual([true, true, true]);

      const unknownObjects = true;
      expect(await sweep(6, { unknownObjects })).toMatchObject({ objects: 0, unknown: 0 });
      const going = { objects: 3, bytes: 3 * bytes.length, foreign: 3, unknown: 0 };
      expect(await sweep(8, { unknownObjects, dryRun: true })).toMatchObject(going);
      expect(await Promise.all(unknown.map(isStored))).toEqual([true, true, true]);
      expect(await sweep(8, { unknownObjects })).toMatchObject({ ...going, failed: 0 });
      expect(await Promise.all(unknown.map(isStored))).toEqual([false, false, false]);
      expect(await Promise.all(foreign.map(isStored))).toEqual([true, true, true]);
      const rows = await gateway.database.db.select().from(artifacts);
      for (const id of [complete, pending])
        expect(await isStored(rows.find((row) => row.id === id)?.key ?? "")).toBe(true);
    });

    test("leaves the objects of whatever row is not purged, and takes one that came back after its purge", async () => {
      const id = await keep(gateway.robo, session, bytes);
      const [row] = await gateway.database.db.select().from(artifacts).where(eq(artifacts.id, id));
      const key = row?.key ?? "";
      for (const status of ["pending", "complete", "rejected", "deleted"] as const) {
        await gateway.database.db.update(artifacts).set({ status }).where(eq(artifacts.id, id));
        expect([status, (await sweep(8)).objects, await isStored(key)]).toEqual([status, 0, true]);
      }
      await gateway.database.db.update(artifacts).set({ status: "purged" }).where(eq(artifacts.id, id));
      expect([(await sweep(8)).objects, await isStored(key)]).toEqual([1, false]);
      expect((await ok(gateway.robo, "GET", `/artifacts/${id}`)).status).toBe("purged");
    });

    test("counts what the store does not let go, and takes the others", async () => {
      const stubborn = await leaveLate();
      const other = await leaveLate();
      const now = () => Date.now() + 8 * dayMs;
      const remove = async (key: string) => {
        if (key === stubborn) throw new Error("not this one");
        await objects.remove(key);
      };
      // A store's methods stand on its class.
      const stuck: ObjectStore = Object.create(objects, { remove: { value: remove } });
      Object.defineProperty(stuck, "list", { value: (prefix: string) => objects.list(prefix) });
      const gone = await sweepOrphans({ ...gateway, objects: stuck, clock: { now } }, { dryRun: false });
      expect(gone).toMatchObject({ objects: 1, failed: 1 });
      expect([await isStored(stubborn), await isStored(other)]).toEqual([true, false]);
      expect((await sweep(8)).objects).toBe(1);
    });
  });
});
