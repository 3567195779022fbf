import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { ProjectRole } from "../../platform/scopes.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, type People, startGateway, type TestGateway } from "../../testing/gateway.ts";
import { bodyOf, json, newApp, refusalOf } from "../../testing/people.ts";
import { reply } from "../../testing/provider-script.ts";
import type { MemberView, ProjectDetail } from "./contract.ts";

let gateway: TestGateway;
let people: People;
let project: ProjectDetail;
beforeAll(async () => {
  gateway = await startGateway();
  people = await gateway.people();
});
afterAll(() => gateway.close());
/** Made over HTTP by olga; ed and vera belong to it, the stranger does not. */
beforeEach(async () => {
  const { id } = await bodyOf<ProjectDetail>(
    people.olga.fetch("/api/v1/projects", json("POST", { name: "Alpha" })),
  );
  for (const [{ id: userId }, role] of [
    [people.ed, "editor"],
    [people.vera, "viewer"],
  ] as const) {
    await gateway.projects.setMember(localActor, { projectId: id, userId, role }, null);
  }
  project = await bodyOf<ProjectDetail>(people.olga.fetch(at(id)));
});

const at = (id: string) => `/api/v1/projects/${id}`;
const seat = (userId: string, id = project.id) => `${at(id)}/members/${userId}`;
const set = (who: Actor, userId: string, role: ProjectRole, headers: Record<string, string> = {}) =>
  who.fetch(seat(userId), json("PUT", { role }, headers));
const remove = (who: Actor, userId: string, headers: Record<string, string> = {}) =>
  who.fetch(seat(userId), { method: "DELETE", headers });
const archive = (who: Actor, headers: Record<string, string> = {}) =>
  who.fetch(at(project.id), { method: "DELETE", headers });
const rename = (who: Actor, body: object, headers: Record<string, string> = {}) =>
  who.fetch(at(project.id), json("PATCH", body, headers));
const members = async () => bodyOf<{ data: MemberView[] }>(people.ada.fetch(`${at(project.id)}/members`));
const audited = async (subject: string) => {
  const rows = await gateway.database
    .sql`select action from audit where subject = ${subject} and project_id = ${project.id} order by id`;
  return rows.map(({ action }) => action);
};

