/** Resources, prompts and completion: whole over pages, closed to whom they do not belong to, and under the allowlist. */
import { afterAll, describe, expect, test } from "bun:test";
import type { PromptSource, ResourceSource } from "../../platform/mcp-sources.ts";
import { localActor } from "../../testing/desk.ts";
import { startGateway } from "../../testing/gateway.ts";
import { legacyRpc, type Rpc, rpc, toolAnswer } from "../../testing/mcp.ts";
import { linesOf } from "../../testing/mcp-log.ts";
import { call } from "../../testing/wire.ts";

/** So many resources, two on a page. */
const counted = (scheme: string, count: number): ResourceSource => ({
  templates: [{ uriTemplate: `${scheme}://things/{id}`, name: scheme }],
  async list(_asking, cursor) {
    const from = Number(cursor ?? 0);
    const resources = Array.from({ length: Math.max(0, Math.min(2, count - from)) }, (_, at) => ({
      uri: `${scheme}://things/${from + at}`,
      name: `${from + at}`,
    }));
    return { resources, nextCursor: from + 2 < count ? String(from + 2) : null };
  },
  read: async (uri) => (uri === `${scheme}://things/long` ? [{ uri, text: "x".repeat(60_000) }] : null),
  complete: async (variable, typed) =>
    variable === "id" ? Array.from({ length: 150 }, (_, at) => `${typed}${at}`) : [],
});
const greeting: PromptSource = {
  name: "greet",
  arguments: [
    { name: "whom", description: "Whom.", required: true },
    { name: "how", description: "How.", required: false },
  ],
  get: async ({ whom }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Hello ${whom}` } }],
  }),
  complete: async (_argument, typed) => [`${typed}!`],
};
const gateway = await startGateway({
  yaml: "limits: { mcp: { requests_per_minute: null, result_bytes_max: 50000 } }",
  mcpExtras: { resources: [counted("none", 0), counted("five", 5), counted("one", 1)], prompts: [greeting] },
});
afterAll(() => gateway.close());
const { ada } = await gateway.people();
const { robo, mallory } = gateway;

async function confinedBy(rules: unknown[]) {
  const scope = "mcp:read mcp:write";
  const made = { name: "confined", kind: "runner", projectId: robo.projectId, scope } as const;
  const client = await gateway.clients.create(localActor, made);
  const { key } = await gateway.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
  await call(ada, "PUT", `/mcp/policies/${client.client_id}`, { rules });
  return gateway.as(key, client.client_id);
}

async function newTask(): Promise<{ uri: string; session: string; id: string }> {
  const session = await toolAnswer<{ id: string }>(robo, "session_start", {
    project_id: robo.projectId,
    title: "S",
  });
  const tasks = [{ dedupe_key: "t", title: "One" }];
  const { data } = await toolAnswer<{ data: { id: string }[] }>(robo, "task_upsert", {
    session_id: session.id,
    tasks,
  });
  const id = data[0]?.id ?? "";
  return { uri: `specgate://tasks/${id}`, session: session.id, id };
}

describe("resources", () => {
  test("are listed over all sources, each once, and every page leads on", async () => {
    const uris: string[] = [];
    let cursor: string | undefined;
    do {
      const { result } = await rpc(mallory, "resources/list", cursor === undefined ? {} : { cursor });
      uris.push(...((result?.resources ?? []) as { uri: string }[]).map(({ uri }) => uri));
      cursor = result?.nextCursor as string | undefined;
    } while (cursor !== undefined);
    expect(uris).toEqual([...[0, 1, 2, 3, 4].map((at) => `five://things/${at}`), "one://things/0"]);
  });

  test("that are another's and those that are not there are answered alike, with the era's own code", async () => {
    const { uri } = await newTask();
    const nowhere = `specgate://tasks/tsk_${"0".repeat(32)}`;
    for (const [speak, code] of [
      [rpc, -32_602],
      [legacyRpc, -32_002],
    ] as const) {
      expect((await speak(robo, "resources/read", { uri })).result?.contents).toMatchObject([{ uri }]);
      const answers: Rpc[] = [];
      for (const asked of [uri, nowhere, "file:///etc/passwd", "specgate://tasks/../tasks"])
        answers.push(await speak(mallory, "resources/read", { uri: asked }));
      const said = answers.map(({ error, status }) => ({
        status,
        code: error?.code,
        message: error?.message,
      }));
      for (const one of said) expect(one).toEqual({ status: 200, code, message: said[1]?.message });
    }
  });

  test("that are too large are refused with their size, not cut", async () => {
    const { error } = await rpc(robo, "resources/read", { uri: "five://things/long" });
    expect(error).toMatchObject({ code: -32_603, data: { code: "result_too_large" } });
  });
});

describe("a policy about tools", () => {
  test("holds for the resources and prompts that show the same", async () => {
    const { uri, session } = await newTask();
    const confined = await confinedBy([{ effect: "allow", tool: "whoami" }]);
    const { result } = await rpc(confined, "resources/list");
    expect(JSON.stringify(result)).not.toContain("specgate://");
    expect(JSON.stringify((await rpc(confined, "resources/templates/list")).result)).not.toContain(
      "specgate://",
    );
    expect((await rpc(confined, "resources/read", { uri })).error?.code).toBe(-32_602);
    expect((await rpc(confined, "prompts/list")).result?.prompts).toMatchObject([{ name: "greet" }]);
    expect(
      (await rpc(confined, "prompts/get", { name: "summarize_session", arguments: { session_id: session } }))
        .error?.message,
    ).toBe("Unknown prompt: summarize_session");
    for (const ref of [
      { type: "ref/prompt", name: "summarize_session" },
      { type: "ref/resource", uri: "specgate://tasks/{id}" },
    ])
      expect(
        (await rpc(confined, "completion/complete", { ref, argument: { name: "session_id", value: "" } }))
          .error?.code,
      ).toBe(-32_602);
  });

  test("keeps reports of a session out of its summary, where it keeps their list from the caller", async () => {
    const { session } = await newTask();
    const rule = { path: "session_id", op: "eq", value: session };
    const confined = await confinedBy([
      { effect: "allow", tool: "**" },
      { effect: "deny", tool: "report_list", args: [rule] },
    ]);
    const asked = (id: string) =>
      rpc(confined, "prompts/get", { name: "summarize_session", arguments: { session_id: id } });
    expect((await asked(session)).error?.message).toBe("Unknown prompt: summarize_session");
    expect((await asked((await newTask()).session)).error).toBeUndefined();
  });

  test("holds with its arguments and its rate", async () => {
    const [mine, other] = [await newTask(), await newTask()];
    const confined = await confinedBy([
      {
        effect: "allow",
        tool: "task_get",
        args: [{ path: "task_id", op: "eq", value: mine.id }],
        requests_per_minute: 2,
      },
    ]);
    expect((await rpc(confined, "resources/read", { uri: mine.uri })).result?.contents).toMatchObject([
      { uri: mine.uri },
    ]);
    const denied = await rpc(confined, "resources/read", { uri: other.uri });
    expect(denied.error?.code).toBe(-32_602);
    expect((await rpc(confined, "resources/read", { uri: mine.uri })).status).toBe(200);
    expect((await rpc(confined, "resources/read", { uri: mine.uri })).status).toBe(429);
    // Ids would be completed out of all there are.
    await call(ada, "PUT", `/mcp/policies/${confined.id}`, {
      rules: [
        { effect: "allow", tool: "**" },
        { effect: "deny", tool: "task_list", args: [{ path: "session_id", op: "eq", value: other.session }] },
      ],
    });
    const argument = { name: "id", value: "tsk_" };
    const complete = (uri: string) =>
      rpc(confined, "completion/complete", { ref: { type: "ref/resource", uri }, argument });
    const none = await complete("specgate://tasks/{id}");
    expect(none.result?.completion).toMatchObject({ values: [], total: 0 });
    expect((await complete("five://things/{id}")).result?.completion).toMatchObject({ total: 150 });
    // The caller is told that there is nothing; the record, what was decided.
    for (const answer of [denied, none])
      expect(await linesOf(gateway, answer.headers.get("x-request-id") ?? "")).toMatchObject([
        { verdict: "denied" },
      ]);
  });
});

describe("prompts", () => {
  test("need what they need, and say what they do not know", async () => {
    const get = (given: Record<string, string>) =>
      rpc(robo, "prompts/get", { name: "greet", arguments: given });
    expect((await get({ whom: "you" })).result?.messages).toEqual([
      { role: "user", content: { type: "text", text: "Hello you" } },
    ]);
    expect((await get({})).error).toMatchObject({
      code: -32_602,
      message: "The prompt needs the argument `whom`.",
    });
    expect((await get({ whom: "x", hoW: "y" })).error?.message).toContain("Did you mean `how`?");
    expect((await rpc(robo, "prompts/get", { name: "Greet" })).error?.message).toBe("Unknown prompt: Greet");
  });

  test("and templates are completed, a hundred values at most", async () => {
    const complete = async (ref: object, name: string, value: string) =>
      (await rpc(robo, "completion/complete", { ref, argument: { name, value } })).result?.completion as {
        values: string[];
        total: number;
        hasMore: boolean;
      };
    expect(await complete({ type: "ref/prompt", name: "greet" }, "whom", "Ad")).toEqual({
      values: ["Ad!"],
      total: 1,
      hasMore: false,
    });
    const many = await complete({ type: "ref/resource", uri: "five://things/{id}" }, "id", "7");
    expect([many.values.length, many.total, many.hasMore]).toEqual([100, 150, true]);
  });
});
