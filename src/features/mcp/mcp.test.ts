import { afterAll, expect, test } from "bun:test";
import { startGateway } from "../../testing/gateway.ts";
import { legacyRpc, mcpClient, rpc, toolAnswer } from "../../testing/mcp.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());

test("both eras list and call on one URL", async () => {
  const { robo } = gateway;
  for (const speak of [rpc, legacyRpc]) {
    const { result } = await speak(robo, "tools/list");
    expect(result?.tools.map(({ name }) => name)).toContain("whoami");
    const called = await speak(robo, "tools/call", { name: "whoami", arguments: {} });
    expect(called.result?.structuredContent.principal).toBe(robo.id);
  }
  expect(await toolAnswer(robo, "whoami")).toMatchObject({ principal: robo.id });
});

test("the SDK's client lists and calls", async () => {
  const client = await mcpClient(gateway.url, gateway.robo.bearer);
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toContain("whoami");
  expect(await client.callTool({ name: "whoami", arguments: {} })).toMatchObject({
    structuredContent: { principal: gateway.robo.id },
  });
  await client.close();
});

test("a stranger is told where to sign in, and for what", async () => {
  const response = await gateway.nobody.fetch("/mcp", { method: "POST" });
  expect(response.status).toBe(401);
  const challenge = response.headers.get("www-authenticate") ?? "";
  expect(challenge).toContain(`resource_metadata="${gateway.url}/.well-known/oauth-protected-resource/mcp"`);
  expect(challenge).toContain(
    'scope="mcp:read mcp:write artifacts:read artifacts:write approvals:request usage:read"',
  );
});

test("a tool that may take something away says so, and one that only adds does not", async () => {
  const { result } = await rpc(gateway.robo, "tools/list");
  const hints = (result?.tools ?? []) as unknown as {
    name: string;
    annotations: { destructiveHint: boolean };
  }[];
  const destructive = hints.filter(({ annotations }) => annotations.destructiveHint).map(({ name }) => name);
  expect(destructive).toEqual(["approval_consume", "task_update", "task_upsert"]);
});
