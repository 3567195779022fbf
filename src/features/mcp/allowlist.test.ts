import { expect, test } from "bun:test";
import fc from "fast-check";
import { unavailable } from "../../db/unavailable.ts";
import type { GatewayConfig } from "../../platform/config.ts";
import type { Failure } from "../../platform/failure.ts";
import type { Principal } from "../../platform/principal.ts";
import type { Scope } from "../../platform/scopes.ts";
import type { UpstreamTool } from "../../platform/upstream.ts";
import { movableClock } from "../../testing/desk.ts";
import { Allowlist, type Judge } from "./allowlist.ts";
import { Catalogue } from "./catalogue.ts";
import type { Rule } from "./contract.ts";
import { KnownPolicies, policySubject } from "./known-policies.ts";
import type { StoredPolicy } from "./rules.ts";

const caller: Principal = {
  id: "usr_1",
  kind: "user",
  role: "user",
  credential: "api_key",
  credentialId: "key_1",
  holderId: "key_1",
  endsWith: ["usr_1", "key_1"],
  signInId: null,
  userId: "usr_1",
  email: null,
  clientId: "https://app.example/client.json",
  clientKind: "desktop",
  keyId: "key_1",
  scopes: new Set<Scope>(["mcp:read"]),
  reach: new Set<Scope>(["mcp:read", "mcp:write"]),
  projectId: null,
  sessionId: null,
  memberships: new Map(),
  expiresAt: Number.MAX_SAFE_INTEGER,
};
const ids = [caller.id, caller.clientId ?? "", caller.keyId ?? ""];

/** An allowlist whose policies are these, by principal; `store` may be changed. */
function allowlistOf(store: Map<string, StoredPolicy>, ceiling = { allow: ["**"], deny: [] as string[] }) {
  const clock = movableClock();
  const gateway = { mcp: ceiling } as unknown as GatewayConfig;
  const state = { isAway: false, reads: 0 };
  const known = new KnownPolicies({
    clock,
    async read(principals) {
      state.reads++;
      if (state.isAway) throw unavailable();
      return principals.flatMap((id) => store.get(id) ?? []);
    },
  });
  return { allowlist: new Allowlist({ gateway: () => gateway, known }), known, clock, state, gateway };
}

const stored = (rules: Record<string, readonly unknown[]>, revision = 1): Map<string, StoredPolicy> =>
  new Map(Object.entries(rules).map(([principal, of]) => [principal, { principal, revision, rules: of }]));

async function judgeOf(
  rules: Record<string, readonly Rule[]>,
  ceiling?: { allow: string[]; deny: string[] },
) {
  return await allowlistOf(stored(rules), ceiling).allowlist.for(caller);
}

const tool = (name: string, ...needed: Scope[]) => ({
  name,
  scopes: needed.length === 0 ? (["mcp:read"] as const) : needed,
});
const verdictOf = (judge: Judge, name: string, args: unknown = {}) => judge.judge(tool(name), args).verdict;

const segment = fc.constantFrom("task", "list", "git", "a", "b");
const toolNames = fc
  .array(segment, { minLength: 1, maxLength: 4 })
  .chain((parts) =>
    fc
      .array(fc.constantFrom("_", "__"), { minLength: parts.length, maxLength: parts.length })
      .map((links) => parts.map((part, at) => (at === 0 ? part : `${links[at]}${part}`)).join("")),
  );
const globPieces = fc.oneof(segment, fc.constantFrom("*", "**", "_", "__"));
const globs = fc.array(globPieces, { minLength: 1, maxLength: 5 }).map((pieces) => pieces.join(""));
const ruleOf = (withArgs: boolean): fc.Arbitrary<Rule> =>
  fc.record({
    effect: fc.constantFrom("allow" as const, "allow" as const, "deny" as const),
    tool: fc.oneof(globs, fc.constant("**")),
    args: withArgs
      ? fc.array(fc.record({ path: fc.constant("x"), op: fc.constant("eq" as const), value: fc.nat(2) }), {
          maxLength: 2,
        })
      : fc.constant([]),
  });
const policiesOf = (withArgs: boolean) =>
  fc.dictionary(fc.constantFrom(...ids), fc.array(ruleOf(withArgs), { maxLength: 5 }), { maxKeys: 3 });
