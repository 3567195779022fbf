import { describe, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import type { Scope } from "../../platform/scopes.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { newApp } from "../../testing/people.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { ProjectDetail } from "../projects/contract.ts";
import type { IterationView, SessionView } from "../sessions/contract.ts";
import type { ApprovalView } from "./contract.ts";

const gateway = await startGateway();
const { robo, mallory, nobody, database } = gateway;
const { ada, olga, ed, vera, stranger } = await gateway.people();

type Page = { data: ApprovalView[]; next_cursor: string | null };

const newSession = () =>
  ok<SessionView>(robo, "POST", `/projects/${robo.projectId}/sessions`, { title: "Release 1.4" });
const session = await newSession();
const inSession = `/sessions/${session.id}/approvals`;
const subject_sha256 = "ab".repeat(32);
const subject = { action: "deploy.production", subject_sha256 };
const usual = { ...subject, reason: "The release is due." };
const request = (who: Actor = robo, more: object = {}, path = inSession) =>
  ok<ApprovalView>(who, "POST", path, { ...usual, ...more });
const at = ({ id }: { id: string }, verb = "") => `/approvals/${id}${verb}`;
const approve = (approval: ApprovalView, who: Actor = ed) =>
  ok<ApprovalView>(who, "POST", at(approval, "/decision"), { decision: "approve" });
const read = (approval: ApprovalView) => ok<ApprovalView>(vera, "GET", at(approval));
/** Of a person, of a client, or of a client that is made for it. */
async function keyOf(owner: { userEmail: string } | { kind: "runner" | "service" }, ...scopes: Scope[]) {
  const scope = ["control:read", ...scopes].join(" ");
  if ("userEmail" in owner) return gateway.as((await gateway.keys.create(localActor, { owner, scope })).key);
  const asked = { name: "another", kind: owner.kind, projectId: robo.projectId, redirectUris: [], scope };
  const { client_id: clientId } = await gateway.clients.create(localActor, asked);
  const { key } = await gateway.keys.create(localActor, { owner: { clientId }, scope });
  return gateway.as(key, clientId);
}
/** As if this much time had passed for it. */
const age = ({ id }: { id: string }, seconds: number) => database.sql`
  update approvals set pending_until = pending_until - make_interval(secs => ${seconds}),
    expires_at = expires_at - make_interval(secs => ${seconds}) where id = ${id}`;

describe("an approval", () => {
  test("is asked for, decided, consumed once, and told of all the way", async () => {
    const { id: iteration_id } = await ok<IterationView>(
      robo,
      "POST",
      `/sessions/${session.id}/iterations`,
      {},
    );
    const asked = { ...usual, iteration_id, ttl_seconds: 60, pending_seconds: 3_600 };
    const made = await call<ApprovalView>(robo, "POST", inSession, asked);
    expect([made.http, made.headers.get("etag")]).toEqual([201, '"1"']);
    const { pending_seconds: _, ...shown } = asked;
    expect(made.body).toEqual({
      ...shown,
      id: expect.stringMatching(/^apv_[0-9a-f]{32}$/),
      project_id: robo.projectId,
      session_id: session.id,
      status: "pending",
      requested_by: robo.id,
      requested_by_user: null,
      requested_by_client: robo.id,
      created_at: expect.any(String),
      pending_until: new Date(Date.parse(made.body.created_at) + 3_600_000).toISOString(),
      decided_by: null,
      decided_at: null,
      note: null,
      self: false,
      expires_at: null,
      ended_by: null,
      ended_at: null,
      version: 1,
    });
    const verdict = { decision: "approve", note: "Checked the changelog." };
    const decided = await call<ApprovalView>(ed, "POST", at(made.body, "/decision"), verdict);
    expect([decided.http, decided.headers.get("etag")]).toEqual([200, '"2"']);
    expect(decided.body).toEqual({
      ...made.body,
      status: "approved",
      decided_by: ed.id,
      decided_at: expect.any(String),
      note: verdict.note,
      expires_at: new Date(Date.parse(decided.body.decided_at ?? "") + 60_000).toISOString(),
      version: 2,
    });
    const consumed = await ok<ApprovalView>(robo, "POST", at(made.body, "/consumption"), subject);
    expect(consumed).toEqual({
      ...decided.body,
      status: "consumed",
      ended_by: robo.id,
      ended_at: expect.any(String),
      version: 3,
    });
    for (const who of [robo, olga, vera, ada])
      expect(await ok<ApprovalView>(who, "GET", at(made.body))).toEqual(consumed);
    await followed(made.body.id, [
      ["approval.requested", "pending", { ...subject }],
      ["approval.decided", "approved", { action: subject.action, decision: "approve", self: false }],
      ["approval.consumed", "consumed", subject],
    ]);
  });

  test("lives for a day undecided and a quarter of an hour decided when nothing else is said", async () => {
    const made = await request();
    expect(Date.parse(made.pending_until) - Date.parse(made.created_at)).toBe(86_400_000);
    const { decided_at, expires_at } = await approve(made);
    expect(Date.parse(expires_at ?? "") - Date.parse(decided_at ?? "")).toBe(900_000);
  });

  test("is rejected, withdrawn or revoked for good", async () => {
    const rejected = await request();
    const verdict = { decision: "reject", note: "Not on a Friday." };
    const no = await ok<ApprovalView>(olga, "POST", at(rejected, "/decision"), verdict);
    expect(no).toMatchObject({
      status: "rejected",
      decided_by: olga.id,
      note: verdict.note,
      expires_at: null,
    });
    const withdrawn = await request();
    const back = await ok<ApprovalView>(robo, "POST", at(withdrawn, "/withdrawal"));
    expect(back).toMatchObject({ status: "withdrawn", ended_by: robo.id, decided_by: null });
    const revoked = await request();
    await approve(revoked);
    const gone = await ok<ApprovalView>(olga, "POST", at(revoked, "/revocation"), {});
    expect(gone).toMatchObject({ status: "revoked", decided_by: ed.id, ended_by: olga.id });
    await followed(revoked.id, [
      ["approval.requested", "pending", { ...subject }],
      ["approval.decided", "approved", { action: subject.action, decision: "approve", self: false }],
      ["approval.revoked", "revoked", { action: subject.action }],
    ]);
    const verbs: [string, Actor, object][] = [
      ["/decision", ed, { decision: "approve" }],
      ["/consumption", robo, subject],
      ["/withdrawal", robo, {}],
      ["/revocation", ed, {}],
    ];
    const late = async (approval: ApprovalView) =>
      Promise.all(verbs.map(([verb, who, body]) => refused(who, "POST", at(approval, verb), body)));
    const decided = "409 already_decided";
    expect(await late(rejected)).toEqual([decided, "409 not_approved", decided, "409 not_approved"]);
    expect(await late(withdrawn)).toEqual([
      "409 withdrawn",
      "409 not_approved",
      "409 withdrawn",
      "409 not_approved",
    ]);
    expect(await late(revoked)).toEqual([decided, "409 not_approved", decided, "409 not_approved"]);
    const pending = await request();
    const { body } = await call(robo, "POST", at(pending, "/consumption"), subject);
    expect(body).toMatchObject({ status: 409, code: "not_approved", approval_status: "pending" });
  });

  test("is consumed for what was approved and nothing else", async () => {
    const approval = await request();
    await approve(approval);
    const consume = (body: object) => refused(robo, "POST", at(approval, "/consumption"), body);
    expect(await consume({ ...subject, action: "deploy.staging" })).toBe("409 subject_mismatch");
    expect(await consume({ ...subject, subject_sha256: "cd".repeat(32) })).toBe("409 subject_mismatch");
    expect((await read(approval)).status).toBe("approved");
    await ok(robo, "POST", at(approval, "/consumption"), subject);
    expect(await consume({ ...subject, action: "deploy.staging" })).toBe("409 subject_mismatch");
    expect(await consume(subject)).toBe("409 already_consumed");
  });

  test("is answered again, not consumed again, for one Idempotency-Key", async () => {
    const headers = { "idempotency-key": "deploy-7" };
    const approval = await request();
    await approve(approval);
    const consume = () => call<ApprovalView>(robo, "POST", at(approval, "/consumption"), subject, headers);
    const first = await consume();
    const second = await consume();
    expect([first.http, second.http, second.body]).toEqual([200, 200, first.body]);
    expect(second.headers.get("idempotent-replayed")).toBe("true");
    expect((await read(approval)).version).toBe(3);
  });

  test("is refused with every mistake named", async () => {
    const mistakes = async (path: string, body: object, who: Actor = robo) => {
      const answered = await call<{ errors?: { path: string }[] }>(who, "POST", path, body);
      return [answered.http, ...(answered.body.errors ?? []).map(({ path }) => path).sort()];
    };
    const wrong = {
      action: "Deploy!",
      subject_sha256: subject_sha256.toUpperCase(),
      reason: "",
      ttl_seconds: 59,
      pending_seconds: 604_801,
      iteration_id: "7",
      colour: "red",
    };
    expect(await mistakes(inSession, wrong)).toEqual([422, ...Object.keys(wrong).sort()]);
    expect(await mistakes(inSession, {})).toEqual([422, "action", "reason", "subject_sha256"]);
    for (const [name, good, bad] of [
      ["ttl_seconds", 3_600, 3_601],
      ["pending_seconds", 604_800, 59],
      ["reason", "x".repeat(2_000), "x".repeat(2_001)],
      ["subject_sha256", "0".repeat(64), "0".repeat(63)],
      ["action", "a".repeat(64), "a".repeat(65)],
    ] as const) {
      expect(await mistakes(inSession, { ...usual, [name]: good })).toEqual([201]);
      expect(await mistakes(inSession, { ...usual, [name]: bad })).toEqual([422, name]);
    }
    const other = await newSession();
    const foreign = await ok<IterationView>(robo, "POST", `/sessions/${other.id}/iterations`, {});
    expect(await mistakes(inSession, { ...usual, iteration_id: foreign.id })).toEqual([422, "iteration_id"]);
    const approval = await request();
    expect(await mistakes(at(approval, "/decision"), { decision: "maybe", note: 7 }, ed)).toEqual([
      422,
      "decision",
      "note",
    ]);
    expect(await mistakes(at(approval, "/consumption"), { action: "x" })).toEqual([422, "subject_sha256"]);
    for (const verb of ["/withdrawal", "/revocation"])
      expect(await mistakes(at(approval, verb), { note: "x" }, verb === "/withdrawal" ? robo : ed)).toEqual([
        422,
        "note",
      ]);
    expect(await refused(vera, "GET", at(approval, "?wait_seconds=31"))).toBe("400 invalid_request");
    expect((await read(approval)).version).toBe(1);
  });

  test("moves no more in a closed session", async () => {
    const own = await newSession();
    const path = `/sessions/${own.id}/approvals`;
    const [pending, approved] = [await request(robo, {}, path), await request(robo, {}, path)];
    await approve(approved);
    await ok(robo, "PATCH", `/sessions/${own.id}`, { status: "failed" });
    expect(await refused(robo, "POST", path, usual)).toBe("409 closed");
    expect(await refused(ed, "POST", at(pending, "/decision"), { decision: "approve" })).toBe("409 closed");
    expect(await refused(robo, "POST", at(pending, "/withdrawal"))).toBe("409 closed");
    expect(await refused(robo, "POST", at(approved, "/consumption"), subject)).toBe("409 closed");
    expect(await refused(ed, "POST", at(approved, "/revocation"))).toBe("409 closed");
    expect([(await read(pending)).status, (await read(approved)).status]).toEqual(["pending", "approved"]);
  });

  test("moves no more in an archived project", async () => {
    const project = await ok<{ id: string }>(ada, "POST", "/projects", { name: "short-lived" });
    const last = await ok<SessionView>(ada, "POST", `/projects/${project.id}/sessions`, { title: "x" });
    const path = `/sessions/${last.id}/approvals`;
    const approval = await request(ada, {}, path);
    await ok(ada, "DELETE", `/projects/${project.id}`);
    expect(await refused(ada, "POST", path, usual)).toBe("409 closed");
    expect(await refused(ada, "POST", at(approval, "/withdrawal"))).toBe("409 closed");
  });

  test("is listed newest first, in pages, and by the status that it has now", async () => {
    const path = `/sessions/${(await newSession()).id}/approvals`;
    const made: ApprovalView[] = [];
    for (let count = 0; count < 5; count++) made.unshift(await request(robo, {}, path));
    const [newest, , middle] = made as [ApprovalView, ApprovalView, ApprovalView];
    const first = await ok<Page>(vera, "GET", `${path}?limit=3`);
    expect(first.data).toEqual(made.slice(0, 3));
    const rest = await ok<Page>(vera, "GET", `${path}?limit=3&cursor=${first.next_cursor}`);
    expect(rest).toEqual({ data: made.slice(3), next_cursor: null });
    await approve(middle);
    await age(newest, 86_401);
    const ids = async (status: string) =>
      (await ok<Page>(vera, "GET", `${path}?status=${status}`)).data.map(({ id }) => id);
    expect(await ids("approved")).toEqual([middle.id]);
    expect(await ids("expired")).toEqual([newest.id]);
    expect(await ids("pending")).toHaveLength(3);
    expect(await refused(vera, "GET", `${path}?status=over`)).toBe("400 invalid_request");
    expect(await refused(vera, "GET", `${inSession}?cursor=${first.next_cursor}`)).toBe(
      "400 invalid_request",
    );
  });
});

describe("who may what:", () => {
  const verbs = ["/decision", "/consumption", "/withdrawal", "/revocation"];

  test("outside of the project there is nothing", async () => {
    const approval = await request();
    for (const who of [mallory, stranger]) {
      expect(await refused(who, "GET", at(approval))).toBe("404 not_found");
      expect(await refused(who, "GET", inSession)).toBe("404 not_found");
      expect(await refused(who, "POST", inSession, usual)).toBe("404 not_found");
    }
    for (const verb of verbs) {
      expect(await refused(stranger, "POST", at(approval, verb), {})).toBe("404 not_found");
      expect(await refused(nobody, "POST", at(approval, verb), {})).toBe("401 unauthenticated");
    }
    expect(await refused(mallory, "POST", at(approval, "/consumption"), subject)).toBe("404 not_found");
    expect(await refused(nobody, "GET", at(approval))).toBe("401 unauthenticated");
  });

  test("viewers look on", async () => {
    const approval = await request();
    expect(await refused(vera, "POST", inSession, usual)).toBe("403 insufficient_role");
    for (const verb of verbs)
      expect([verb, await refused(vera, "POST", at(approval, verb), {})]).toEqual([
        verb,
        "403 insufficient_role",
      ]);
  });

  test("machines decide and revoke nothing", async () => {
    const approval = await request();
    for (const verb of ["/decision", "/revocation"]) {
      expect(await refused(robo, "POST", at(approval, verb), { decision: "approve" })).toBe(
        "403 insufficient_scope",
      );
    }
    expect((await read(approval)).status).toBe("pending");
  });

  test("a runner of the project consumes, a service does not, nor does a person who did not ask", async () => {
    const approval = await request(ed);
    await approve(approval, olga);
    const consume = (who: Actor) => refused(who, "POST", at(approval, "/consumption"), subject);
    const service = await keyOf({ kind: "service" }, "approvals:request");
    expect(await consume(service)).toBe("403 not_the_requester");
    expect(await consume(olga)).toBe("403 not_the_requester");
    expect(await consume(await keyOf({ kind: "runner" }, "approvals:request"))).toBe(
      "403 insufficient_scope",
    );
    expect((await read(approval)).status).toBe("approved");
    expect(await consume(await keyOf({ kind: "runner" }, "approvals:consume"))).toBe("200");
  });

  test("whoever asked consumes, whatever it is, with the scope to ask", async () => {
    const service = await keyOf({ kind: "service" }, "approvals:request");
    const person = await keyOf({ userEmail: ed.email }, "approvals:request");
    for (const who of [service, person, ed]) {
      const approval = await request(who);
      await approve(approval, olga);
      await ok(who, "POST", at(approval, "/consumption"), subject);
    }
    const approval = await request(person);
    await approve(approval, olga);
    const reader = await keyOf({ userEmail: ed.email });
    expect(await refused(reader, "POST", at(approval, "/consumption"), subject)).toBe(
      "403 insufficient_scope",
    );
    await ok(ed, "POST", at(approval, "/consumption"), subject);
  });

  test("changes only at the version that was seen", async () => {
    const approval = await request();
    const stale = { "if-match": '"7"' };
    const decision = { decision: "approve" };
    expect(await refused(olga, "POST", at(approval, "/decision"), decision, stale)).toBe("412 stale_version");
    const seen = { "if-match": `"${approval.version}"` };
    await ok(olga, "POST", at(approval, "/decision"), decision, seen);
    for (const [who, verb] of [
      [robo, "/consumption"],
      [robo, "/withdrawal"],
      [olga, "/revocation"],
    ] as const) {
      const body = verb === "/consumption" ? subject : undefined;
      expect([verb, await refused(who, "POST", at(approval, verb), body, seen)]).toEqual([
        verb,
        "412 stale_version",
      ]);
    }
    expect(await refused(olga, "POST", at(approval, "/revocation"), undefined, { "if-match": "x" })).toBe(
      "400 invalid_request",
    );
    await ok(robo, "POST", at(approval, "/consumption"), subject, { "if-match": '"2"' });
  });

  test("a runner that is bound to another session finds nothing", async () => {
    const approval = await request();
    await approve(approval);
    const issue = async (sessionId: string) => {
      const scope = "control:read approvals:request approvals:consume";
      const asked = { scope, projectId: null, sessionId, ttlSeconds: 60, resources: [] };
      return gateway.as((await gateway.oauth.tokens.issue(localActor, robo.id, asked)).access_token);
    };
    const other = await issue((await newSession()).id);
    expect(await refused(other, "GET", at(approval))).toBe("404 not_found");
    expect(await refused(other, "POST", at(approval, "/consumption"), subject)).toBe("404 not_found");
    expect(await refused(other, "POST", at(await request(), "/withdrawal"))).toBe("404 not_found");
    expect(await refused(other, "POST", inSession, usual)).toBe("404 not_found");
    await ok(await issue(session.id), "POST", at(approval, "/consumption"), subject);
  });

  test("only whoever asked withdraws, through whichever credential", async () => {
    const approval = await request(await keyOf({ userEmail: ed.email }, "approvals:request"));
    for (const who of [robo, olga])
      expect(await refused(who, "POST", at(approval, "/withdrawal"))).toBe("403 not_the_requester");
    await ok(ed, "POST", at(approval, "/withdrawal"));
  });
});

describe("the person behind a request", () => {
  const app = async (person: { id: string }, scope: string) =>
    gateway.as((await newApp(gateway, person, { scope, aud: gateway.url })).token);
  const scope = "control:read approvals:request approvals:decide";
  const decide = (approval: ApprovalView, who: Actor, decision = "approve") =>
    refused(who, "POST", at(approval, "/decision"), { decision });

  test("does not decide it, whichever way they asked and whichever way they decide", async () => {
    const ways = [ed, await keyOf({ userEmail: ed.email }, "approvals:request"), await app(ed, scope)];
    for (const asking of ways) {
      const approval = await request(asking);
      expect(approval).toMatchObject({ requested_by: ed.id, requested_by_user: ed.id });
      for (const deciding of [ed, await app(ed, scope)]) {
        expect(await decide(approval, deciding)).toBe("403 self_approval");
        expect(await decide(approval, deciding, "reject")).toBe("403 self_approval");
      }
      expect((await read(approval)).status).toBe("pending");
      expect(await decide(approval, await app(olga, scope))).toBe("200");
    }
  });

  test("is told so even when it is decided already", async () => {
    const approval = await request(ed);
    await approve(approval, olga);
    expect(await decide(approval, ed)).toBe("403 self_approval");
  });

  test("decides it where the project allows that, as an owner, and the decision says so", async () => {
    const project = `/projects/${robo.projectId}`;
    expect(await refused(ed, "PATCH", project, { approvals_self: "allow" })).toBe("403 insufficient_role");
    expect(await refused(olga, "PATCH", project, { approvals_self: "perhaps" })).toBe("422 invalid_request");
    const owner = { userEmail: olga.email };
    const { key } = await gateway.keys.create(localActor, { owner, scope: "control:read control:write" });
    const asKey = gateway.as(key);
    expect(await refused(asKey, "PATCH", project, { approvals_self: "allow" })).toBe("403 sign_in_needed");
    const allowed = await ok<ProjectDetail>(olga, "PATCH", project, { approvals_self: "allow" });
    expect(allowed.approvals_self).toBe("allow");
    // Nothing changes, so nobody is refused: whoever sends a project back as they read it may.
    await ok(ed, "PATCH", project, { approvals_self: "allow" });
    const audited = await database.sql`
      select actor, details from audit where subject = ${robo.projectId} and action = 'project.updated'`;
    expect([...audited]).toEqual([{ actor: olga.id, details: { approvals_self: "allow" } }]);

    const [owners, editors] = [await request(olga), await request(ed)];
    expect(await decide(editors, ed)).toBe("403 self_approval");
    expect(await approve(owners, olga)).toMatchObject({
      status: "approved",
      self: true,
      decided_by: olga.id,
    });
    expect(await approve(editors, olga)).toMatchObject({ status: "approved", self: false });
    const [{ details }] = (await database.sql`
      select details from audit where subject = ${owners.id} and action = 'approval.decided'`) as unknown as [
      { details: object },
    ];
    expect(details).toMatchObject({ self: true });

    const late = await request(olga);
    await ok(olga, "PATCH", project, { approvals_self: "deny" });
    expect(await decide(late, olga)).toBe("403 self_approval");
  });
});

describe("time", () => {
  test("ends what nobody decided, before anybody has written so", async () => {
    const approval = await request();
    await database.sql`update approvals set pending_until = now() + interval '200 ms' where id = ${approval.id}`;
    await database.transaction(async (tx) => {
      // Whoever holds the row keeps the gateway from writing.
      await tx.execute(sql`select 1 from approvals where id = ${approval.id} for update`);
      await Bun.sleep(300);
      const seen = await read(approval);
      expect(seen).toMatchObject({
        status: "expired",
        ended_at: seen.pending_until,
        ended_by: null,
        version: 1,
      });
    });
    expect(await refused(ed, "POST", at(approval, "/decision"), { decision: "approve" })).toBe("409 expired");
    expect(await refused(robo, "POST", at(approval, "/withdrawal"))).toBe("409 expired");
  });

  test("ends what nobody consumed", async () => {
    const approval = await request(robo, { ttl_seconds: 60 });
    await approve(approval);
    await age(approval, 61);
    expect(await refused(robo, "POST", at(approval, "/consumption"), subject)).toBe("409 expired");
    expect(await refused(ed, "POST", at(approval, "/revocation"))).toBe("409 expired");
    const seen = await read(approval);
    expect(seen).toMatchObject({ status: "expired", ended_at: seen.expires_at, decided_by: ed.id });
  });

  test("is written down by the gateway, once, also in a closed session", async () => {
    const own = await newSession();
    const path = `/sessions/${own.id}/approvals`;
    const [pending, approved, lasting] = [
      await request(robo, {}, path),
      await request(robo, {}, path),
      await request(robo, {}, path),
    ];
    await approve(approved);
    await ok(robo, "PATCH", `/sessions/${own.id}`, { status: "cancelled" });
    await Promise.all([age(pending, 86_401), age(approved, 901)]);
    const before = await read(pending);
    await writtenDown();
    expect(await gateway.parts.control.approvals.expireDue()).toBe(0);
    expect(await read(pending)).toEqual({ ...before, version: 2 });
    expect((await read(lasting)).status).toBe("pending");
    await followed(pending.id, [
      ["approval.requested", "pending", { ...subject }],
      ["approval.expired", "expired", { action: subject.action }],
    ]);
    const [entry] = await database.sql`
      select actor, actor_kind, session_id from audit where subject = ${approved.id} and action = 'approval.expired'`;
    expect(entry).toEqual({ actor: "specgate", actor_kind: "system", session_id: own.id });
  });

  test("ends many at once, each in one entry, whichever instance writes it", async () => {
    const count = 230;
    await database.sql`
      insert into approvals (id, project_id, session_id, action, subject_sha256, reason, status, ttl_seconds,
        requested_by, pending_until)
      select 'apv_' || md5(n::text), ${robo.projectId}, ${session.id}, 'many', ${subject_sha256}, 'x', 'pending', 60,
        ${robo.id}, now() - interval '1 second' from generate_series(1, ${count}) n`;
    await writtenDown();
    const [written] = await database.sql`
      select count(*)::int as rows, count(distinct subject)::int as subjects from audit
      where action = 'approval.expired' and subject in (select id from approvals where action = 'many')`;
    expect(written).toEqual({ rows: count, subjects: count });
    const [told] = await database.sql`
      select count(*)::int as rows from events where type = 'approval.updated' and payload->>'action' = 'many'`;
    expect(told).toEqual({ rows: count });
  });
});

/** The gateway's own timer may be writing some of them at the same time. */
async function writtenDown(): Promise<void> {
  const { approvals } = gateway.parts.control;
  await Promise.all(Array.from({ length: 4 }, () => approvals.expireDue()));
  for (let left = 1; left > 0; await Bun.sleep(10)) {
    const [due] = await database.sql`
      select count(*)::int as left from approvals
      where (status = 'pending' and pending_until <= now()) or (status = 'approved' and expires_at <= now())`;
    left = due?.left;
  }
}

/** What the audit and the events say about an approval, from the beginning: one of each for each change. */
async function followed(id: string, expected: [action: string, status: string, details: object][]) {
  const audited = await database.sql`
    select action, project_id, session_id, details from audit where subject = ${id} order by id`;
  expect(audited.map(({ action, details }) => [action, details])).toEqual(
    expected.map(([action, , details]) => [action, details]),
  );
  const told = await database.sql`select type, payload from events where payload->>'id' = ${id} order by id`;
  expect(told.map(({ type, payload }) => [type, payload.status, payload.version])).toEqual(
    expected.map(([, status], index) => [
      index === 0 ? "approval.created" : "approval.updated",
      status,
      index + 1,
    ]),
  );
  for (const { payload } of told)
    expect(payload).toMatchObject({ action: subject.action, session_id: audited[0]?.session_id });
}
