import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway, type TestGateway } from "../../testing/gateway.ts";
import { callTool, legacyRpc, type Rpc, rpc, toolAnswer } from "../../testing/mcp.ts";
import { bodyOf, newApp } from "../../testing/people.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { PolicyView, Rule } from "./contract.ts";

const names = ["alpha", "alpha_list", "alpha__list", "alpha__list__all", "beta", "beta__list", "beta__write"];
const echoTool = (name: string): ProtocolTool => ({
  name,
  scopes: [name.endsWith("write") ? "mcp:write" : "mcp:read"],
  writes: name.endsWith("write"),
  definition: { name, inputSchema: { type: "object" } },
  answer: async (args) => ({ content: [{ type: "text", text: JSON.stringify(args) }] }),
});
const mcpExtras = { tools: names.map(echoTool) };
const env = { SPECGATE_JWT_SECRET: "a secret that both of the instances know" };
const yaml = "limits: { mcp: { requests_per_minute: 1000000 } }";
const gateway = await startGateway({ mcpExtras, env, yaml });
afterAll(() => gateway.close());
const { ada, olga, vera } = await gateway.people();
const { robo } = gateway;

const pathOf = (principal: string) => `/mcp/policies/${encodeURIComponent(principal)}`;
const put = (principal: string, rules: unknown, headers: Record<string, string> = {}, who: Actor = ada) =>
  call<PolicyView>(who, "PUT", pathOf(principal), { rules }, headers);
const allow = (tool: string, more: Partial<Rule> = {}) => ({ effect: "allow", tool, ...more });
const deny = (tool: string, more: Partial<Rule> = {}) => ({ effect: "deny", tool, ...more });

/** A runner of robo's project: nobody else's policy is on it. */
async function newRunner(at: TestGateway = gateway, projectId = robo.projectId) {
  const scope = "mcp:read mcp:write control:read";
  const made = { name: "r", kind: "runner", projectId, redirectUris: [], scope } as const;
  const client = await at.clients.create(localActor, made);
  const { key, id } = await at.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
  return { ...at.as(key, client.client_id), clientId: client.client_id, keyId: id };
}

async function newTerminal(person: Actor, role: "admin" | "user" = "user") {
  const scope = "mcp:read mcp:write control:read";
  const { token } = await newApp(gateway, { id: person.id, role }, { scope, aud: `${gateway.url}/mcp` });
  return gateway.as(token, person.id);
}

async function listed(who: Pick<Actor, "fetch">): Promise<string[]> {
  const all: string[] = [];
  for (let cursor: unknown; ; ) {
    const { result, status } = await rpc(who, "tools/list", cursor === undefined ? {} : { cursor });
    if (result === undefined) throw new Error(`no list: ${status}`);
    all.push(...result.tools.map(({ name }) => name));
    cursor = result.nextCursor;
    if (cursor === undefined) return all;
  }
}
/** Of those above, in their order. */
async function listedOf(who: Pick<Actor, "fetch">): Promise<string[]> {
  const all = await listed(who);
  return names.filter((name) => all.includes(name));
}

/** Without the name that was asked for, by which unknown ones differ. */
const answerOf = ({ status, error }: Rpc, name: string) =>
  JSON.stringify([status, error?.code, error?.message.replaceAll(name, "NAME")]);