describe("a project", () => {
  test("is owned by the person who made it", async () => {
    expect(project).toEqual({
      id: project.id,
      name: "Alpha",
      archived: false,
      role: "owner",
      approvals_self: "deny",
      created_at: expect.any(String),
      version: 1,
    });
    const [owner] = (await members()).data.filter(({ role }) => role === "owner");
    expect(owner).toMatchObject({ user_id: people.olga.id, email: people.olga.email, version: 1 });
    expect(await audited(project.id)).toEqual(["project.created"]);
    expect(await audited(people.olga.id)).toEqual(["member.set"]);
  });

  test("shows each their own part in it, an administrator as an owner, and a stranger nothing", async () => {
    const roleOf = async (who: Actor) => (await bodyOf<ProjectDetail>(who.fetch(at(project.id)))).role;
    const { ada, olga, ed, vera, stranger } = people;
    expect(await Promise.all([ada, olga, ed, vera].map(roleOf))).toEqual([
      "owner",
      "owner",
      "editor",
      "viewer",
    ]);
    expect(await refusalOf(stranger.fetch(at(project.id)))).toBe("404 not_found");
    // An administrator without the scope is a person like any other.
    const { token } = await newApp(
      gateway,
      { id: ada.id, role: "admin" },
      { scope: "control:read control:write", aud: gateway.url },
    );
    expect(await refusalOf(gateway.as(token).fetch(at(project.id)))).toBe("404 not_found");
  });

  test("is listed to its members and administrators, in pages", async () => {
    const idsOf = async (who: Actor, query = "?limit=200") =>
      (await bodyOf<{ data: ProjectDetail[] }>(who.fetch(`/api/v1/projects${query}`))).data.map(
        ({ id }) => id,
      );
    const { ada, olga, vera, stranger } = people;
    const all = (await gateway.projects.list()).map(({ id }) => id);
    expect(await idsOf(ada)).toEqual(all);
    expect(await idsOf(olga)).toContain(project.id);
    expect(await idsOf(vera)).not.toContain(gateway.mallory.projectId);
    expect(await idsOf(stranger)).toEqual([]);
    expect(await idsOf(gateway.robo)).toEqual([gateway.robo.projectId]);
    const first = await bodyOf<{ data: ProjectDetail[]; next_cursor: string }>(
      ada.fetch("/api/v1/projects?limit=1"),
    );
    expect(await idsOf(ada, `?limit=200&cursor=${first.next_cursor}`)).toEqual(all.slice(1));
    // A cursor is a place in a list, not a key to it.
    expect(await idsOf(stranger, `?limit=200&cursor=${first.next_cursor}`)).toEqual([]);
  });

  test("is renamed by editors and owners, at the version that they saw", async () => {
    const { ada, ed, olga, vera, stranger } = people;
    expect(await refusalOf(rename(vera, { name: "x" }))).toBe("403 insufficient_role");
    expect(await refusalOf(rename(stranger, { name: "x" }))).toBe("404 not_found");
    const renamed = await rename(ed, { name: " Beta " }, { "if-match": '"1"' });
    expect([renamed.headers.get("etag"), (await bodyOf<ProjectDetail>(renamed)).name]).toEqual([
      '"2"',
      "Beta",
    ]);
    expect(await refusalOf(rename(olga, { name: "Gamma" }, { "if-match": '"1"' }))).toBe("412 stale_version");
    expect(await refusalOf(rename(olga, { name: "Gamma" }, { "if-match": "2" }))).toBe("400 invalid_request");
    expect(await refusalOf(rename(ada, { name: "a\nb" }))).toBe("422 invalid_name");
    expect(await refusalOf(rename(ada, { name: "x", archived: true }))).toBe("422 invalid_request");
    expect(await bodyOf<ProjectDetail>(rename(ada, { name: "Beta" }))).toMatchObject({ version: 2 });
  });

  test("is nobody's who is bound elsewhere: a runner, its key, a person's key", async () => {
    const owner = { userEmail: people.olga.email };
    const elsewhere = await gateway.projects.create(localActor, { name: "elsewhere" }, people.olga.id);
    const bound = { owner, projectId: elsewhere.id, scope: "control:read control:write" };
    const key = gateway.as((await gateway.keys.create(localActor, bound)).key);
    expect((await key.fetch(at(elsewhere.id))).status).toBe(200);
    for (const who of [gateway.robo, gateway.mallory, key]) {
      expect(await refusalOf(who.fetch(at(project.id)))).toBe("404 not_found");
      expect(await refusalOf(who.fetch(`${at(project.id)}/members`))).toBe("404 not_found");
    }
    expect(await refusalOf(rename(key, { name: "x" }))).toBe("404 not_found");
    expect(await refusalOf(archive(key))).toBe("403 sign_in_needed");
    expect(await refusalOf(set(key, people.stranger.id, "owner"))).toBe("403 sign_in_needed");
    // Nor does it make another project, in which nobody bound it.
    expect(await refusalOf(key.fetch("/api/v1/projects", json("POST", { name: "x" })))).toBe(
      "403 bound_to_project",
    );
  });

  test("that does not exist is as absent as one that one may not see", async () => {
    for (const id of ["prj_00000000000000000000000000000000", gateway.mallory.projectId, "x", "%2e%2e"]) {
      expect([id, await refusalOf(people.olga.fetch(at(id)))]).toEqual([id, "404 not_found"]);
    }
    const there = await (await people.olga.fetch(at(gateway.mallory.projectId))).text();
    const absent = await (await people.olga.fetch(at("prj_00000000000000000000000000000000"))).text();
    const plain = (text: string) => text.replace(/req_\w+/, "");
    expect(plain(there)).toBe(plain(absent));
    for (const path of [at("%00"), `${at("%00")}/members`]) {
      expect(await refusalOf(people.ada.fetch(path))).toBe("404 not_found");
    }
  });
});

