/**
 * Every door of the gateway, tried by everybody. The rows are made from the route table, so a new route is tried from its
 * first day, and one whose parameter nobody knows a foreign object for fails here until somebody does.
 */
import { describe, expect, test } from "bun:test";
import { Elysia } from "elysia";
import { createApp, mount } from "./app.ts";
import type { ClosedPolicy } from "./platform/guard.ts";
import {
  isAtLeast,
  mcpScopes,
  type ProjectRole,
  projectRoles,
  type Scope,
  scopes,
} from "./platform/scopes.ts";
import { localActor } from "./testing/desk.ts";
import { type Actor, startGateway } from "./testing/gateway.ts";
import { linesOf } from "./testing/mcp-log.ts";
import { putObjects } from "./testing/objects.ts";
import { ok } from "./testing/wire.ts";

const gateway = await startGateway();
const people = await gateway.people();
const { ada, olga, ed, vera, stranger } = people;
const { robo, mallory } = gateway;
const doors = createApp(gateway.parts).doors;
type Door = (typeof doors)[number] & { policy: ClosedPolicy };
const closed = doors.filter((door): door is Door => !("public" in door.policy));
const nameOf = ({ method, path }: { method: string; path: string }) => `${method} ${path}`;

const foreignClient = await gateway.clients.create(localActor, {
  name: "mallory's other",
  kind: "runner",
  projectId: mallory.projectId,
  scope: "llm:chat",
});
const foreignKey = await gateway.keys.create(localActor, {
  owner: { clientId: mallory.id },
  scope: "llm:chat",
});
const [adasSignIn] = await gateway.signIns.list(ada.id);

const foreignBudget = await ok<{ id: string }>(ada, "POST", "/budgets", {
  subject: "project",
  subject_id: mallory.projectId,
  period: "total",
  limit_usd: "1000",
});

/** For each parameter of a route: something that exists and that nobody in robo's project has a part in. */
const foreign: Record<string, string> = {
  ...(await putObjects(gateway.database, mallory.projectId, mallory.id)),
  project: mallory.projectId,
  user: stranger.id,
  principal: mallory.id,
  client: foreignClient.client_id,
  key: foreignKey.id,
  signIn: adasSignIn?.signIn.id ?? "",
  req: "req_00000000000000000000000000000000",
  budget: foreignBudget.id,
  hook: "hok_00000000000000000000000000000000",
  delivery: "dlv_00000000000000000000000000000000",
  upstream: "nothing",
  tool: "nothing",
};
const own: Record<string, string> = {
  ...foreign,
  ...(await putObjects(gateway.database, robo.projectId, robo.id)),
  project: robo.projectId,
};

function pathOf(path: string, params: Record<string, string>): string {
  return path.replaceAll(/:(\w+)/g, (_, name: string) => {
    const value = params[name];
    if (value === undefined)
      throw new Error(`doors.test.ts knows no foreign :${name}; add one, so that ${path} is tried with it`);
    return value;
  });
}

const knock = async (who: Actor, { method, path }: Door, params = foreign) => {
  const body = method === "GET" || method === "DELETE" ? {} : { body: "{}" };
  const headers = { "content-type": "application/json" };
  const response = await who.fetch(pathOf(path, params), { method, headers, ...body });
  const isStream = response.headers.get("content-type") === "text/event-stream";
  if (isStream) await response.body?.cancel();
  const answer = (isStream ? {} : await response.json().catch(() => ({}))) as {
    code?: string;
    error?: { code?: string };
  };
  const code = answer.code ?? answer.error?.code ?? "";
  return { status: response.status, code, challenge: response.headers.get("www-authenticate") };
};

/** What may be sent at /mcp, and what may not. */
const messages = [
  ...["initialize", "ping", "tools/list", "resources/list", "server/discover"].map((method) =>
    JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: {} }),
  ),
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{}}}',
  '{"jsonrpc":"2.0","method":"notifications/initialized"}',
  "{}",
  "not JSON",
];

/** A runner's key that holds every scope but this one. */
async function keyWithout(scope: Scope): Promise<Actor> {
  const client = await gateway.clients.create(localActor, {
    name: "all but one",
    kind: "runner",
    projectId: robo.projectId,
    scope: scopes.filter((one) => one !== scope && one !== "admin" && one !== "approvals:decide").join(" "),
  });
  const { key } = await gateway.keys.create(localActor, {
    owner: { clientId: client.client_id },
    scope: client.scope,
  });
  return gateway.as(key);
}