describe("administrators write policies", () => {
  test("each write is the next revision, and the last one counts", async () => {
    const { clientId } = await newRunner();
    const none = await call<PolicyView>(ada, "GET", pathOf(clientId));
    expect([none.body, none.headers.get("etag")]).toEqual([
      { principal: clientId, revision: 0, rules: [] },
      '"0"',
    ]);
    const first = await put(clientId, [allow("alpha")]);
    expect([first.http, first.headers.get("etag"), first.body.revision]).toEqual([200, '"1"', 1]);
    const second = await put(clientId, [deny("**", { args: [{ path: "a", op: "max", value: 3 }] })]);
    expect(await ok<PolicyView>(ada, "GET", pathOf(clientId))).toEqual(second.body);
    const rows = await gateway.database.sql`
      select revision, created_by from mcp_policies where principal = ${clientId} order by revision`;
    expect(rows.map(({ revision, created_by }) => [revision, created_by])).toEqual([
      [1, ada.id],
      [2, ada.id],
    ]);
  });

  test("If-Match replaces only what was seen, and of many writers at once each is a revision", async () => {
    const { clientId } = await newRunner();
    expect((await put(clientId, [], { "if-match": '"0"' })).body.revision).toBe(1);
    expect((await put(clientId, [], { "if-match": '"0"' })).http).toBe(412);
    expect((await put(clientId, [], { "if-match": '"1"' })).body.revision).toBe(2);
    expect((await put(clientId, [], { "if-match": "1" })).http).toBe(400);
    const many = await Promise.all(Array.from({ length: 8 }, () => put(clientId, [allow("*")])));
    expect(many.map(({ body }) => body.revision).sort((one, other) => one - other)).toEqual([
      3, 4, 5, 6, 7, 8, 9, 10,
    ]);
  });

  test("for people, clients, keys and apps that there are, and for nobody else", async () => {
    const { keyId } = await newRunner();
    const app = "https://app.example/client.json";
    await gateway.database.sql`
      insert into clients (id, name, kind, scopes, redirect_uris, origin)
      values (${app}, 'app', 'desktop', '{mcp:read}', '{}', 'document')`;
    for (const principal of [olga.id, keyId, robo.id, "specgate-desktop", app]) {
      expect([principal, (await put(principal, [allow("**")])).body.principal]).toEqual([
        principal,
        principal,
      ]);
      expect((await ok<PolicyView>(ada, "GET", pathOf(principal))).revision).toBeGreaterThan(0);
      await put(principal, []);
    }
    for (const nobody of [
      "usr_00000000000000000000000000000000",
      "cli_x",
      "key_x",
      "prj_1",
      robo.projectId,
      "*",
      "x".repeat(8_000),
    ]) {
      expect([nobody, (await put(nobody, [])).http]).toEqual([nobody, 404]);
      expect(await refused(ada, "GET", pathOf(nobody))).toBe("404 not_found");
    }
    for (const path of ["%00", "%zz", "%ff", "%ed%a0%80", "a%2f..%2fb", "%252e"]) {
      expect(await refused(ada, "GET", `/mcp/policies/${path}`)).toMatch(/^40[04] /);
    }
  });

  test("nobody else reads or writes them", async () => {
    for (const who of [olga, vera, robo]) {
      expect(await refused(who, "GET", pathOf(robo.id))).toBe("403 insufficient_scope");
      expect(await refused(who, "GET", "/mcp/policies")).toBe("403 insufficient_scope");
      expect((await put(robo.id, [], {}, who)).http).toBe(403);
    }
  });

  test("the list has those with rules, page by page", async () => {
    const made: string[] = [];
    for (let at = 0; at < 5; at++) {
      const { clientId } = await newRunner();
      made.push(clientId);
      await put(clientId, [allow("alpha")]);
      await put(clientId, at === 4 ? [] : [allow("beta")]);
    }
    const seen: PolicyView[] = [];
    for (let query = "?limit=2"; ; ) {
      const page = await ok<{ data: PolicyView[]; next_cursor: string | null }>(
        ada,
        "GET",
        `/mcp/policies${query}`,
      );
      seen.push(...page.data);
      if (page.next_cursor === null) break;
      query = `?limit=2&cursor=${encodeURIComponent(page.next_cursor)}`;
    }
    const mine = seen.filter(({ principal }) => made.includes(principal));
    expect(mine.map(({ principal }) => principal)).toEqual(made.slice(0, 4).sort());
    expect(mine.every(({ revision, rules }) => revision === 2 && rules[0]?.tool === "beta")).toBe(true);
    expect(await refused(ada, "GET", "/mcp/policies?cursor=x")).toBe("400 invalid_request");
  });

  test("a change is in the audit log, without what the rules say", async () => {
    const { clientId } = await newRunner();
    await put(clientId, [allow("secret_thing", { args: [{ path: "p", op: "eq", value: "hush" }] })]);
    const [row] = await gateway.database.sql`
      select actor, action, details::text as details from audit where subject = ${clientId}
      and action = 'mcp_policy.updated'`;
    expect(row).toMatchObject({ actor: ada.id, action: "mcp_policy.updated" });
    expect(JSON.parse(row?.details)).toEqual({ revision: 1, rules: 1 });
  });

  test("every mistake is named, and what would be right", async () => {
    const rows: [unknown, string][] = [
      [[{ effect: "maybe", tool: "x" }], "rules.0.effect"],
      [[{ effect: "allow" }], "rules.0.tool"],
      [[{ effect: "allow", tool: "a b" }], "rules.0.tool"],
      [[{ effect: "allow", tool: "" }], "rules.0.tool"],
      [[{ effect: "allow", tool: "x".repeat(97) }], "rules.0.tool"],
      [[{ effect: "allow", tool: "x", surprise: 1 }], "rules.0.surprise"],
      [[{ effect: "deny", tool: "x", requests_per_minute: 5 }], "rules.0.requests_per_minute"],
      [[{ effect: "allow", tool: "x", requests_per_minute: 0 }], "rules.0.requests_per_minute"],
      [[{ effect: "allow", tool: "x", result_bytes_max: 1.5 }], "rules.0.result_bytes_max"],
      [[{ effect: "allow", tool: "x", args: [{ path: "a", op: "like", value: "b" }] }], "rules.0.args.0.op"],
      [Array.from({ length: 201 }, () => allow("x")), "rules"],
      [
        [allow("x", { args: Array.from({ length: 21 }, () => ({ path: "a", op: "eq", value: 1 })) })],
        "rules.0.args",
      ],
      ["all", "rules"],
    ];
    for (const [rules, path] of rows) {
      const { http, body } = await call<{ errors: { path: string; message: string }[] }>(
        ada,
        "PUT",
        pathOf(robo.id),
        { rules },
      );
      expect([http, body.errors?.map((error) => error.path)]).toEqual([422, [path]]);
    }
    expect(await refused(ada, "PUT", pathOf(robo.id), {})).toBe("422 invalid_request");
    expect(await refused(ada, "PUT", pathOf(robo.id), { rules: [], more: 1 })).toBe("422 invalid_request");
  });
});

