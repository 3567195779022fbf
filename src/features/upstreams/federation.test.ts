/** The whole way: a client of the gateway, the gateway, and real servers of every kind behind it. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as LegacyTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { checkUpstreams } from "../../cli/doctor-mcp.ts";
import { startGateway } from "../../testing/gateway.ts";
import { callTool, mcpClient, rpc } from "../../testing/mcp.ts";
import { echoTool, startUpstream, textResult } from "../../testing/mcp-upstreams.ts";
import { ok } from "../../testing/wire.ts";
import type { UpstreamView } from "./contract.ts";

const testing = join(import.meta.dir, "../../testing");
const modern = startUpstream();
const legacy = startUpstream({ era: "legacy", sessions: true, streams: true });
const schema = (more: object) => ({
  inputSchema: { type: "object" as const },
  annotations: { readOnlyHint: true },
  ...more,
});
const misplaced = { type: "object", properties: { a: { type: "array", items: { "x-mcp-header": "A" } } } };
const results: Record<string, object> = {
  text: { ...textResult("x"), structuredContent: "x" },
  nothing: { ...textResult("null"), structuredContent: null },
  list: { ...textResult('["a"]'), structuredContent: ["a"] },
};
/** What only the newer era knows, and what no era does. */
const odd = startUpstream({
  tools: [
    { name: "text", ...schema({}) },
    { name: "nothing", ...schema({}) },
    { name: "list", ...schema({ outputSchema: { type: "array", items: { type: "string" } } }) },
    { name: "bare" } as never,
    { name: "header", inputSchema: misplaced },
    null as never,
  ],
  call: (name) => results[name] as Record<string, unknown>,
});
const gateway = await startGateway({
  yaml: `
mcp:
  upstreams:
    modern: { url: "${modern.url}", bearer: "upstreams-own-bearer", pin: first_use }
    legacy: { url: "${legacy.url}", pin: first_use }
    command:
      command: [ "${process.execPath}", "${testing}/mcp-command.ts", modern ]
      cwd: "${testing}"
      pin: first_use
    odd: { url: "${odd.url}", pin: first_use }
    dead: { url: "http://127.0.0.1:1/mcp", pin: first_use }
`,
});
const { robo } = gateway;
afterAll(async () => {
  await gateway.close();
  await Promise.all([modern.close(), legacy.close(), odd.close()]);
});
const { servers } = gateway.parts.upstreams;
const end = Date.now() + 10_000;
const aliases = ["command", "legacy", "modern"];
const isThere = () =>
  [...aliases, "odd"].every((alias) =>
    [...servers.offered().keys()].some((it) => it.startsWith(`${alias}__`)),
  );
while (!isThere() && Date.now() < end) await Bun.sleep(20);

test.each(["modern", "legacy"])(
  "a tool of a server that speaks the %s era is listed, called, and answers",
  async (alias) => {
    const { result } = await rpc(robo, "tools/list");
    expect(result?.tools.find(({ name }) => name === `${alias}__echo`)).toEqual({
      ...echoTool,
      name: `${alias}__echo`,
    });
    const answer = await callTool(robo, `${alias}__echo`, { text: "hello" });
    expect(answer.result?.content).toEqual([{ type: "text", text: '{"text":"hello"}' }]);
  },
);

test("a command's tools are listed too, and a client of the SDK sees and calls all of them", async () => {
  const client = await mcpClient(gateway.url, robo.bearer);
  const { tools } = await client.listTools();
  const theirs = tools.map(({ name }) => name).filter((name) => name.includes("__"));
  expect(theirs).toEqual(
    expect.arrayContaining(["command__add", "command__echo", "legacy__echo", "modern__echo"]),
  );
  for (const alias of aliases) {
    const { content } = await client.callTool({ name: `${alias}__echo`, arguments: { text: "x" } });
    expect([alias, content]).toEqual([alias, [{ type: "text", text: '{"text":"x"}' }]]);
  }
  await client.close();
});

test("a tool that is left out is told with why, whatever is wrong with it", async () => {
  const { ada } = await gateway.people();
  const { data } = await ok<{ data: UpstreamView[] }>(ada, "GET", "/mcp/upstreams");
  expect(data.find(({ alias }) => alias === "odd")).toMatchObject({
    tools: { visible: 3 },
    refused_count: 3,
    refused: [
      { tool: "bare", reason: "its definition is not one of a tool, at inputSchema" },
      { tool: "header", reason: "an x-mcp-header of its inputSchema is none that a header can repeat" },
      { tool: "", reason: "it has no name" },
    ],
  });
});

test("an answer that the older era does not know reaches its clients in a form that it does, as its schema says", async () => {
  const client = new LegacyClient({ name: "test", version: "1" });
  const requestInit = { headers: { authorization: `Bearer ${robo.bearer}` } };
  await client.connect(new LegacyTransport(new URL("/mcp", gateway.url), { requestInit }) as never);
  await client.listTools();
  for (const [name, { structuredContent }] of Object.entries(results) as [
    string,
    { structuredContent: unknown },
  ][]) {
    const answer = await client.callTool({ name: `odd__${name}`, arguments: {} });
    expect([name, answer.structuredContent]).toEqual([name, { result: structuredContent }]);
    const modern = await callTool(robo, `odd__${name}`);
    expect([name, modern.result?.structuredContent]).toEqual([name, structuredContent as never]);
  }
  await client.close();
});

test("nothing of the caller's credential reaches a server", () => {
  const sent = [...modern.heard, ...legacy.heard].map(({ headers, params }) =>
    JSON.stringify([...headers, params]),
  );
  expect(sent.length).toBeGreaterThan(4);
  expect(sent.join()).not.toContain(robo.bearer);
  expect(sent.join()).not.toContain(robo.id);
});

test("doctor says of each server whether it answers, which era it speaks, and what it cannot offer", async () => {
  const dotted = startUpstream({ tools: [echoTool, { ...echoTool, name: "a.b" }] });
  const { upstreams } = gateway.parts.config.gateway.mcp;
  const { modern: one, legacy: two, dead } = upstreams;
  if (one?.kind !== "http" || two === undefined || dead === undefined) throw new Error("they are configured");
  const findings = await checkUpstreams({ one, two, dead, odd: { ...one, url: dotted.url } }, "0.0.0-test");
  expect(findings.map(({ status, message }) => [status, message])).toEqual([
    ["ok", "one: 1 tools, modern era"],
    ["ok", "two: 1 tools, legacy era"],
    ["warning", expect.stringMatching(/^dead: ./)],
    [
      "warning",
      expect.stringContaining("odd: 1 of its tools cannot be offered, such as a.b: its name holds"),
    ],
  ]);
  await dotted.close();
});
