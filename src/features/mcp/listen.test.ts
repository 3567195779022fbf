/**
 * Streams of changes: each hears what its own caller may see and nothing of anybody else's, and ends when its credential
 * or the gateway does.
 */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import net from "node:net";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { legacyRpc, modernVersion, rpc, toolAnswer } from "../../testing/mcp.ts";
import { type McpListening, mcpListen } from "../../testing/mcp-listen.ts";
import { linesOf } from "../../testing/mcp-log.ts";
import { newApp } from "../../testing/people.ts";
import { scriptedLink, tool } from "../../testing/scripted-link.ts";
import { call } from "../../testing/wire.ts";

const link = scriptedLink(tool("find"));
const gateway = await startGateway({
  yaml: `limits: { mcp: { requests_per_minute: null } }
mcp: { upstreams: { notes: { url: "https://notes.example/mcp", pin: first_use } } }
`,
  openLink: () => link,
});
afterAll(() => gateway.close());
const { ada, ed, stranger } = await gateway.people();
const { robo, mallory } = gateway;

const open: McpListening[] = [];
afterEach(() => {
  for (const stream of open.splice(0)) stream.leave();
});
async function listens(who: Actor, notifications: Record<string, unknown>): Promise<McpListening> {
  const stream = await mcpListen(who, notifications);
  open.push(stream);
  expect(stream.status).toBe(200);
  await stream.until(() => stream.heard.length > 0);
  return stream;
}

async function workOf(who: Actor & { projectId: string }) {
  const session = await toolAnswer<{ id: string }>(who, "session_start", {
    project_id: who.projectId,
    title: "S",
  });
  const upsert = async (titles: string[]) => {
    const tasks = titles.map((title, at) => ({ dedupe_key: `t${at}`, title }));
    const { data } = await toolAnswer<{ data: { id: string }[] }>(who, "task_upsert", {
      session_id: session.id,
      tasks,
    });
    return data.map(({ id }) => id);
  };
  return { sessionId: session.id, upsert };
}

const everything = (uris: string[] = []) => ({
  toolsListChanged: true,
  promptsListChanged: true,
  resourcesListChanged: true,
  resourceSubscriptions: uris,
});