describe("what a policy hides is as if it were not there", () => {
  test("at once, for lists and calls of both eras", async () => {
    const runner = await newRunner();
    expect(await listedOf(runner)).toEqual(names);
    await put(runner.clientId, [allow("alpha*"), allow("beta__*"), deny("*__write")]);
    expect(await listedOf(runner)).toEqual(["alpha", "alpha_list", "beta__list"]);
    expect((await callTool(runner, "alpha", { a: 1 })).result?.content[0]?.text).toBe('{"a":1}');
    const unknown = answerOf(await callTool(runner, "no_such_tool"), "no_such_tool");
    expect(unknown).toContain("-32602");
    for (const name of ["alpha__list", "beta", "beta__write", "whoami"]) {
      expect(answerOf(await callTool(runner, name), name)).toBe(unknown);
    }
    const legacy = await legacyRpc(runner, "tools/call", { name: "beta", arguments: {} });
    const noSuch = await legacyRpc(runner, "tools/call", { name: "no_such_tool", arguments: {} });
    expect(answerOf(legacy, "beta")).toBe(answerOf(noSuch, "no_such_tool"));
    await put(runner.clientId, []);
    expect(await listedOf(runner)).toEqual(names);
  });

  test("by the client, the key and the person, of which each must allow", async () => {
    const runner = await newRunner();
    await put(runner.clientId, [allow("alpha**")]);
    await put(runner.keyId, [allow("*"), allow("alpha__list")]);
    expect(await listedOf(runner)).toEqual(["alpha", "alpha_list", "alpha__list"]);
    const other = await gateway.keys.create(localActor, {
      owner: { clientId: runner.clientId },
      scope: "mcp:read",
    });
    expect(await listedOf(gateway.as(other.key))).toEqual([
      "alpha",
      "alpha_list",
      "alpha__list",
      "alpha__list__all",
    ]);
    const terminal = await newTerminal(vera);
    await put(vera.id, [allow("**"), deny("beta")]);
    await put("specgate-desktop", [allow("**"), deny("alpha")]);
    expect(await listedOf(terminal)).not.toContain("alpha");
    expect(await listedOf(terminal)).not.toContain("beta");
    expect(await listedOf(terminal)).toContain("alpha_list");
    await put("specgate-desktop", []);
    await put(vera.id, []);
  });

  test("arguments that are not allowed are refused in words, and the tool stays in the list", async () => {
    const runner = await newRunner();
    await put(runner.clientId, [allow("alpha", { args: [{ path: "env", op: "eq", value: "dev" }] })]);
    expect(await listedOf(runner)).toEqual(["alpha"]);
    expect((await callTool(runner, "alpha", { env: "dev" })).result?.content).toHaveLength(1);
    const { error, result } = await callTool(runner, "alpha", { env: "prod" });
    expect(JSON.stringify(error ?? result)).toContain("no rule allows these arguments");
  });

  test("a rule's rate is counted for everybody under it, and its size cuts answers", async () => {
    const runner = await newRunner();
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: runner.clientId },
      scope: "mcp:read",
    });
    const other = gateway.as(key);
    await put(runner.clientId, [allow("alpha", { requests_per_minute: 2 }), allow("*")]);
    expect((await callTool(runner, "alpha")).result?.content).toHaveLength(1);
    expect((await callTool(other, "alpha")).result?.content).toHaveLength(1);
    expect((await callTool(runner, "alpha")).error?.data).toMatchObject({ code: "rate_limit_exceeded" });
    expect((await callTool(other, "alpha")).result).toBeUndefined();
    expect((await callTool(other, "beta")).result?.content).toHaveLength(1);
    await put(runner.clientId, [allow("**", { result_bytes_max: 1_024 })]);
    expect(
      JSON.stringify((await callTool(runner, "beta", { a: "x".repeat(3_000) })).result).length,
    ).toBeLessThan(2_000);
  });

  test("list is call, for random policies over HTTP", async () => {
    const runner = await newRunner();
    const unknown = answerOf(await callTool(runner, "no_such_tool"), "no_such_tool");
    const glob = fc.constantFrom(
      "**",
      "*",
      "alpha*",
      "alpha__*",
      "*__list",
      "**__list**",
      "beta",
      "b*",
      "*_*",
    );
    const rules = fc.array(fc.record({ effect: fc.constantFrom("allow", "allow", "deny"), tool: glob }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(rules, rules, async (ofClient, ofKey) => {
        await put(runner.clientId, ofClient);
        await put(runner.keyId, ofKey);
        const shown = await listedOf(runner);
        const answers = await Promise.all(
          names.map(async (name) => answerOf(await callTool(runner, name), name) !== unknown),
        );
        expect(names.filter((_, at) => answers[at])).toEqual(shown);
      }),
      { numRuns: 200 },
    );
  });
});