test("every route is behind a policy, and the list of public ones is this one", () => {
  const open = doors.filter(({ policy }) => "public" in policy).map(nameOf);
  expect(open.sort()).toEqual([
    "ALL /blobs/*",
    "GET /",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/oauth-protected-resource",
    "GET /.well-known/oauth-protected-resource/api/v1",
    "GET /.well-known/oauth-protected-resource/mcp",
    "GET /.well-known/oauth-protected-resource/v1",
    "GET /.well-known/openid-configuration",
    "GET /blobs/*",
    "GET /device",
    "GET /healthz",
    "GET /login",
    "GET /metrics",
    "GET /oauth/authorize",
    "GET /oauth/consent",
    "GET /readyz",
    "GET /setup",
    "POST /api/v1/auth/login",
    "POST /device",
    "POST /login",
    "POST /logout",
    "POST /oauth/consent",
    "POST /oauth/device_authorization",
    "POST /oauth/introspect",
    "POST /oauth/register",
    "POST /oauth/revoke",
    "POST /oauth/token",
    "POST /setup",
    "POST /sign-ins",
    "PUT /blobs/*",
  ]);
});

test("a route that the guard did not make stops the start", () => {
  const forgotten = new Elysia({ prefix: "/api/v1" }).get("/secrets", () => "all of them");
  expect(() => mount([forgotten])).toThrow("GET /api/v1/secrets has no policy");
});

describe.each(closed.map((door) => [nameOf(door), door] as const))("%s", (_, door) => {
  const { plane, scope, who, project, console: forConsole } = door.policy;

  test("refuses a stranger with a challenge that leads to a token", async () => {
    const { status, challenge } = await knock(gateway.nobody, door);
    expect(status).toBe(401);
    const path = { control: "/api/v1", llm: "/v1", mcp: "/mcp" }[plane];
    // An MCP client that nobody told before asks for all that a person's app may need there.
    const wanted = plane === "mcp" ? `scope="${mcpScopes.join(" ")}", ` : "";
    expect(challenge).toBe(
      `Bearer realm="specgate", ${wanted}resource_metadata="${gateway.url}/.well-known/oauth-protected-resource${path}"`,
    );
  });

  test("refuses garbage in every spelling", async () => {
    for (const authorization of [
      "Bearer",
      "Bearer a b",
      "Basic eDp5",
      "Bearer sgk_x",
      "bearer ..",
      `Bearer ${ada.cookie}`,
      `Bearer ${"x".repeat(9_000)}`,
    ]) {
      const response = await gateway.nobody.fetch(pathOf(door.path, foreign), {
        method: door.method,
        headers: { authorization, "content-type": "application/json" },
        ...(door.method === "GET" ? {} : { body: "{}" }),
      });
      expect([authorization.slice(0, 12), response.status]).toEqual([authorization.slice(0, 12), 401]);
    }
  });

  if (plane !== "control" && forConsole !== true) {
    test("takes no cookie", async () => {
      expect((await knock(ada, door)).status).toBe(401);
    });
  }

  if (scope !== null) {
    test("refuses every scope but its own", async () => {
      const lacking = scope === "admin" ? olga : await keyWithout(scope);
      expect(await knock(lacking, door, own)).toMatchObject({
        status: 403,
        ...problem("insufficient_scope"),
      });
    });
  }

  if (plane === "mcp" && scope === null) {
    test("gives nothing but 403 to who holds every scope but mcp:read, and writes the refusal down", async () => {
      const lacking = await keyWithout("mcp:read");
      const path = pathOf(door.path, own);
      const sent = door.method === "GET" || door.method === "DELETE" ? [undefined] : messages;
      for (const body of sent) {
        const headers = { "content-type": "application/json" };
        const init = { method: door.method, headers, ...(body === undefined ? {} : { body }) };
        const response = await lacking.fetch(path, init);
        const { error, ...rest } = (await response.json()) as { error: { data: unknown }; result?: unknown };
        const challenge = response.headers.get("www-authenticate") ?? "";
        expect([body, response.status, rest]).toEqual([body, 403, { jsonrpc: "2.0", id: null } as never]);
        expect(error.data).toMatchObject({ code: "insufficient_scope" });
        const asked = /^Bearer error="insufficient_scope", scope="([^"]+)", resource_metadata="/.exec(
          challenge,
        );
        // The new token should do whatever this one does.
        expect(asked?.[1]?.split(" ")).toEqual(expect.arrayContaining(["mcp:read", "control:write"]));
        const id = response.headers.get("x-request-id") ?? "";
        expect(await linesOf(gateway, id)).toMatchObject([{ verdict: "insufficient_scope" }]);
        await gateway.parts.ledger.settled();
        expect(
          await gateway.database.sql`select action, outcome from audit where request_id = ${id}`,
        ).toMatchObject([{ action: "mcp.refused", outcome: "refused" }]);
      }
    });
  }

  if (who !== undefined) {
    test("refuses machines", async () => {
      const { status, code } = await knock(robo, door, own);
      expect([status, machineRefusals]).toEqual([403, expect.arrayContaining([code])]);
    });
  }

  if (who === "signed_in") {
    test("refuses a person's API key", async () => {
      const scope = "control:read control:write";
      const { key } = await gateway.keys.create(localActor, { owner: { userEmail: olga.email }, scope });
      expect(await knock(gateway.as(key), door, own)).toMatchObject({ status: 403, code: "sign_in_needed" });
    });
  }

  if (project !== undefined) judgesProjects(door, project, who !== undefined);
  else if (door.path.includes(":")) findsNothingForeign(door);

  /** The plane's own words: only problems have a `code` at the top. */
  function problem(code: string): { code?: string } {
    return plane === "control" ? { code } : {};
  }
});