describe("members", () => {
  test("are made, given another role and removed by owners, and it is audited", async () => {
    const { ada, olga, ed, vera, stranger } = people;
    for (const who of [ed, vera]) {
      expect(await refusalOf(set(who, stranger.id, "viewer"))).toBe("403 insufficient_role");
      expect(await refusalOf(remove(who, ed.id))).toBe("403 insufficient_role");
    }
    expect(await refusalOf(set(stranger, stranger.id, "owner"))).toBe("404 not_found");
    const made = await set(olga, stranger.id, "viewer");
    expect([made.status, made.headers.get("etag")]).toEqual([200, '"1"']);
    expect(await made.json()).toEqual({
      user_id: stranger.id,
      email: stranger.email,
      role: "viewer",
      created_at: expect.any(String),
      version: 1,
    });
    expect((await stranger.fetch(at(project.id))).status).toBe(200);
    expect((await bodyOf<MemberView>(set(ada, stranger.id, "editor"))).version).toBe(2);
    expect((await bodyOf<MemberView>(set(ada, stranger.id, "editor"))).version).toBe(2);
    for (let n = 0; n < 2; n++) expect((await remove(olga, stranger.id)).status).toBe(204);
    expect(await audited(stranger.id)).toEqual(["member.set", "member.set", "member.removed"]);
  });

  test("are changed at the version that was seen, and who is gone is no version at all", async () => {
    const { olga, ed } = people;
    await set(olga, ed.id, "viewer");
    const seen = { "if-match": '"1"' };
    expect(await refusalOf(set(olga, ed.id, "owner", seen))).toBe("412 stale_version");
    expect(await refusalOf(remove(olga, ed.id, seen))).toBe("412 stale_version");
    expect((await set(olga, ed.id, "editor", { "if-match": '"2"' })).status).toBe(200);
    expect((await remove(olga, ed.id, { "if-match": '"3"' })).status).toBe(204);
    // Somebody removed them meanwhile: to change their role is not to let them in again.
    expect(await refusalOf(set(olga, ed.id, "owner", { "if-match": '"3"' }))).toBe("412 stale_version");
    expect((await members()).data.map(({ user_id }) => user_id)).not.toContain(ed.id);
  });

  test("count no owner who is disabled", async () => {
    const { ada, olga } = people;
    const gone = await gateway.users.create(localActor, { email: "former@example.com", role: "user" });
    await set(olga, gone.id, "owner");
    await gateway.users.change(localActor, gone.id, { disabled: true });
    expect(await refusalOf(remove(olga, olga.id))).toBe("409 last_owner");
    expect((await remove(ada, gone.id)).status).toBe(204);
  });

  test("always have an owner among them, also when two owners leave at once", async () => {
    const { ada, olga, ed } = people;
    for (const who of [olga, ada]) {
      expect(await refusalOf(remove(who, olga.id))).toBe("409 last_owner");
      expect(await refusalOf(set(who, olga.id, "editor"))).toBe("409 last_owner");
    }
    expect((await set(olga, olga.id, "owner")).status).toBe(200);
    await set(olga, ed.id, "owner");
    const both = await Promise.all([remove(ada, olga.id), set(ada, ed.id, "viewer")]);
    expect(both.map(({ status }) => status).filter((status) => status === 409).length).toBe(1);
    expect((await members()).data.filter(({ role }) => role === "owner").length).toBe(1);
  });

  test("are people who are here and enabled", async () => {
    const { id, email } = await gateway.users.create(localActor, { email: "gone@example.com", role: "user" });
    await gateway.users.disable(localActor, email);
    for (const userId of [id, gateway.robo.id, "usr_00000000000000000000000000000000", "x"]) {
      expect([userId, await refusalOf(set(people.olga, userId, "viewer"))]).toEqual([
        userId,
        "404 not_found",
      ]);
    }
    expect(await refusalOf(set(people.olga, "%00", "viewer"))).toBe("400 invalid_request");
    for (const body of [{}, { role: "admin" }, { role: "viewer", user_id: id }]) {
      const answer = people.olga.fetch(seat(people.stranger.id), json("PUT", body));
      expect(await refusalOf(answer)).toBe("422 invalid_request");
    }
  });

  test("are listed to each of them, and to the project's own runner, in pages", async () => {
    const path = `${at(gateway.robo.projectId)}/members`;
    for (const who of [people.ada, people.olga, people.ed, people.vera, gateway.robo]) {
      const { data } = await bodyOf<{ data: MemberView[] }>(who.fetch(path));
      expect(data.map(({ role }) => role)).toEqual(["owner", "editor", "viewer"]);
    }
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = cursor === "" ? "?limit=2" : `?limit=2&cursor=${cursor}`;
      const page = await bodyOf<{ data: MemberView[]; next_cursor: string | null }>(
        people.vera.fetch(path + query),
      );
      seen.push(...page.data.map(({ email }) => email));
      cursor = page.next_cursor;
    }
    expect(seen).toEqual([people.olga.email, people.ed.email, people.vera.email]);
    const { next_cursor } = await bodyOf<{ next_cursor: string }>(people.vera.fetch(`${path}?limit=1`));
    const foreign = people.vera.fetch(`${at(project.id)}/members?cursor=${next_cursor}`);
    expect(await refusalOf(foreign)).toBe("400 invalid_request");
  });
});

