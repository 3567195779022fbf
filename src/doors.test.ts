import { expect, test } from "bun:test";
import { Elysia } from "elysia";
import { createApp, mount } from "./app.ts";
import { localActor } from "./testing/desk.ts";
import { startGateway } from "./testing/gateway.ts";

const gateway = await startGateway();
const { doors } = createApp(gateway.parts);
const pathOf = (path: string) => path.replaceAll(/:\w+|\*/g, "x");
const init = (method: string): RequestInit => (method === "GET" ? {} : { method, body: "{}" });

test("every route is behind a policy, and the list of public ones is this one", () => {
  const open = doors
    .filter(({ policy }) => "public" in policy)
    .map(({ method, path }) => `${method} ${path}`);
  expect(open.sort()).toEqual([
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/oauth-protected-resource",
    "GET /.well-known/oauth-protected-resource/api/v1",
    "GET /.well-known/oauth-protected-resource/mcp",
    "GET /.well-known/oauth-protected-resource/v1",
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "POST /oauth/revoke",
    "POST /oauth/token",
  ]);
});

test("a route that the guard did not make stops the start", () => {
  const forgotten = new Elysia({ prefix: "/api/v1" }).get("/secrets", () => "all of them");
  expect(() => mount([forgotten])).toThrow("GET /api/v1/secrets has no policy");
});

test("a stranger gets 401 with a challenge at every other door", async () => {
  for (const { method, path, policy } of doors) {
    if ("public" in policy) continue;
    const response = await gateway.nobody.fetch(pathOf(path), init(method));
    expect([method, path, response.status]).toEqual([method, path, 401]);
    expect(response.headers.get("www-authenticate")).toStartWith("Bearer ");
  }
});

test("a credential without the route's scope gets 403 at every door that has one", async () => {
  const scopes = { "llm:chat": "usage:read", "usage:read": "llm:chat" } as Record<string, string>;
  for (const { method, path, policy } of doors) {
    if ("public" in policy || policy.scope === null) continue;
    const scope = scopes[policy.scope] ?? "llm:chat";
    const { key } = await gateway.keys.create(localActor, { owner: { clientId: gateway.robo.id }, scope });
    const response = await gateway.as(key).fetch(pathOf(path), init(method));
    expect([method, path, response.status]).toEqual([method, path, 403]);
  }
});

test("garbage for a credential is refused in the words of each plane", async () => {
  for (const { method, path, policy } of doors) {
    if ("public" in policy) continue;
    for (const authorization of [
      "Bearer",
      "Bearer a b",
      "Basic eDp5",
      "Bearer sgk_x",
      "bearer ..",
      `Bearer ${"x".repeat(9_000)}`,
    ]) {
      const response = await gateway.nobody.fetch(pathOf(path), {
        ...init(method),
        headers: { authorization },
      });
      expect([path, authorization.slice(0, 20), response.status]).toEqual([
        path,
        authorization.slice(0, 20),
        401,
      ]);
      const body = (await response.json()) as Record<string, unknown>;
      expect(policy.plane === "llm" ? "error" in body : body.code === "unauthenticated").toBe(true);
    }
  }
});

test("what is not there is said in the words of its plane", async () => {
  const openai = (await (await gateway.robo.fetch("/v1/nothing")).json()) as { error: { code: string } };
  expect(openai.error.code).toBe("not_found");
  const problem = (await (await gateway.robo.fetch("/api/v1/nothing")).json()) as { code: string };
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