describe("a stream", () => {
  test("begins with what of it is told, and hears the changes of its own project", async () => {
    const { upsert } = await workOf(robo);
    const [first = "", second = ""] = await upsert(["one", "two"]);
    const stream = await listens(robo, everything([`specgate://tasks/${first}`]));
    expect(stream.headers.get("content-type")).toBe("text/event-stream");
    expect(stream.heard[0]).toMatchObject({
      method: "notifications/subscriptions/acknowledged",
      params: {
        notifications: {
          toolsListChanged: true,
          resourcesListChanged: true,
          resourceSubscriptions: [`specgate://tasks/${first}`],
        },
      },
    });
    await toolAnswer(robo, "task_update", { task_id: second, title: "changed" });
    await toolAnswer(robo, "task_update", { task_id: first, title: "changed" });
    const updates = () => stream.said().filter((said) => said.startsWith("resources/updated"));
    await stream.until(() => updates().length > 0);
    expect(updates()).toEqual([`resources/updated specgate://tasks/${first}`]);
    // What was made just before it began may still be news.
    const before = stream.said().length;
    await upsert(["changed", "changed", "three", "four", "five"]);
    await stream.until(() => stream.said().length > before);
    expect(stream.said().slice(before)).toEqual(["resources/list_changed"]);
    expect(
      stream.heard.every(
        ({ params }) =>
          (params?._meta as Record<string, unknown> | undefined)?.[
            "io.modelcontextprotocol/subscriptionId"
          ] === "l1",
      ),
    ).toBe(true);
  });

  test("never hears of another's, whatever it names", async () => {
    const { ed: app } = {
      ed: gateway.as(
        (await newApp(gateway, stranger, { scope: "mcp:read", aud: `${gateway.url}/mcp` })).token,
        stranger.id,
      ),
    };
    const { upsert } = await workOf(mallory);
    const [foreign = ""] = await upsert(["one"]);
    const uris = [`specgate://tasks/${foreign}`, `specgate://reports/${foreign}`];
    const streams = [await listens(robo, everything(uris)), await listens(app, everything(uris))];
    const own = await listens(mallory, everything(uris));
    await toolAnswer(mallory, "task_update", { task_id: foreign, title: "changed" });
    await upsert(["changed", "new"]);
    await own.until(() => own.said().length === 2);
    await Bun.sleep(300);
    for (const stream of streams) expect(stream.said()).toEqual([]);
  });

  test("of a person hears the projects that they are in", async () => {
    const app = gateway.as(
      (await newApp(gateway, ed, { scope: "mcp:read", aud: `${gateway.url}/mcp` })).token,
      ed.id,
    );
    const { upsert } = await workOf(robo);
    const stream = await listens(app, { resourcesListChanged: true });
    await upsert(["one"]);
    await stream.until(() => stream.said().length > 0);
    expect(stream.said()).toEqual(["resources/list_changed"]);
  });

  test("hears that the tools have changed only when its own list has", async () => {
    while (!(await rpc(robo, "tools/list")).result?.tools.some(({ name }) => name === "notes__find"))
      await Bun.sleep(20);
    const made = { name: "confined", kind: "runner", projectId: robo.projectId, scope: "mcp:read" } as const;
    const client = await gateway.clients.create(localActor, made);
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: client.client_id },
      scope: "mcp:read",
    });
    const confined = gateway.as(key, client.client_id);
    const policy = (rules: unknown[]) => call(ada, "PUT", `/mcp/policies/${client.client_id}`, { rules });
    await policy([{ effect: "allow", tool: "whoami" }]);
    const [free, bound] = [
      await listens(robo, { toolsListChanged: true }),
      await listens(confined, { toolsListChanged: true }),
    ];
    link.show();
    await free.until(() => free.said().length > 0);
    expect(free.said()).toEqual(["tools/list_changed"]);
    expect(bound.said()).toEqual([]);
    await policy([
      { effect: "allow", tool: "whoami" },
      { effect: "allow", tool: "task_*" },
    ]);
    await bound.until(() => bound.said().length > 0);
    expect(bound.said()).toEqual(["tools/list_changed"]);
    // Another rule about the same tools is no other list.
    await policy([
      { effect: "allow", tool: "whoami", requests_per_minute: 5 },
      { effect: "allow", tool: "task_*" },
    ]);
    await Bun.sleep(1_500);
    expect([free.said().length, bound.said().length]).toEqual([1, 1]);
  });

  test("says nothing of a task that its policy does not let it read", async () => {
    const { upsert } = await workOf(robo);
    const [open = "", closed = ""] = await upsert(["one", "two"]);
    const scope = "mcp:read";
    const made = { name: "confined", kind: "runner", projectId: robo.projectId, scope } as const;
    const client = await gateway.clients.create(localActor, made);
    const { key } = await gateway.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
    const args = [{ path: "task_id", op: "eq", value: open }];
    const rules = [{ effect: "allow", tool: "task_get", args }];
    await call(ada, "PUT", `/mcp/policies/${client.client_id}`, { rules });
    const resourceSubscriptions = [open, closed].map((id) => `specgate://tasks/${id}`);
    const stream = await listens(gateway.as(key, client.client_id), { resourceSubscriptions });
    for (const task_id of [closed, open])
      await toolAnswer(robo, "task_update", { task_id, title: "changed" });
    await stream.until(() => stream.said().length > 0);
    expect(stream.said()).toEqual([`resources/updated specgate://tasks/${open}`]);
  });

  test("keeps the connection alive", async () => {
    const stream = await listens(robo, { resourcesListChanged: true });
    await stream.until(() => stream.comments() > 0, 12_000);
  }, 20_000);
});

describe("a stream ends", () => {
  const runner = async () => {
    const scope = "mcp:read";
    const client = await gateway.clients.create(localActor, {
      name: "r",
      kind: "runner",
      projectId: robo.projectId,
      scope,
    });
    const { key, id } = await gateway.keys.create(localActor, {
      owner: { clientId: client.client_id },
      scope,
    });
    return { ...gateway.as(key, client.client_id), keyId: id, clientId: client.client_id };
  };

  test("with its key, at once, and with a last word", async () => {
    const who = await runner();
    const stream = await listens(who, { resourcesListChanged: true });
    const began = performance.now();
    await gateway.keys.revoke(localActor, who.keyId);
    await stream.ended;
    expect(performance.now() - began).toBeLessThanOrEqual(1_000);
    expect(stream.heard.at(-1)).toMatchObject({ id: "l1", result: { resultType: "complete" } });
  });

  test("with a person's part in a project", async () => {
    const app = gateway.as(
      (await newApp(gateway, ed, { scope: "mcp:read", aud: `${gateway.url}/mcp` })).token,
      ed.id,
    );
    const stream = await listens(app, { resourcesListChanged: true });
    await gateway.projects
      .setMember(localActor, { projectId: robo.projectId, userId: ed.id, role: "viewer" }, null)
      .catch(async () => {
        await gateway.projects.setMember(
          localActor,
          { projectId: robo.projectId, userId: ed.id, role: "viewer" },
          1,
        );
      });
    await stream.ended;
  });

  test("with its token's own time", async () => {
    const now = Date.now() - 900_000 + 1_500;
    const { token } = await newApp(gateway, ed, { scope: "mcp:read", aud: `${gateway.url}/mcp`, now });
    const stream = await listens(gateway.as(token, ed.id), { resourcesListChanged: true });
    const began = performance.now();
    await stream.ended;
    expect(performance.now() - began).toBeLessThan(4_000);
  });

  test("when nothing of what was asked for is ever told here", async () => {
    const stream = await mcpListen(robo, {});
    await stream.ended;
    expect(stream.heard[0]).toMatchObject({
      method: "notifications/subscriptions/acknowledged",
      params: { notifications: {} },
    });
  });

  test("and leaves room behind: so many at once and no more, each written down", async () => {
    const who = await runner();
    const streams: McpListening[] = [];
    for (let at = 0; at < 100; at++) streams.push(await mcpListen(who, { resourcesListChanged: true }));
    expect(streams.every(({ status }) => status === 200)).toBe(true);
    const refused = await mcpListen(who, { resourcesListChanged: true });
    expect([refused.status, refused.answer?.error]).toMatchObject([
      429,
      { data: { code: "too_many_streams" } },
    ]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await linesOf(gateway, refused.headers.get("x-request-id") ?? "")).toMatchObject([
      { verdict: "rate_limited", method: "subscriptions/listen" },
    ]);
    expect(await linesOf(gateway, streams[0]?.headers.get("x-request-id") ?? "")).toMatchObject([
      { verdict: "allowed", method: "subscriptions/listen" },
    ]);
    const other = await mcpListen(robo, { resourcesListChanged: true });
    expect(other.status).toBe(200);
    for (const stream of [...streams, other]) stream.leave();
    let status = 429;
    for (let tries = 0; tries < 100 && status === 429; tries++) {
      await Bun.sleep(20);
      const again = await mcpListen(who, { resourcesListChanged: true });
      status = again.status;
      again.leave();
    }
    expect(status).toBe(200);
  }, 60_000);
});