/** The first refuses those that hold the scope, the second those that never can. */
const machineRefusals = ["people_only", "insufficient_scope"];
const doorRefusals = [
  ...machineRefusals,
  "insufficient_role",
  "sign_in_needed",
  "browser_needed",
  "bound_to_project",
  "bound_to_session",
];

/** In a project: what is there for whoever has no part in it, and what each role may. */
function judgesProjects(door: Door, least: ProjectRole, forPeople: boolean): void {
  test("finds no project of others", async () => {
    for (const who of [olga, ed, vera, stranger]) {
      expect(await knock(who, door)).toMatchObject({ status: 404, code: "not_found" });
    }
    for (const { status, code } of [await knock(robo, door), await knock(mallory, door, own)]) {
      const codes = forPeople ? machineRefusals : ["not_found"];
      expect([status, codes]).toEqual([forPeople ? 403 : 404, expect.arrayContaining([code])]);
    }
  });

  test(`takes ${least}s, and refuses who is less`, async () => {
    const byRole: Record<ProjectRole, Actor> = { viewer: vera, editor: ed, owner: olga };
    for (const role of projectRoles.filter((role) => !isAtLeast(role, least))) {
      expect([role, await knock(byRole[role], door, own)]).toMatchObject([
        role,
        { status: 403, code: "insufficient_role" },
      ]);
    }
    // What is allowed to be deleted would be gone for the tests that follow; the features' own tests do that.
    if (door.method === "DELETE") return;
    for (const who of [
      ...projectRoles.filter((role) => isAtLeast(role, least)).map((role) => byRole[role]),
      ada,
      // A project's own runner writes like an editor.
      ...(forPeople || !isAtLeast("editor", least) ? [] : [robo]),
    ]) {
      const { status, code } = await knock(who, door, own);
      expect([who.id, 401, 404]).not.toContain(status);
      // The thing itself may refuse who is not behind it; the door may not.
      expect(doorRefusals).not.toContain(code);
    }
  });
}

/** Outside of projects: an object of others is as good as none. */
function findsNothingForeign(door: Door): void {
  test("finds nothing of others", async () => {
    for (const who of [olga, ed, vera, stranger, robo]) {
      const { status, code } = await knock(who, door);
      // Machines and people without the right do not even get so far as to look.
      const early = ["people_only", "insufficient_scope", "sign_in_needed"].includes(code);
      expect([nameOf(door), early ? 404 : status]).toEqual([nameOf(door), 404]);
    }
  });
}

test("what is not there is said in the words of its plane", async () => {
  const openai = (await (await robo.fetch("/v1/nothing")).json()) as { error: { code: string } };
  expect(openai.error.code).toBe("not_found");
  const problem = (await (await robo.fetch("/api/v1/nothing")).json()) as { code: string };
  expect(problem.code).toBe("not_found");
});

test("a foreign Host, a foreign Origin and a credential in the URL do not pass the edge", async () => {
  const rows: [string, RequestInit, number, string][] = [
    ["/healthz", { headers: { host: "evil.example" } }, 403, "host_not_allowed"],
    ["/healthz", { headers: { origin: "https://evil.example" } }, 403, "origin_not_allowed"],
    ["/api/v1/me?access_token=x", {}, 400, "credential_in_query"],
    ["/api/v1/me?api_key=x", {}, 400, "credential_in_query"],
  ];
  for (const [path, request, status, code] of rows) {
    const response = await gateway.nobody.fetch(path, request);
    const body = (await response.json()) as { code: string };
    expect([path, response.status, body.code]).toEqual([path, status, code]);
  }
  const llm = await gateway.nobody.fetch("/v1/models", { headers: { host: "evil.example" } });
  expect(((await llm.json()) as { error: { code: string } }).error.code).toBe("host_not_allowed");
});
