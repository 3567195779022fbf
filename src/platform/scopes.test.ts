import { expect, test } from "bun:test";
import fc from "fast-check";
import { ceiling, clientKinds, keyCeiling, narrow, type Owner, parseScope, scopes } from "./scopes.ts";

const owners: Owner[] = [
  { kind: "user", role: "admin" },
  { kind: "user", role: "user" },
  ...clientKinds.flatMap((clientKind): Owner[] => [
    { kind: "client", clientKind, projectId: null },
    { kind: "client", clientKind, projectId: "prj_1" },
  ]),
];

test("deciding approvals and administering belong to people, and never to a key", () => {
  for (const owner of owners) {
    expect(ceiling(owner).includes("admin")).toBe(owner.kind === "user" && owner.role === "admin");
    expect(ceiling(owner).includes("approvals:decide")).toBe(owner.kind === "user");
    expect(keyCeiling(owner)).not.toContain("admin");
    expect(keyCeiling(owner)).not.toContain("approvals:decide");
  }
});

test("a client without a project may call models, read its own usage and read tools, and no more", () => {
  for (const clientKind of ["runner", "service"] as const) {
    const owner: Owner = { kind: "client", clientKind, projectId: null };
    expect(ceiling(owner)).toEqual(["llm:chat", "mcp:read", "usage:read"]);
  }
});

test("a service consumes no approvals", () => {
  expect(ceiling({ kind: "client", clientKind: "service", projectId: "prj_1" })).not.toContain(
    "approvals:consume",
  );
  expect(ceiling({ kind: "client", clientKind: "runner", projectId: "prj_1" })).toContain(
    "approvals:consume",
  );
});

test("narrowing never widens", () => {
  const some = fc.subarray([...scopes]);
  fc.assert(
    fc.property(some, some, (granted, allowed) => {
      for (const scope of narrow(granted, allowed)) {
        expect(granted).toContain(scope);
        expect(allowed).toContain(scope);
      }
    }),
  );
});

test("a scope list is read as the standard writes it, and unknown names are named", () => {
  expect(parseScope(" llm:chat  usage:read llm:chat ")).toEqual({
    ok: true,
    scopes: ["llm:chat", "usage:read"],
  });
  expect(parseScope("llm:chat LLM:CHAT admin\tx")).toEqual({ ok: false, unknown: ["LLM:CHAT", "admin\tx"] });
});
