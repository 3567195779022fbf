/** The whole way: a client of the gateway, the gateway, and real servers of every kind behind it. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { checkUpstreams } from "../../cli/doctor-mcp.ts";
import { startGateway } from "../../testing/gateway.ts";
import { callTool, mcpClient, rpc } from "../../testing/mcp.ts";
import { echoTool, startUpstream } from "../../testing/mcp-upstreams.ts";

const testing = join(import.meta.dir, "../../testing");
const modern = startUpstream();
const legacy = startUpstream({ era: "legacy", sessions: true, streams: true });
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
    dead: { url: "http://127.0.0.1:1/mcp", pin: first_use }
`,
});
const { robo } = gateway;
afterAll(async () => {
  await gateway.close();
  await Promise.all([modern.close(), legacy.close()]);
});
const { servers } = gateway.parts.upstreams;
const end = Date.now() + 10_000;
const aliases = ["command", "legacy", "modern"];
const isThere = () =>
  aliases.every((alias) => [...servers.offered().keys()].some((it) => it.startsWith(`${alias}__`)));
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

test("nothing of the caller's credential reaches a server", () => {
  const sent = [...modern.heard, ...legacy.heard].map(({ headers, params }) =>
    JSON.stringify([...headers, params]),
  );
  expect(sent.length).toBeGreaterThan(4);
  expect(sent.join()).not.toContain(robo.bearer);
  expect(sent.join()).not.toContain(robo.id);
});

test("doctor says of each server whether it answers, which era it speaks, and what it cannot offer", async () => {
  const odd = startUpstream({ tools: [echoTool, { ...echoTool, name: "a.b" }] });
  const { upstreams } = gateway.parts.config.gateway.mcp;
  const { modern: one, legacy: two, dead } = upstreams;
  if (one?.kind !== "http" || two === undefined || dead === undefined) throw new Error("they are configured");
  const findings = await checkUpstreams({ one, two, dead, odd: { ...one, url: odd.url } }, "0.0.0-test");
  expect(findings.map(({ status, message }) => [status, message])).toEqual([
    ["ok", "one: 1 tools, modern era"],
    ["ok", "two: 1 tools, legacy era"],
    ["warning", expect.stringMatching(/^dead: ./)],
    [
      "warning",
      expect.stringContaining("odd: 1 of its tools cannot be offered, such as a.b: its name holds"),
    ],
  ]);
  await odd.close();
});