test("a filter that is none, or names too much, is refused and opens nothing", async () => {
  const uris = Array.from({ length: 1_001 }, (_, at) => `specgate://tasks/tsk_${at}`);
  for (const notifications of [
    null,
    { resourceSubscriptions: "all" },
    { resourceSubscriptions: uris },
    { toolsListChanged: "yes" },
  ]) {
    const { answer } = await mcpListen(robo, notifications as Record<string, unknown>);
    expect(answer?.error?.code).toBe(-32_602);
  }
});

test("a reader that leaves too much unread is let go: counted in bytes, of which a long id makes many", async () => {
  const { upsert } = await workOf(robo);
  const titles = (round: number) => Array.from({ length: 1_000 }, (_, at) => `${round} ${at}`);
  const ids = await upsert(titles(0));
  const id = "\u0001".repeat(256);
  const notifications = { resourceSubscriptions: ids.map((task) => `specgate://tasks/${task}`) };
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": modernVersion,
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const params = { notifications, _meta };
  const body = JSON.stringify({ jsonrpc: "2.0", id, method: "subscriptions/listen", params });
  const lines = [
    "POST /mcp HTTP/1.1",
    "host: 127.0.0.1",
    `authorization: Bearer ${robo.bearer}`,
    "content-type: application/json",
    "accept: application/json, text/event-stream",
    `mcp-protocol-version: ${modernVersion}`,
    "mcp-method: subscriptions/listen",
    `content-length: ${body.length}`,
  ];
  const socket = net.connect(Number(new URL(gateway.url).port), "127.0.0.1");
  const ended = Promise.withResolvers<void>();
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes;
    if (text.endsWith("0\r\n\r\n")) ended.resolve();
  });
  socket.on("close", () => ended.resolve());
  socket.write(`${lines.join("\r\n")}\r\n\r\n${body}`);
  while (!text.includes("acknowledged")) await Bun.sleep(10);
  socket.pause();
  // Two megabytes at a time.
  for (let round = 1; round <= 3; round++) await upsert(titles(round));
  socket.resume();
  await ended.promise;
  socket.destroy();
  expect(text.split("notifications/resources/updated").length - 1).toBeLessThanOrEqual(1_000);
}, 30_000);

test("before 2026-07-28 there is no such method, and nothing says that there is", async () => {
  expect((await legacyRpc(robo, "subscriptions/listen", { notifications: {} })).error?.code).toBe(-32_601);
  const { result } = await legacyRpc(robo, "initialize", {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "t", version: "1" },
  });
  expect(result?.capabilities).toEqual({
    tools: { listChanged: false },
    resources: { listChanged: false, subscribe: false },
    prompts: { listChanged: false },
    completions: {},
    logging: {},
  });
  const discovered = await rpc(robo, "server/discover");
  expect(discovered.result?.capabilities).toEqual({
    tools: { listChanged: true },
    resources: { listChanged: true, subscribe: true },
    prompts: { listChanged: false },
    completions: {},
  });
});

test("a closing gateway ends its streams with a last word", async () => {
  const stream = await listens(robo, { resourcesListChanged: true });
  await gateway.parts.mcp.drain(1_000);
  await stream.ended;
  expect(stream.heard.at(-1)).toMatchObject({ result: { resultType: "complete" } });
});
