import { describe, expect, test } from "bun:test";
import { newId } from "../../platform/ids.ts";
import { audienceOf, knownOrigin, planesOf } from "./audiences.ts";
import { type Asked, decideGrant } from "./grant.ts";
import type { ClientRow } from "./store.ts";

const addresses = { publicUrl: "https://gate.example", aliases: ["https://alias.example:8443"] };
const project = newId("prj");
const session = newId("ses");
const nothing: Asked = { scope: null, projectId: null, sessionId: null, ttlSeconds: null, resources: [] };

const client = (changes: Partial<ClientRow>): ClientRow => ({
  id: newId("cli"),
  name: "robo",
  kind: "runner",
  origin: "operator",
  projectId: null,
  scopes: ["llm:chat", "usage:read"],
  redirectUris: [],
  secretHash: null,
  createdAt: new Date(),
  revokedAt: null,
  version: 1,
  ...changes,
});
const bound = client({ projectId: project, scopes: ["llm:chat", "control:write", "approvals:consume"] });
const free = client({});

const granted = (who: ClientRow, asked: Partial<Asked>) => {
  const decision = decideGrant(who, { ...nothing, ...asked }, addresses);
  if (!decision.ok) throw new Error(decision.why);
  return decision.value;
};
const refused = (who: ClientRow, asked: Partial<Asked>) => {
  const decision = decideGrant(who, { ...nothing, ...asked }, addresses);
  return decision.ok ? "granted" : decision.code;
};

describe("what a token holds", () => {
  test("asking for nothing gives all that the client holds, for every plane, for 15 minutes", () => {
    expect(granted(free, {})).toEqual({
      scopes: ["llm:chat", "usage:read"],
      projectId: null,
      sessionId: null,
      ttlSeconds: 900,
      audiences: ["https://gate.example"],
    });
  });

  test("asked scopes are granted in the list's own order, once each", () => {
    expect(granted(free, { scope: "usage:read llm:chat usage:read" }).scopes).toEqual([
      "llm:chat",
      "usage:read",
    ]);
  });

  test("a scope that the client's kind may not hold is not in its tokens even if its row says so", () => {
    const bent = client({ scopes: ["llm:chat", "admin", "control:write"] });
    expect(granted(bent, {}).scopes).toEqual(["llm:chat"]);
    expect(refused(bent, { scope: "admin" })).toBe("invalid_scope");
  });

  test("a bound client's token is bound to its project without asking", () => {
    expect(granted(bound, {}).projectId).toBe(project);
    expect(granted(bound, { projectId: project, sessionId: session }).sessionId).toBe(session);
  });

  test.each([
    ["an unknown scope", free, { scope: "llm:everything" }, "invalid_scope"],
    ["a scope beyond the client", free, { scope: "llm:chat mcp:read" }, "invalid_scope"],
    ["an empty scope", free, { scope: " " }, "invalid_scope"],
    ["a project without a binding", free, { projectId: project }, "invalid_request"],
    ["a session without a binding", free, { sessionId: session }, "invalid_request"],
    ["another project", bound, { projectId: newId("prj") }, "invalid_request"],
    ["a session that is none", bound, { sessionId: "ses_1" }, "invalid_request"],
    ["another thing's id as session", bound, { sessionId: newId("prj") }, "invalid_request"],
    ["too short a life", free, { ttlSeconds: 59 }, "invalid_request"],
    ["too long a life", free, { ttlSeconds: 3_601 }, "invalid_request"],
    ["half a second", free, { ttlSeconds: 60.5 }, "invalid_request"],
    ["a life that is no number", free, { ttlSeconds: Number.NaN }, "invalid_request"],
    ["a foreign resource", free, { resources: ["https://elsewhere.example/mcp"] }, "invalid_target"],
    ["one foreign resource of two", free, { resources: ["https://gate.example/mcp", "x"] }, "invalid_target"],
  ] as const)("%s is refused", (_name, who, asked, code) => {
    expect(refused(who, asked as Partial<Asked>)).toBe(code);
  });

  test("resources are normalised to the public URL and named once", () => {
    const resources = [
      "https://alias.example:8443/mcp/",
      "https://gate.example/mcp",
      "https://gate.example/v1",
    ];
    expect(granted(free, { resources }).audiences).toEqual([
      "https://gate.example/mcp",
      "https://gate.example/v1",
    ]);
  });
});

describe("resources", () => {
  test.each([
    ["https://gate.example", "https://gate.example"],
    ["https://gate.example/", "https://gate.example"],
    ["https://GATE.example/api/v1/", "https://gate.example/api/v1"],
    ["https://gate.example:443/v1", "https://gate.example/v1"],
    ["http://127.0.0.1:9999/mcp", "https://gate.example/mcp"],
    ["http://localhost/v1", "https://gate.example/v1"],
    ["http://[::1]:8080", "https://gate.example"],
  ])("%s is %s", (resource, audience) => {
    expect(audienceOf(resource, addresses)).toBe(audience);
  });

  test.each([
    "",
    "gate.example",
    "https://gate.example.evil.example/mcp",
    "https://evil@gate.example/mcp",
    "https://gate.example/mcp#x",
    "https://gate.example/mcp?x=1",
    "https://gate.example/v1/models",
    "https://gate.example//mcp",
    "https://gate.example\\mcp",
    "https://alias.example/mcp",
    "https://localhost.evil.example/v1",
    "ftp://gate.example/mcp",
    "urn:gate",
  ])("%s names nothing here", (resource) => {
    expect(audienceOf(resource, addresses)).toBeNull();
  });

  test("a token opens the planes of its audiences and no other", () => {
    const planes = (...audiences: string[]) => [...planesOf(audiences, "https://gate.example")];
    expect(planes("https://gate.example")).toEqual(["control", "llm", "mcp"]);
    expect(planes("https://gate.example/v1")).toEqual(["llm"]);
    expect(planes("https://gate.example/mcp", "https://gate.example/api/v1")).toEqual(["control", "mcp"]);
    expect(planes("https://gate.example/", "https://other.example")).toEqual([]);
  });

  test("an origin is chosen from the list, and the scheme a proxy hid does not matter", () => {
    const origin = (url: string) => knownOrigin(new URL(url), addresses);
    expect(origin("http://gate.example/.well-known/x")).toBe("https://gate.example");
    expect(origin("https://alias.example:8443/")).toBe("https://alias.example:8443");
    expect(origin("http://localhost:7000/")).toBe("http://localhost:7000");
    expect(origin("https://evil.example/")).toBeNull();
  });
});