describe("at once", () => {
  const keyOf = async (person: { email: string }, scope: string, projectId: string | null = project.id) => {
    const { key } = await gateway.keys.create(localActor, {
      owner: { userEmail: person.email },
      projectId,
      scope,
    });
    return gateway.as(key);
  };

  test("who is removed has no more part in it: cookies see nothing, keys for it end, other keys go on", async () => {
    const { olga, ed } = people;
    const [bound, free] = [await keyOf(ed, "llm:chat control:read"), await keyOf(ed, "llm:chat", null)];
    for (const key of [bound, free]) expect((await key.fetch("/v1/models")).status).toBe(200);
    expect((await ed.fetch(at(project.id))).status).toBe(200);
    await remove(olga, ed.id);
    expect((await bound.fetch("/v1/models")).status).toBe(401);
    expect(await refusalOf(bound.fetch(at(project.id)))).toBe("401 unauthenticated");
    expect(await refusalOf(ed.fetch(at(project.id)))).toBe("404 not_found");
    expect((await free.fetch("/v1/models")).status).toBe(200);
    // Whoever is let in again holds the same key again.
    await set(olga, ed.id, "editor");
    expect((await bound.fetch("/v1/models")).status).toBe(200);
  });

  test("a removal cuts what runs with a key for it, and nothing else", async () => {
    const { olga, ed } = people;
    const [bound, free] = [await keyOf(ed, "llm:chat"), await keyOf(ed, "llm:chat", null)];
    gateway.provider.script("slow", reply({ words: 12, gapMs: 50 }));
    const asked = { model: "openai/slow", stream: true };
    const streams = await Promise.all([bound.chat(asked), free.chat(asked)]);
    await remove(olga, ed.id);
    const [cut, whole] = await Promise.all(streams.map((response) => response.text()));
    expect(cut).toContain('"code":"invalid_api_key"');
    expect(cut).not.toContain("[DONE]");
    expect(whole).toContain("[DONE]");
  });

  test("another role acts on what one holds for it: a viewer's key is no longer an editor's", async () => {
    const { olga, ed, vera } = people;
    const key = await keyOf(ed, "llm:chat control:read control:write usage:read");
    expect((await rename(key, { name: "by key" })).status).toBe(200);
    expect((await key.fetch("/v1/models")).status).toBe(200);
    await set(olga, ed.id, "viewer");
    expect(await refusalOf(rename(key, { name: "again" }))).toBe("403 insufficient_scope");
    expect((await key.fetch("/v1/models")).status).toBe(403);
    expect((await key.fetch(at(project.id))).status).toBe(200);
    // A viewer's own key is worth no more.
    const viewers = await keyOf(vera, "llm:chat control:read control:write");
    expect((await viewers.fetch("/v1/models")).status).toBe(403);
    expect((await bodyOf<{ scopes: string[] }>(viewers.fetch("/api/v1/me"))).scopes).toEqual([
      "control:read",
    ]);
  });

  test("an archived project ends what is bound to it, and is closed for good", async () => {
    const { ada, olga, ed, vera } = people;
    const client = await gateway.clients.create(localActor, {
      name: "runner",
      kind: "runner",
      projectId: project.id,
      scope: "llm:chat control:read",
    });
    const owner = { clientId: client.client_id };
    const runner = gateway.as((await gateway.keys.create(localActor, { owner, scope: "llm:chat" })).key);
    const issue = () =>
      fetch(`${gateway.url}/oauth/token`, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "client_credentials",
          client_id: client.client_id,
          client_secret: client.client_secret ?? "",
        }),
      });
    const token = gateway.as((await bodyOf<{ access_token: string }>(issue())).access_token);
    const bound = [runner, token, await keyOf(ed, "llm:chat")];
    for (const who of bound) expect((await who.fetch("/v1/models")).status).toBe(200);
    expect(await refusalOf(archive(ed))).toBe("403 insufficient_role");
    expect(await refusalOf(archive(olga, { "if-match": '"9"' }))).toBe("412 stale_version");
    const archived = await archive(olga, { "if-match": '"1"' });
    expect(await archived.json()).toMatchObject({ archived: true, version: 2 });
    for (const who of bound) expect((await who.fetch("/v1/models")).status).toBe(401);
    expect((await issue()).status).toBe(400);
    // It can still be read, and says so.
    expect(await bodyOf<ProjectDetail>(vera.fetch(at(project.id)))).toMatchObject({
      archived: true,
      name: "Alpha",
    });
    expect(await bodyOf<ProjectDetail>(archive(olga))).toMatchObject({ version: 2 });
    const closed = [
      rename(ada, { name: "again" }),
      set(olga, people.stranger.id, "viewer"),
      remove(olga, vera.id),
      olga.fetch("/api/v1/keys", json("POST", { project_id: project.id, scope: "llm:chat" })),
      olga.fetch(
        "/api/v1/clients",
        json("POST", { project_id: project.id, name: "x", kind: "runner", scope: "llm:chat" }),
      ),
    ];
    expect(await Promise.all(closed.map(refusalOf))).toEqual(Array(5).fill("409 closed"));
    expect(await audited(project.id)).toEqual(["project.created", "project.archived"]);
  });
});
