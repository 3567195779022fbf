/** Artifacts as MCP clients keep them: by the same rules as over HTTP, with URLs that stand in the answer alone. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { audit } from "../../db/schema.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { callTool, rpc, toolAnswer } from "../../testing/mcp.ts";
import { putSession } from "../../testing/objects.ts";
import { newApp } from "../../testing/people.ts";
import { announcing, put, sha256Of } from "../../testing/stores.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { ok } from "../../testing/wire.ts";
import type { ArtifactView, DownloadView, UploadView } from "./contract.ts";

const gateway = await startGateway({
  yaml: `artifacts: { size_bytes_max: 1000, put_ttl_seconds: 60, get_ttl_seconds: 30 }`,
});
afterAll(() => gateway.close());
const { robo, mallory, database } = gateway;
const { vera } = await gateway.people();
const bytes = new TextEncoder().encode("# what was found out\n");
const aud = `${gateway.url}/mcp`;
const all = "mcp:read mcp:write artifacts:read artifacts:write";
const app = async (person: { id: string }, scope: string): Promise<Actor> =>
  gateway.as((await newApp(gateway, person, { scope, aud })).token);
const keyOf = async (scope: string): Promise<Actor> =>
  gateway.as((await gateway.keys.create(localActor, { owner: { clientId: robo.id }, scope })).key);

let session: string;
beforeAll(async () => {
  session = await putSession(database, robo.projectId);
});

type Announced = { artifact: ArtifactView; upload: UploadView };
const announce = (who: Actor, more: Record<string, unknown> = {}) =>
  promisedAnswer<Announced>(who, "artifact_presign_put", {
    session_id: session,
    ...announcing(bytes),
    ...more,
  });
const keep = async (who: Actor, more: Record<string, unknown> = {}) => {
  const { artifact, upload } = await announce(who, more);
  expect((await put(upload, bytes)).status).toBe(200);
  return promisedAnswer<ArtifactView>(who, "artifact_complete", { artifact_id: artifact.id });
};

describe("an MCP client", () => {
  test("announces a file, sends it, completes it, lists it, and another fetches it", async () => {
    const kept = await keep(robo, { name: "found.md", content_type: "text/markdown", kind: "report" });
    expect(kept).toMatchObject({ status: "complete", sha256_verified: true, sha256: sha256Of(bytes) });
    const again = await toolAnswer(robo, "artifact_complete", { artifact_id: kept.id });
    expect(again).toEqual(kept);
    expect(await ok<ArtifactView>(robo, "GET", `/artifacts/${kept.id}`)).toEqual(kept);
    const { data } = await promisedAnswer<{ data: ArtifactView[] }>(robo, "artifact_list", {
      session_id: session,
      kind: "report",
      status: "complete",
    });
    expect(data).toEqual([kept]);
    const reader = await app(vera, "mcp:read artifacts:read");
    const { url } = await promisedAnswer<DownloadView>(reader, "artifact_presign_get", {
      artifact_id: kept.id,
    });
    expect(await (await fetch(url)).bytes()).toEqual(bytes);
  });

  test("goes through a list page by page", async () => {
    for (let n = 0; n < 3; n++) await announce(robo, { kind: "paged" });
    const asked = { session_id: session, kind: "paged", limit: 2 };
    type Page = { data: ArtifactView[]; next_cursor: string | null };
    const first = await promisedAnswer<Page>(robo, "artifact_list", asked);
    const second = await toolAnswer<Page>(robo, "artifact_list", { ...asked, cursor: first.next_cursor });
    expect([first.data.length, second.data.length, second.next_cursor]).toEqual([2, 1, null]);
    expect(new Set([...first.data, ...second.data].map(({ id }) => id)).size).toBe(3);
  });

  test("is told what a file may not be, as over HTTP", async () => {
    const asked = (more: object) => ({ session_id: session, ...announcing(bytes), ...more });
    const rows: [object, string][] = [
      [{ name: "../x" }, "artifact_name_refused"],
      [{ content_type: "application/x-msdownload" }, "artifact_type_refused"],
      [{ size_bytes: 1_001 }, "artifact_too_large"],
      [{ size_bytes: 0 }, "artifact_empty"],
      [{ ttl_seconds: 61 }, "ttl_too_long"],
    ];
    for (const [more, code] of rows)
      expect([more, await toolRefusal(robo, "artifact_presign_put", asked(more))]).toEqual([
        more,
        `200 ${code}`,
      ]);
    const { artifact, upload } = await announce(robo);
    const byId = { artifact_id: artifact.id };
    expect(await toolRefusal(robo, "artifact_complete", byId)).toBe("200 artifact_missing");
    expect(await toolRefusal(robo, "artifact_presign_get", byId)).toBe("200 artifact_pending");
    expect((await put(upload, "something else")).ok).toBe(false);
  });

  test("keeps nothing in a session that is over", async () => {
    const over = await putSession(database, robo.projectId);
    await database.sql`update sessions set status = 'cancelled' where id = ${over}`;
    const asked = { session_id: over, ...announcing(bytes) };
    expect(await toolRefusal(robo, "artifact_presign_put", asked)).toBe("200 closed");
  });
});

describe("of artifacts", () => {
  test("another project's do not exist", async () => {
    const { artifact } = await announce(robo);
    const nowhere = `art_${"0".repeat(32)}`;
    for (const tool of ["artifact_presign_get", "artifact_complete"]) {
      const [foreign, unknown] = [
        await callTool(mallory, tool, { artifact_id: artifact.id }),
        await callTool(mallory, tool, { artifact_id: nowhere }),
      ];
      expect(foreign.result?.isError).toBe(true);
      expect(foreign.result?.content).toEqual(unknown.result?.content as never);
    }
    expect(await toolRefusal(mallory, "artifact_list", { session_id: session })).toBe("200 not_found");
    const asked = { session_id: session, ...announcing(bytes) };
    expect(await toolRefusal(mallory, "artifact_presign_put", asked)).toBe("200 not_found");
  });

  test("a viewer keeps none, whatever the app may do", async () => {
    const viewer = await app(vera, all);
    const asked = { session_id: session, ...announcing(bytes) };
    expect(await toolRefusal(viewer, "artifact_presign_put", asked)).toBe("200 insufficient_role");
    await promisedAnswer(viewer, "artifact_list", { session_id: session });
  });

  test("a token without their scopes gets none, and hears which are needed", async () => {
    const lacking = await app(vera, "mcp:read");
    const answer = await callTool(lacking, "artifact_list", { session_id: session });
    expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([
      403,
      expect.stringContaining("artifacts:read"),
    ]);
    const reader = await app(vera, "mcp:read artifacts:read");
    const written = await callTool(reader, "artifact_presign_put", {
      session_id: session,
      ...announcing(bytes),
    });
    expect(written.status).toBe(403);
    const challenge = written.headers.get("www-authenticate") ?? "";
    for (const scope of ["mcp:write", "artifacts:write"]) expect(challenge).toContain(scope);
  });

  test("a key that could never hold their scopes knows of no such tools", async () => {
    const key = await keyOf("mcp:read mcp:write artifacts:read");
    const { result } = await rpc(key, "tools/list");
    const names = result?.tools.map(({ name }) => name) ?? [];
    expect(names).toContain("artifact_list");
    expect(names).not.toContain("artifact_presign_put");
    expect((await callTool(key, "artifact_complete", { artifact_id: "art_1" })).error?.code).toBe(-32602);
  });

  test("what is announced and completed is in the audit, and no signed URL is", async () => {
    const { artifact, upload } = await announce(robo);
    await put(upload, bytes);
    await toolAnswer(robo, "artifact_complete", { artifact_id: artifact.id });
    const { url } = await toolAnswer<DownloadView>(robo, "artifact_presign_get", {
      artifact_id: artifact.id,
    });
    const rows = await database.db.select().from(audit).orderBy(audit.id);
    const own = rows.filter(({ subject }) => subject === artifact.id);
    const toolOf = (details: unknown) => (details as { tool?: string }).tool;
    expect(own.map(({ action, actor, details }) => [action, actor, toolOf(details)])).toEqual([
      ["artifact.created", robo.id, "artifact_presign_put"],
      ["artifact.completed", robo.id, "artifact_complete"],
    ]);
    const text = JSON.stringify(rows);
    for (const signed of [upload.url, url]) {
      const signature = new URL(signed).searchParams.toString();
      expect(signature.length).toBeGreaterThan(20);
      expect(text).not.toContain(signature);
      for (const value of new URL(signed).searchParams.values())
        if (value.length > 20) expect(text).not.toContain(value);
    }
  });
});