describe("a policy acts", () => {
  test("here before its writer is answered, on another instance within two seconds", async () => {
    const other = await startGateway({ mcpExtras, env, beside: gateway });
    const runner = await newRunner();
    const there = other.as(runner.bearer);
    for (const rules of [[allow("beta")], [allow("alpha")], []]) {
      expect(await listedOf(there)).toEqual(await listedOf(runner));
      await put(runner.clientId, rules);
      const from = performance.now();
      const here = await listedOf(runner);
      expect(here).toEqual(rules.length === 0 ? names : [rules[0]?.tool ?? ""]);
      while (!Bun.deepEquals(await listedOf(there), here)) {
        if (performance.now() - from > 2_000) throw new Error("it still sees what it saw");
        await Bun.sleep(10);
      }
    }
    await other.close();
  });

  test("and ends nobody's credential", async () => {
    const runner = await newRunner();
    const heard: string[] = [];
    const stop = gateway.feed.onRevoked((subject) => heard.push(subject));
    await listed(runner);
    await put(runner.keyId, [allow("alpha")]);
    expect(heard).toEqual([`policy:${runner.keyId}`]);
    expect(await listedOf(runner)).toEqual(["alpha"]);
    stop();
  });
});

describe("whoami", () => {
  test("says who the caller is, what it may do and under which rules", async () => {
    const runner = await newRunner();
    await put(runner.clientId, [allow("whoami"), allow("alpha*", { requests_per_minute: 9 })]);
    const answer = await toolAnswer(runner, "whoami");
    expect(answer).toMatchObject({
      principal: runner.clientId,
      kind: "client",
      role: "runner",
      key_id: runner.keyId,
      project_id: robo.projectId,
      session_id: null,
      scopes: ["mcp:read", "mcp:write", "control:read"],
      limits: { requests_per_minute: 1_000_000 },
      rules: {
        ceiling: { allow: ["**"], deny: [] },
        policies: [
          {
            principal: runner.clientId,
            revision: 1,
            rules: [allow("whoami"), allow("alpha*", { requests_per_minute: 9 })],
          },
        ],
      },
      tools: { visible: 3 },
    });
  });

  test("names what is hidden to a person's own app alone", async () => {
    const runner = await newRunner();
    await put(runner.clientId, [allow("**"), deny("beta*")]);
    const agent = await toolAnswer<{ tools: Record<string, unknown> }>(runner, "whoami");
    expect(agent.tools.hidden).toBeGreaterThan(0);
    expect(agent.tools.hidden_tools).toBeNull();
    const terminal = await newTerminal(vera);
    await put(vera.id, [allow("**"), deny("beta__*")]);
    const owner = await toolAnswer<{ tools: { hidden_tools: { tool: string; why: string }[] } }>(
      terminal,
      "whoami",
    );
    expect(owner.tools.hidden_tools).toContainEqual({
      tool: "beta__list",
      why: `${vera.id} rule 2: deny beta__*`,
    });
    await put(vera.id, []);
  });

  test("GET /api/v1/me names the tools that its caller sees, as the list does", async () => {
    const runner = await newRunner();
    await put(runner.clientId, [allow("alpha*"), allow("whoami")]);
    const { mcp_tools } = await bodyOf<{ mcp_tools: string[] }>(runner.fetch("/api/v1/me"));
    expect(mcp_tools).toEqual(await listed(runner));
    expect(mcp_tools).toContain("alpha_list");
    const browser = await bodyOf<{ mcp_tools: string[] }>(ada.fetch("/api/v1/me"));
    expect(browser.mcp_tools).toContain("beta__write");
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: runner.clientId },
      scope: "control:read",
    });
    const without = await bodyOf<{ mcp_tools: string[] }>(gateway.as(key).fetch("/api/v1/me"));
    expect(without.mcp_tools).toEqual([]);
  });
});

