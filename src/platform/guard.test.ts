/**
 * The door while somebody stands in it: rights that end between the first byte and the last, and callers that are turned
 * away again and again.
 */

import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { SessionView } from "../features/sessions/contract.ts";
import { localActor } from "../testing/desk.ts";
import { type Actor, startGateway } from "../testing/gateway.ts";
import { call, ok, refused } from "../testing/wire.ts";

const gateway = await startGateway();
const { robo } = gateway;
const { ada, olga, ed, stranger } = await gateway.people();
const inProject = `/projects/${robo.projectId}`;

/** Sends head and half of the body, does something else, sends the rest; the status line and the body's code. */
async function meanwhile(
  headers: Record<string, string>,
  method: string,
  path: string,
  body: object,
  work: () => Promise<unknown>,
): Promise<string> {
  const text = JSON.stringify(body);
  const { hostname, port } = new URL(gateway.url);
  const socket = connect({ host: hostname, port: Number(port) });
  let answer = "";
  socket.setEncoding("utf8").on("data", (some) => {
    answer += some;
  });
  const lines = Object.entries({
    host: `${hostname}:${port}`,
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(text)),
    connection: "close",
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${method} /api/v1${path} HTTP/1.1\r\n${lines.join("")}\r\n${text.slice(0, 3)}`);
  await Bun.sleep(150);
  await work();
  await Bun.sleep(150);
  socket.write(text.slice(3));
  await new Promise((resolve) => socket.on("close", resolve));
  const code = /"code":"(\w+)"/.exec(answer)?.[1] ?? "";
  return `${/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]} ${code}`.trim();
}

const asBrowser = ({ cookie }: { cookie: string }) => ({
  cookie: `specgate=${cookie}`,
  "sec-fetch-site": "same-origin",
});

describe("a body that takes its time", () => {
  test("is worth nothing when its key was revoked meanwhile", async () => {
    const { id, key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "control:read control:write",
    });
    const bearer = { authorization: `Bearer ${key}` };
    const path = `${inProject}/sessions`;
    const whole = await meanwhile(bearer, "POST", path, { title: "slow" }, async () => undefined);
    expect(whole).toBe("201");
    const late = () => gateway.keys.revoke(localActor, id);
    expect(await meanwhile(bearer, "POST", path, { title: "too slow" }, late)).toBe("401 unauthenticated");
    const { data } = await ok<{ data: SessionView[] }>(robo, "GET", path);
    expect(data.map(({ title }) => title)).toEqual(["slow"]);
  });

  test("of a former owner makes nobody an owner, and decides nothing", async () => {
    const member = (who: Actor) => `${inProject}/members/${who.id}`;
    await ok(olga, "PUT", member(ed), { role: "owner" });
    const demote = () => ok(olga, "PUT", member(ed), { role: "viewer" });
    const made = await meanwhile(asBrowser(ed), "PUT", member(stranger), { role: "owner" }, demote);
    expect(made).toBe("403 insufficient_role");
    expect(await refused(stranger, "GET", inProject)).toBe("404 not_found");
    const session = await ok<SessionView>(robo, "POST", `${inProject}/sessions`, { title: "x" });
    const asked = { action: "deploy", subject_sha256: "0".repeat(64), reason: "x" };
    const { id } = await ok<{ id: string }>(robo, "POST", `/sessions/${session.id}/approvals`, asked);
    await ok(olga, "PUT", member(ed), { role: "editor" });
    const remove = () => call(olga, "DELETE", member(ed));
    const decision = { decision: "approve" };
    expect(await meanwhile(asBrowser(ed), "POST", `/approvals/${id}/decision`, decision, remove)).toBe(
      "404 not_found",
    );
    expect(await ok(olga, "GET", `/approvals/${id}`)).toMatchObject({ status: "pending" });
  });
});

describe("a door", () => {
  test("finds no project that is not there, for an administrator either", async () => {
    for (const id of ["prj_", "constructor", "%0a", `prj_${"0".repeat(32)}`, robo.id])
      for (const path of ["", "/sessions", "/gate-policy", "/members", "/events", "/search?q=x"])
        expect([id, path, await refused(ada, "GET", `/projects/${id}${path}`)]).toEqual([
          id,
          path,
          "404 not_found",
        ]);
    expect(await refused(olga, "DELETE", `${inProject}/members/constructor`)).toBe("404 not_found");
  });

  test("counts who is turned away", async () => {
    const limited = await startGateway({
      yaml: "limits: { control: { requests_per_minute: 30 } }\nproviders: { openai: { kind: openai, base_url: PROVIDER } }",
    });
    const kinds = new Map<string, number>();
    for (let request = 0; request < 60; request++) {
      const kind = await refused(limited.robo, "GET", `/sessions/ses_${"0".repeat(32)}`);
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    expect(Object.fromEntries(kinds)).toEqual({ "404 not_found": 30, "429 rate_limit_exceeded": 30 });
    await limited.close();
  });

  test("tells a bound credential nothing of other sessions, whatever it may do", async () => {
    const [mine, other] = [await session(), await session()];
    const asked = {
      scope: "control:read",
      projectId: null,
      sessionId: mine.id,
      ttlSeconds: 60,
      resources: [],
    };
    const bound = gateway.as((await gateway.oauth.tokens.issue(localActor, robo.id, asked)).access_token);
    for (const id of [other.id, `ses_${"0".repeat(32)}`])
      expect(await refused(bound, "GET", `/sessions/${id}`)).toBe("404 not_found");
    expect((await call(bound, "GET", `/sessions/${mine.id}`)).http).toBe(200);
  });

  const session = () => ok<SessionView>(robo, "POST", `${inProject}/sessions`, { title: "x" });
});

describe("a body full of mistakes", () => {
  test("is told of a hundred, quickly, and nothing of it is long", async () => {
    const { id } = await ok<SessionView>(robo, "POST", `${inProject}/sessions`, { title: "x" });
    const wrong = {
      title: 1,
      status: 2,
      notes: 3,
      task_ref: 4,
      mapped_files: 5,
      spec: 6,
      acceptance_criteria: 7,
    };
    const long = { [`k${"x".repeat(60_000)}`]: 1 };
    for (const tasks of [
      Array.from({ length: 9_000 }, () => wrong),
      Array.from({ length: 200_000 }, () => 0),
      [long],
    ]) {
      const from = performance.now();
      const answer = await call<{ errors: { path: string }[] }>(robo, "PUT", `/sessions/${id}/tasks`, {
        mode: "replace",
        tasks,
      });
      expect([answer.http, performance.now() - from < 1_000]).toEqual([422, true]);
      expect(answer.body.errors.length).toBeLessThanOrEqual(100);
      expect(JSON.stringify(answer.body).length).toBeLessThan(50_000);
    }
  });
});