const ceilings = fc.record({
  allow: fc.oneof(fc.constant<string[]>(["**"]), fc.array(globs, { maxLength: 3 })),
  deny: fc.array(globs, { maxLength: 2 }),
});

/** Once more in the plainest words. */
function expected(
  { policies, ceiling }: { policies: Record<string, Rule[]>; ceiling: { allow: string[]; deny: string[] } },
  name: string,
): boolean {
  const is = (glob: string) => {
    const form = glob
      .split(/(\*+)/)
      .map((part) => (part === "*" ? "[^/]*" : part.startsWith("*") ? ".*" : part.replaceAll("__", "/")))
      .join("");
    return new RegExp(`^${form}$`).test(name.replaceAll("__", "/"));
  };
  if (ceiling.deny.some(is) || !ceiling.allow.some(is)) return false;
  return Object.values(policies).every((rules) => {
    if (rules.length === 0) return true;
    const about = rules.filter((rule) => is(rule.tool));
    if (about.some(({ effect, args = [] }) => effect === "deny" && args.length === 0)) return false;
    return about.some(({ effect }) => effect === "allow");
  });
}

test("a list shows what a call finds, and nothing else, for a thousand random policies", async () => {
  const offer = (name: string, writes: boolean): UpstreamTool => ({
    name,
    alias: "a",
    pin: "",
    writes,
    definition: { name, inputSchema: { type: "object" } },
  });
  await fc.assert(
    fc.asyncProperty(
      policiesOf(true),
      ceilings,
      fc.uniqueArray(toolNames, { minLength: 5, maxLength: 20 }),
      fc.boolean(),
      async (policies, ceiling, names, mayWrite) => {
        const offered = new Map(names.map((name, at) => [name, offer(name, at % 3 === 0)]));
        const upstreams = { offered: () => offered, call: () => Promise.reject(), onChanged: () => () => {} };
        const catalogue = new Catalogue([], [], upstreams);
        const reach = new Set<Scope>(mayWrite ? ["mcp:read", "mcp:write"] : ["mcp:read"]);
        const judge = await allowlistOf(stored(policies), ceiling).allowlist.for({ ...caller, reach });
        const listed = catalogue.seenBy(judge).map(({ name }) => name);
        for (const one of catalogue.all()) {
          const isVisible = listed.includes(one.name);
          const meant = expected({ policies, ceiling }, one.name) && (mayWrite || !one.writes);
          expect([one.name, isVisible]).toEqual([one.name, meant]);
          for (const args of [{}, { x: 0 }, { x: 1 }, { x: "0" }, undefined]) {
            const { verdict, rule } = judge.judge(one, args);
            expect([one.name, args, verdict === "hidden"]).toEqual([one.name, args, !isVisible]);
            expect(rule).not.toBe("");
          }
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

test("without rules about arguments a tool that is listed can be called", async () => {
  await fc.assert(
    fc.asyncProperty(policiesOf(false), ceilings, toolNames, async (policies, ceiling, name) => {
      const judge = await judgeOf(policies, ceiling);
      const verdict = expected({ policies, ceiling }, name) ? "allowed" : "hidden";
      expect(verdictOf(judge, name)).toBe(verdict);
    }),
    { numRuns: 1_000 },
  );
});

test("every policy that there is must allow, and a denial counts wherever it stands", async () => {
  const both: Rule[] = [{ effect: "allow", tool: "**" }];
  const judge = await judgeOf({
    usr_1: [...both, { effect: "deny", tool: "git__*" }],
    key_1: [
      { effect: "allow", tool: "task_*" },
      { effect: "allow", tool: "git__*" },
    ],
    "https://app.example/client.json": both,
    usr_2: [{ effect: "deny", tool: "**" }],
  });
  expect(verdictOf(judge, "task_list")).toBe("allowed");
  expect(judge.sees(tool("git__clone")).rule).toBe("usr_1 rule 2: deny git__*");
  expect(judge.sees(tool("whoami")).rule).toBe("key_1: no rule allows it");
  expect(judge.judge(tool("task_list"), {}).rule).toBe(
    "usr_1 rule 1: allow **; https://app.example/client.json rule 1: allow **; key_1 rule 1: allow task_*",
  );
  expect(judge.revisions).toEqual({ usr_1: 1, key_1: 1, "https://app.example/client.json": 1 });
});

test("a policy without rules is none, and without any the ceiling counts", async () => {
  const ceiling = { allow: ["task_*", "git__**"], deny: ["git__push"] };
  const judge = await judgeOf({ usr_1: [] }, ceiling);
  expect(judge.revisions).toEqual({});
  expect(verdictOf(judge, "task_list")).toBe("allowed");
  expect(judge.judge(tool("task_list"), {}).rule).toBe("ceiling");
  expect(judge.sees(tool("git__push"))).toEqual({ isVisible: false, rule: "ceiling deny git__push" });
  expect(judge.sees(tool("whoami"))).toEqual({ isVisible: false, rule: "ceiling: nothing allows it" });
});

test("scopes beyond what the registration could hold hide; those that a token merely lacks do not", async () => {
  const judge = await judgeOf({});
  expect(judge.sees(tool("x", "mcp:write"))).toEqual({ isVisible: true, rule: null });
  expect(judge.sees(tool("x", "mcp:read", "artifacts:read", "usage:read")).rule).toBe(
    "beyond reach: artifacts:read usage:read",
  );
});

test("conditions let some calls through and deny the rest, and the tool stays visible", async () => {
  const judge = await judgeOf({
    usr_1: [
      { effect: "allow", tool: "**", args: [{ path: "env", op: "eq", value: "dev" }] },
      { effect: "deny", tool: "git__*", args: [{ path: "force", op: "eq", value: true }] },
    ],
  });
  expect(judge.sees(tool("git__push")).isVisible).toBe(true);
  expect(verdictOf(judge, "git__push", { env: "dev", force: false })).toBe("allowed");
  expect(verdictOf(judge, "git__push", { env: "dev" })).toBe("denied");
  expect(verdictOf(judge, "git__push", { env: "prod", force: false })).toBe("denied");
  const denied = judge.judge(tool("git__push"), { env: "dev", force: true });
  expect(denied).toMatchObject({ verdict: "denied", rule: "usr_1 rule 2: deny git__*" });
  expect("message" in denied && denied.message).toContain("usr_1 rule 2: deny git__*");
});

test("a rule that denies must have all of its conditions", async () => {
  const args: Rule["args"] = [
    { path: "env", op: "eq", value: "prod" },
    { path: "force", op: "eq", value: true },
  ];
  const judge = await judgeOf({
    usr_1: [
      { effect: "allow", tool: "**" },
      { effect: "deny", tool: "*", args },
    ],
  });
  const rows: [Record<string, unknown>, "allowed" | "denied"][] = [
    [{ env: "prod", force: true }, "denied"],
    [{ env: "prod" }, "denied"],
    [{}, "denied"],
    [{ env: "dev" }, "allowed"],
    [{ force: false }, "allowed"],
    [{ env: "prod", force: false }, "allowed"],
  ];
  expect(rows.map(([given]) => [given, verdictOf(judge, "push", given)])).toEqual(rows);
});

test("all limits of the rules that matched count, and the least size", async () => {
  const rules: Rule[] = [
    { effect: "allow", tool: "**", requests_per_minute: 60, result_bytes_max: 9_000 },
    { effect: "allow", tool: "git__*", requests_per_minute: 5 },
    { effect: "allow", tool: "git__*", requests_per_minute: 7 },
    { effect: "allow", tool: "task_*", requests_per_minute: 1 },
  ];
  const judge = await judgeOf({
    usr_1: rules,
    key_1: [{ effect: "allow", tool: "**", result_bytes_max: 500 }],
  });
  const verdict = judge.judge(tool("git__push"), {});
  if (verdict.verdict !== "allowed") throw new Error(verdict.verdict);
  expect(verdict.resultBytesMax).toBe(500);
  expect(verdict.rates.map(({ requestsPerMinute }) => requestsPerMinute)).toEqual([60, 5]);
  // The same rule elsewhere, with another number: what was counted counts on.
  const later = await judgeOf({ usr_1: [{ effect: "allow", tool: "git__*", requests_per_minute: 4 }] });
  const again = later.judge(tool("git__push"), {});
  expect(again.verdict === "allowed" && again.rates[0]?.key).toBe(verdict.rates[1]?.key ?? "");
});

test("a policy that cannot be read allows nothing", async () => {
  const { allowlist } = allowlistOf(stored({ usr_1: [{ effect: "perhaps", tool: "**" }] }));
  const judge = await allowlist.for(caller);
  expect(judge.sees(tool("whoami"))).toEqual({
    isVisible: false,
    rule: "usr_1 revision 1 cannot be read",
  });
});

test("what is known is answered at once, and forgotten when its policy is written", async () => {
  const store = stored({ usr_1: [{ effect: "allow", tool: "a" }] });
  const { allowlist, known, state } = allowlistOf(store);
  const first = await allowlist.for(caller);
  expect(allowlist.for(caller)).toBe(first);
  store.set("usr_1", { principal: "usr_1", revision: 2, rules: [{ effect: "allow", tool: "b" }] });
  for (const subject of ["usr_1", "usr_1 prj_1", policySubject("usr_2")]) known.forget(subject);
  expect(allowlist.for(caller)).toBe(first);
  known.forget(policySubject("usr_1"));
  const second = await allowlist.for(caller);
  expect([second.sees(tool("a")).isVisible, second.sees(tool("b")).isVisible]).toEqual([false, true]);
  expect(state.reads).toBe(2);
});

test("a reload of the ceiling acts at once", async () => {
  const { allowlist, gateway } = allowlistOf(new Map());
  expect((await allowlist.for(caller)).sees(tool("a")).isVisible).toBe(true);
  Object.assign(gateway, { mcp: { allow: ["**"], deny: ["a"] } });
  const judge = allowlist.for(caller);
  expect(judge instanceof Promise ? null : judge.sees(tool("a")).isVisible).toBe(false);
});

test("a read that was overtaken by a write is not believed", async () => {
  const gate = Promise.withResolvers<void>();
  let rules: unknown[] = [{ effect: "allow", tool: "**" }];
  const known = new KnownPolicies({
    clock: movableClock(),
    async read() {
      const read = [{ principal: "usr_1", revision: rules.length, rules }];
      await gate.promise;
      return read;
    },
  });
  const early = known.read(["usr_1"]);
  rules = [
    { effect: "deny", tool: "**" },
    { effect: "deny", tool: "x" },
  ];
  known.forget(policySubject("usr_1"));
  gate.resolve();
  const [policy] = await early;
  expect(policy?.revision).toBe(2);
  expect(known.find(["usr_1"])?.[0]?.revision).toBe(2);
});

test("without the database what is known counts for 15 minutes, and then nothing is allowed", async () => {
  const { allowlist, clock, state } = allowlistOf(stored({ usr_1: [{ effect: "deny", tool: "a" }] }));
  const judge = await allowlist.for(caller);
  state.isAway = true;
  const refusalOf = async (who: Principal) => {
    try {
      return await allowlist.for(who);
    } catch (error) {
      return [(error as Failure).kind, (error as Failure).code];
    }
  };
  clock.move(14 * 60_000);
  expect(allowlist.for(caller)).toBe(judge);
  expect(await refusalOf({ ...caller, id: "usr_2" })).toEqual(["unavailable", "auth_unavailable"]);
  clock.move(60_000);
  expect(await refusalOf(caller)).toEqual(["unavailable", "auth_unavailable"]);
  state.isAway = false;
  expect((await allowlist.for(caller)).sees(tool("a")).isVisible).toBe(false);
});

test("what is in use is read again each minute, without a wait and without a new judge", async () => {
  const { allowlist, clock, state } = allowlistOf(stored({ usr_1: [{ effect: "allow", tool: "a" }] }));
  const judge = await allowlist.for(caller);
  clock.move(61_000);
  expect(allowlist.for(caller)).toBe(judge);
  await Bun.sleep(0);
  expect(state.reads).toBe(2);
  clock.move(14.5 * 60_000);
  expect(allowlist.for(caller)).toBe(judge);
});

test("deciding takes microseconds, whatever the patterns", async () => {
  const rules: Rule[] = Array.from({ length: 200 }, (_, at) => ({
    effect: at % 2 === 0 ? "allow" : "deny",
    tool: at % 2 === 0 ? "*a".repeat(48) : `${"*b".repeat(47)}x`,
    args: [{ path: "p", op: "prefix", value: "/srv/" }],
  }));
  const judge = await judgeOf({ usr_1: rules, key_1: rules });
  const name = `${"a_".repeat(23)}a`;
  judge.judge(tool(name), { p: "/srv/x" });
  const from = performance.now();
  for (let time = 0; time < 100; time++) judge.judge(tool(name), { p: "/srv/x" });
  expect((performance.now() - from) / 100).toBeLessThan(5);
});