test("the configuration's ceiling is over everybody, and a reload acts at once", async () => {
  const ceiling = "mcp:\n  allow: ['*', 'alpha__*']\n  deny: [beta]\n";
  const at = await startGateway({ mcpExtras, yaml: ceiling });
  const everything = () => listedOf(at.robo);
  expect(await everything()).toEqual(["alpha", "alpha_list", "alpha__list"]);
  const { ada: admin } = await at.people();
  await put(at.robo.id, [allow("**")], {}, admin);
  expect(await everything()).toEqual(["alpha", "alpha_list", "alpha__list"]);
  const { gateway: config } = at.parts.config;
  Object.assign(config, { mcp: { ...config.mcp, deny: ["alpha__**"] } });
  expect(await everything()).toEqual(["alpha", "alpha_list", "beta"]);
  await at.close();
});

test("without the database policies stay in force", async () => {
  const at = await startGateway({ mcpExtras });
  const { ada: admin } = await at.people();
  await put(at.robo.id, [allow("alpha")], {}, admin);
  expect(await listed(at.robo)).toEqual(["alpha"]);
  await listed(at.mallory);
  await at.database.close();
  expect(await listed(at.robo)).toEqual(["alpha"]);
  expect((await callTool(at.robo, "beta")).error?.code).toBe(-32602);
  await at.close();
}, 30_000);
