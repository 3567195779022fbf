/**
 * Artifacts through HTTP: the same sentences about each store that they can be in.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { artifactRoom, artifacts, audit } from "../../db/schema.ts";
import type { People, TestGateway } from "../../testing/gateway.ts";
import { putSession } from "../../testing/objects.ts";
import {
  announce,
  announcing,
  keep,
  put,
  sha256Of,
  startGatewayOn,
  storeKinds,
} from "../../testing/stores.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { ArtifactView, DownloadView, NewArtifactView } from "./contract.ts";

const bytes = new TextEncoder().encode("what was found out\n");
const yaml = `
artifacts: { size_bytes_max: 1000000, put_ttl_seconds: 60, get_ttl_seconds: 30, quota_bytes: 5000000 }
`;

describe.each(storeKinds)("artifacts in the store $kind", ({ kind, isMissing }) => {
  describe.skipIf(isMissing)("with a gateway before it", () => {
    let gateway: TestGateway;
    let people: People;
    let session: string;

    beforeAll(async () => {
      gateway = await startGatewayOn(kind, { yaml });
      people = await gateway.people();
      session = await putSession(gateway.database, gateway.robo.projectId);
    }, 90_000);
    afterAll(() => gateway?.close());

    const show = (id: string) => ok<ArtifactView>(gateway.robo, "GET", `/artifacts/${id}`);
    const complete = (id: string) => call<ArtifactView>(gateway.robo, "POST", `/artifacts/${id}/completion`);
    const fetched = async (id: string, who = gateway.robo as Pick<TestGateway["robo"], "fetch">) => {
      const { url } = await ok<DownloadView>(who, "GET", `/artifacts/${id}/download`);
      return fetch(url);
    };

    test("a gateway whose store answers is ready", async () => {
      const response = await gateway.nobody.fetch("/readyz");
      expect(await response.json()).toMatchObject({ ready: true, checks: { storage: "ok" } });
    });

    test("what a runner uploads is what a member downloads", async () => {
      const name = "รายงาน ✓ 1.txt";
      const { id, upload } = await announce(gateway.robo, session, bytes, { name });
      expect(await show(id)).toMatchObject({
        status: "pending",
        name,
        size_bytes: bytes.length,
        sha256: sha256Of(bytes),
        project_id: gateway.robo.projectId,
        session_id: session,
        created_by: gateway.robo.id,
        completed_at: null,
        sha256_verified: null,
        version: 1,
      });
      expect(Object.keys(upload.headers).sort()).toEqual([
        "content-type",
        "if-none-match",
        "x-amz-checksum-sha256",
      ]);
      expect((await put(upload, bytes)).status).toBe(200);
      const { http, body } = await complete(id);
      expect([http, body.status, body.sha256_verified, body.version]).toEqual([200, "complete", true, 2]);
      expect(body.etag).not.toBeNull();
      const keptMs = Date.parse(body.expires_at ?? "") - Date.parse(body.completed_at ?? "");
      expect(keptMs).toBe(90 * 86_400_000);
      const response = await fetched(id, people.vera);
      expect(await response.bytes()).toEqual(bytes);
      expect(response.headers.get("content-type")).toStartWith("text/plain");
      const disposition = response.headers.get("content-disposition") ?? "";
      expect(disposition).toStartWith("attachment");
      expect(disposition).toContain(encodeURIComponent("รายงาน"));
    });

    test("the key is the gateway's own", async () => {
      const { id } = await announce(gateway.robo, session, bytes, { name: "a b/c".replace("/", "·") });
      const [row] = await gateway.database.db.select().from(artifacts).where(eq(artifacts.id, id));
      const home = `projects/${gateway.robo.projectId}/sessions/${session}/iterations/0/${id}/`;
      expect(row?.key).toBe(`${home}a-b-c`);
    });

    test("completing twice gives the same answer", async () => {
      const id = await keep(gateway.robo, session, bytes);
      const [first, second] = [await complete(id), await complete(id)];
      expect([second.http, second.body]).toEqual([200, first.body]);
    });

    test("whoever lost the answer to a completion gets it again, also in a session that is over since", async () => {
      const own = await putSession(gateway.database, gateway.robo.projectId);
      const id = await keep(gateway.robo, own, bytes);
      await ok(gateway.robo, "PATCH", `/sessions/${own}`, { status: "cancelled" });
      expect((await complete(id)).body.status).toBe("complete");
    });

    test("a completion that is refused for its body or its session has touched nothing", async () => {
      const own = await putSession(gateway.database, gateway.robo.projectId);
      const { id, upload } = await announce(gateway.robo, own, bytes);
      await put(upload, bytes);
      // As if other bytes had been announced: asked about them, the store would say so.
      const { db } = gateway.database;
      await db
        .update(artifacts)
        .set({ sizeBytes: bytes.length + 1 })
        .where(eq(artifacts.id, id));
      const path = `/artifacts/${id}/completion`;
      expect(await refused(gateway.robo, "POST", path, { nope: 1 })).toBe("422 invalid_request");
      expect((await show(id)).status).toBe("pending");
      await ok(gateway.robo, "PATCH", `/sessions/${own}`, { status: "cancelled" });
      expect(await refused(gateway.robo, "POST", path)).toBe("409 closed");
      expect((await show(id)).status).toBe("pending");
      await ok(people.olga, "PATCH", `/sessions/${own}`, { status: "open" });
      expect(await refused(gateway.robo, "POST", path)).toBe("409 artifact_mismatch");
      expect((await show(id)).status).toBe("rejected");
      expect(await refused(gateway.robo, "POST", path)).toBe("409 artifact_mismatch");
    });

    test("eight completions at once complete it once", async () => {
      const { id, upload } = await announce(gateway.robo, session, bytes);
      await put(upload, bytes);
      const answers = await Promise.all(Array.from({ length: 8 }, () => complete(id)));
      expect(answers.map(({ http, body }) => [http, body.version])).toEqual(answers.map(() => [200, 2]));
      const entries = await gateway.database.db.select().from(audit).where(eq(audit.subject, id));
      expect(entries.map(({ action }) => action).sort()).toEqual(["artifact.completed", "artifact.created"]);
    });

    test("completion before the bytes are there is refused, and may be asked for again", async () => {
      const { id, upload } = await announce(gateway.robo, session, bytes);
      expect(await refused(gateway.robo, "POST", `/artifacts/${id}/completion`)).toBe("409 artifact_missing");
      expect(await refused(gateway.robo, "GET", `/artifacts/${id}/download`)).toBe("409 artifact_pending");
      await put(upload, bytes);
      expect((await complete(id)).http).toBe(200);
    });

    test("the store refuses another length, type, checksum, and what is not write-once", async () => {
      const { id, upload } = await announce(gateway.robo, session, bytes);
      const other = sha256Of(bytes.subarray(1));
      const wrongs: [string, Promise<Response>][] = [
        ["shorter", put(upload, bytes.subarray(1))],
        ["longer", put(upload, new Uint8Array([...bytes, 1]))],
        ["another type", put(upload, bytes, { "content-type": "text/html" })],
        ["no type", put(upload, bytes, { "content-type": undefined })],
        ["another checksum", put(upload, bytes, { "x-amz-checksum-sha256": btoa(other) })],
        ["no checksum", put(upload, bytes, { "x-amz-checksum-sha256": undefined })],
        ["overwriting", put(upload, bytes, { "if-none-match": undefined })],
      ];
      for (const [what, answer] of wrongs) {
        const { status } = await answer;
        expect([what, status >= 400 && status < 500]).toEqual([what, true]);
      }
      expect(await refused(gateway.robo, "POST", `/artifacts/${id}/completion`)).toBe("409 artifact_missing");
      expect((await put(upload, bytes)).status).toBe(200);
      expect((await put(upload, bytes)).status).toBe(412);
      expect((await complete(id)).http).toBe(200);
      expect((await put(upload, bytes)).status).toBe(412);
    });

    test("wrong bytes of the right length never become an artifact", async () => {
      const { id, upload } = await announce(gateway.robo, session, bytes);
      const wrong = bytes.map((byte, index) => (index === 3 ? byte ^ 1 : byte));
      const sent = await put(upload, wrong);
      const isRefusedAtOnce = sent.status === 400;
      const code = isRefusedAtOnce ? "409 artifact_missing" : "409 artifact_mismatch";
      expect(await refused(gateway.robo, "POST", `/artifacts/${id}/completion`)).toBe(code);
      if (isRefusedAtOnce) return;
      // For good, whatever is sent afterwards; and the object is gone.
      expect((await show(id)).status).toBe("rejected");
      expect((await put(upload, bytes)).status).toBe(200);
      expect(await refused(gateway.robo, "POST", `/artifacts/${id}/completion`)).toBe(code);
      expect(await refused(gateway.robo, "GET", `/artifacts/${id}/download`)).toBe("409 artifact_gone");
    });

    test("an upload that comes too late is refused, and another URL can be had", async () => {
      const { id, upload } = await announce(gateway.robo, session, bytes, { ttl_seconds: 1 });
      await Bun.sleep(2_100);
      expect((await put(upload, bytes)).status).toBe(403);
      const path = `/artifacts/${id}/upload`;
      const again = await ok<NewArtifactView>(gateway.robo, "POST", path, {});
      expect([again.artifact.id, again.upload?.headers]).toEqual([id, upload.headers]);
      if (again.upload === null) throw new Error("no upload");
      expect((await put(again.upload, bytes)).status).toBe(200);
      expect((await complete(id)).http).toBe(200);
      expect(await refused(gateway.robo, "POST", path, {})).toBe("409 artifact_complete");
    });

    test("a download's URL ends with its time", async () => {
      const id = await keep(gateway.robo, session, bytes);
      const { url, expires_at } = await ok<DownloadView>(
        gateway.robo,
        "GET",
        `/artifacts/${id}/download?ttl_seconds=1`,
      );
      expect((await fetch(url)).status).toBe(200);
      await Bun.sleep(Date.parse(expires_at) - Date.now() + 1_100);
      expect((await fetch(url)).status).toBe(403);
    });

    test("every mistake has its code, and says what would be right", async () => {
      const rows: [Record<string, unknown>, string][] = [
        [{ name: "../../etc/passwd" }, "artifact_name_refused"],
        [{ name: "a/b" }, "artifact_name_refused"],
        [{ name: "a\\b" }, "artifact_name_refused"],
        [{ name: "a\nb" }, "artifact_name_refused"],
        [{ name: "" }, "artifact_name_refused"],
        [{ name: "ก".repeat(86) }, "artifact_name_refused"],
        [{ name: "gpj.‮exe" }, "artifact_name_refused"],
        [{ content_type: "image/svg+xml" }, "artifact_type_refused"],
        [{ content_type: "text" }, "artifact_type_refused"],
        [{ content_type: "text/mar\u212adown" }, "artifact_type_refused"],
        [{ content_type: `text/${"x".repeat(300)}` }, "artifact_type_refused"],
        [{ name: "n".repeat(2_000) }, "artifact_name_refused"],
        [{ size_bytes: 1e16 }, "artifact_too_large"],
        [{ size_bytes: 1.5 }, "invalid_request"],
        [{ ttl_seconds: 1e17 }, "ttl_too_long"],
        [{ content_type: "text/plain\r\nx: y" }, "artifact_type_refused"],
        [{ size_bytes: 0 }, "artifact_empty"],
        [{ size_bytes: 1_000_001 }, "artifact_too_large"],
        [{ ttl_seconds: 61 }, "ttl_too_long"],
        [{ sha256: "0".repeat(63) }, "invalid_request"],
        [{ kind: "chat" }, "invalid_request"],
        [{ more: 1 }, "invalid_request"],
        [{ iteration_id: `itr_${"0".repeat(32)}` }, "invalid_request"],
      ];
      for (const [wrong, code] of rows) {
        const path = `/sessions/${session}/artifacts`;
        const answer = await call<{ code: string; errors: { path: string }[] }>(
          gateway.robo,
          "POST",
          path,
          announcing(bytes, wrong),
        );
        const [field] = Object.keys(wrong);
        expect([wrong, answer.http, answer.body.code, answer.body.errors[0]?.path]).toEqual([
          wrong,
          422,
          code,
          field,
        ]);
      }
      const id = await keep(gateway.robo, session, bytes);
      const late = await refused(gateway.robo, "GET", `/artifacts/${id}/download?ttl_seconds=31`);
      expect(late).toBe("422 ttl_too_long");
    });

    test("several mistakes are told at once", async () => {
      const wrong = announcing(bytes, { name: "..", size_bytes: 0, content_type: "x/y" });
      const { body } = await call<{ errors: { code: string }[] }>(
        gateway.robo,
        "POST",
        `/sessions/${session}/artifacts`,
        wrong,
      );
      expect(body.errors.map(({ code }) => code)).toEqual([
        "artifact_name_refused",
        "artifact_type_refused",
        "artifact_empty",
      ]);
    });

    test("a deleted artifact is gone, and so is what is uploaded in its name afterwards", async () => {
      const id = await keep(gateway.robo, session, bytes);
      const { url } = await ok<DownloadView>(gateway.robo, "GET", `/artifacts/${id}/download`);
      const stale = await refused(gateway.robo, "DELETE", `/artifacts/${id}`, undefined, {
        "if-match": '"1"',
      });
      expect(stale).toBe("412 stale_version");
      expect((await ok<ArtifactView>(gateway.robo, "DELETE", `/artifacts/${id}`)).status).toBe("deleted");
      expect((await fetch(url)).status).toBe(404);
      expect(await refused(gateway.robo, "GET", `/artifacts/${id}/download`)).toBe("409 artifact_gone");
      expect(await refused(gateway.robo, "POST", `/artifacts/${id}/completion`)).toBe("409 artifact_gone");
      expect((await ok<ArtifactView>(gateway.robo, "DELETE", `/artifacts/${id}`)).version).toBe(3);
    });

    test("what is in another store is said to be so, and stays", async () => {
      const id = await keep(gateway.robo, session, bytes);
      const { db } = gateway.database;
      await db.update(artifacts).set({ place: "s3 elsewhere.example.com old" }).where(eq(artifacts.id, id));
      expect(await refused(gateway.robo, "GET", `/artifacts/${id}/download`)).toBe("409 artifact_elsewhere");
      expect(await refused(gateway.robo, "DELETE", `/artifacts/${id}`)).toBe("409 artifact_elsewhere");
      expect((await show(id)).status).toBe("complete");
    });

    test("a list shows the newest first, by kind and status, page by page", async () => {
      const own = await putSession(gateway.database, gateway.robo.projectId);
      const ids: string[] = [];
      for (const kind of ["log", "video", "log"]) ids.push(await keep(gateway.robo, own, bytes, { kind }));
      const { id } = await announce(gateway.robo, own, bytes, { kind: "log" });
      const list = async (query: string) => {
        const page = await ok<{ data: ArtifactView[]; next_cursor: string | null }>(
          gateway.robo,
          "GET",
          `/sessions/${own}/artifacts${query}`,
        );
        return { ids: page.data.map((one) => one.id), next: page.next_cursor };
      };
      expect((await list("?kind=log&status=complete")).ids).toEqual([ids[2] ?? "", ids[0] ?? ""]);
      const first = await list("?limit=3");
      expect(first.ids).toEqual([id, ids[2] ?? "", ids[1] ?? ""]);
      expect((await list(`?limit=3&cursor=${first.next}`)).ids).toEqual([ids[0] ?? ""]);
    });

    test("uploads take room of their project, and nobody gets more than there is, however many ask at once", async () => {
      const { mallory } = gateway;
      const own = await putSession(gateway.database, mallory.projectId);
      const big = { size_bytes: 1_000_000 };
      const path = `/sessions/${own}/artifacts`;
      const asked = Array.from({ length: 12 }, () =>
        call<{ code?: string }>(mallory, "POST", path, announcing(bytes, big)),
      );
      const answers = await Promise.all(asked);
      expect(answers.filter(({ http }) => http === 201)).toHaveLength(5);
      const over = answers.filter(({ http }) => http === 409);
      expect(over.map(({ body }) => body)).toEqual(
        over.map(() =>
          expect.objectContaining({
            code: "artifact_quota_exceeded",
            taken_bytes: 5_000_000,
            quota_bytes: 5_000_000,
          }),
        ),
      );
      const [room] = await gateway.database.db
        .select()
        .from(artifactRoom)
        .where(eq(artifactRoom.owner, mallory.projectId));
      expect(room).toMatchObject({ sizeBytes: 5_000_000, objects: 5 });
    });

    test("deleting makes room at once where nothing can be uploaded any more, and else not", async () => {
      const own = await putSession(gateway.database, gateway.robo.projectId);
      const { db } = gateway.database;
      const roomOf = async () => {
        const rows = await db
          .select()
          .from(artifactRoom)
          .where(eq(artifactRoom.owner, gateway.robo.projectId));
        return rows[0]?.sizeBytes ?? 0;
      };
      const before = await roomOf();
      const [fresh, old] = [await keep(gateway.robo, own, bytes), await keep(gateway.robo, own, bytes)];
      const past = new Date(Date.now() - 7_200_000);
      await db.update(artifacts).set({ uploadUntil: past }).where(eq(artifacts.id, old));
      expect((await ok<ArtifactView>(gateway.robo, "DELETE", `/artifacts/${fresh}`)).status).toBe("deleted");
      expect(await roomOf()).toBe(before + 2 * bytes.length);
      expect((await ok<ArtifactView>(gateway.robo, "DELETE", `/artifacts/${old}`)).status).toBe("purged");
      expect(await roomOf()).toBe(before + bytes.length);
    });

    test("an answer that was lost is given again, without the signed URL", async () => {
      const key = { "idempotency-key": crypto.randomUUID() };
      const path = `/sessions/${session}/artifacts`;
      const first = await call<NewArtifactView>(gateway.robo, "POST", path, announcing(bytes), key);
      const again = await call<NewArtifactView>(gateway.robo, "POST", path, announcing(bytes), key);
      expect(first.body.upload).not.toBeNull();
      expect(again.body).toEqual({ ...first.body, upload: null });
      expect(again.headers.get("idempotent-replayed")).toBe("true");
    });

    test("nothing comes into a session that is over; what is there can be read and deleted", async () => {
      const own = await putSession(gateway.database, gateway.robo.projectId);
      const id = await keep(gateway.robo, own, bytes);
      const { id: late, upload } = await announce(gateway.robo, own, bytes);
      await put(upload, bytes);
      await ok(gateway.robo, "PATCH", `/sessions/${own}`, { status: "cancelled" });
      const path = `/sessions/${own}/artifacts`;
      expect(await refused(gateway.robo, "POST", path, announcing(bytes))).toBe("409 closed");
      expect(await refused(gateway.robo, "POST", `/artifacts/${late}/completion`)).toBe("409 closed");
      expect((await fetched(id)).status).toBe(200);
      expect((await call(gateway.robo, "DELETE", `/artifacts/${id}`)).http).toBe(200);
    });

    test("checks and reports name artifacts of their own session alone", async () => {
      const id = await keep(gateway.robo, session, bytes);
      const other = await putSession(gateway.database, gateway.robo.projectId);
      const report = (artifact_id: string) => ({ title: "one", body: "two", artifact_id });
      expect(await refused(gateway.robo, "POST", `/sessions/${other}/reports`, report(id))).toBe(
        "422 invalid_request",
      );
      await ok(gateway.robo, "POST", `/sessions/${session}/reports`, report(id));
      const iteration = await ok<{ id: string }>(gateway.robo, "POST", `/sessions/${session}/iterations`, {});
      const check = (artifact_id: string) => ({ kind: "test", status: "passed", artifact_id });
      const checks = `/iterations/${iteration.id}/checks`;
      const foreign = await call<{ errors: unknown }>(
        gateway.robo,
        "POST",
        checks,
        check(`art_${"0".repeat(32)}`),
      );
      expect(foreign.body.errors).toMatchObject([{ path: "artifact_id", code: "foreign" }]);
      await ok(gateway.robo, "POST", checks, check(id));
      const inIteration = await keep(gateway.robo, session, bytes, { iteration_id: iteration.id });
      const [row] = await gateway.database.db.select().from(artifacts).where(eq(artifacts.id, inIteration));
      expect(row?.key).toContain("/iterations/1/");
    });

    test("a chat attachment is its person's alone", async () => {
      const { ada, olga, vera } = people;
      const { artifact, upload } = await ok<NewArtifactView>(
        olga,
        "POST",
        "/me/artifacts",
        announcing(bytes),
      );
      expect(artifact).toMatchObject({
        kind: "chat",
        project_id: null,
        session_id: null,
        created_by: olga.id,
      });
      if (upload === null) throw new Error("no upload");
      expect((await put(upload, bytes)).status).toBe(200);
      await ok(olga, "POST", `/artifacts/${artifact.id}/completion`);
      expect(await (await fetched(artifact.id, olga)).bytes()).toEqual(bytes);
      for (const other of [ada, vera, gateway.robo])
        expect(await refused(other, "GET", `/artifacts/${artifact.id}`)).toBe("404 not_found");
      expect(await refused(gateway.robo, "POST", "/me/artifacts", announcing(bytes))).toBe("403 people_only");
      const [row] = await gateway.database.db.select().from(artifacts).where(eq(artifacts.id, artifact.id));
      expect(row?.key).toBe(`chat/uploads/${olga.id}/${artifact.id}/notes.txt`);
      expect((await ok<ArtifactView>(olga, "DELETE", `/artifacts/${artifact.id}`)).status).toBe("deleted");
    });
  });
});
