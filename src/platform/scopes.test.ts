import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  ceiling,
  clientKinds,
  type Holder,
  keyCeiling,
  narrow,
  type Owner,
  parseScope,
  projectRoles,
  rightsIn,
  scopes,
  visibleProjects,
} from "./scopes.ts";

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

test("a credential sees exactly the projects in which it has rights", () => {
  const ids = ["prj_1", "prj_2", "prj_3", "prj_4"];
  const part = fc.tuple(fc.constantFrom(...ids), fc.constantFrom(...projectRoles));
  const holder = fc.record({
    id: fc.constant("x"),
    kind: fc.constantFrom("user", "client"),
    role: fc.constantFrom("admin", "user", "runner"),
    scopes: fc.subarray([...scopes]).map((some) => new Set(some)),
    projectId: fc.constantFrom(null, ...ids),
    memberships: fc.array(part).map((parts) => new Map(parts)),
  });
  const isReal = ({ kind, role, memberships }: Holder) =>
    kind === "user" ? role !== "runner" : role === "runner" && memberships.size === 0;
  fc.assert(
    fc.property(holder.filter(isReal), (one) => {
      const seen = visibleProjects(one) ?? ids;
      const withRights = ids.filter((id) => rightsIn(one, id) !== null);
      expect(new Set(seen)).toEqual(new Set(withRights));
    }),
  );
});
