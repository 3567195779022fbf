import { afterAll, expect, test } from "bun:test";
import { startGateway } from "../../testing/gateway.ts";
import { legacyRpc, legacyVersion, rpc } from "../../testing/mcp.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());

const hello = { protocolVersion: legacyVersion, capabilities: {}, clientInfo: { name: "app", version: "1" } };

test("a client of the older era may set a log level, as it was told", async () => {
  const { result } = await legacyRpc(gateway.robo, "initialize", hello);
  expect(result?.capabilities).toMatchObject({ logging: {} });
  for (const level of ["debug", "emergency"])
    expect(await legacyRpc(gateway.robo, "logging/setLevel", { level })).toMatchObject({
      status: 200,
      result: {},
    });
  const { error } = await legacyRpc(gateway.robo, "logging/setLevel", { level: "loud" });
  expect(error?.message).toContain("emergency");
});

test("what needs a session is neither offered nor answered", async () => {
  const { result } = await legacyRpc(gateway.robo, "initialize", hello);
  expect(result?.capabilities).not.toMatchObject({ resources: { subscribe: true } });
  for (const method of ["resources/subscribe", "resources/unsubscribe"])
    expect((await legacyRpc(gateway.robo, method, { uri: "specgate://tasks/x" })).error?.code).toBe(-32601);
});

test("2026-07-28 has no log level to set", async () => {
  expect(await rpc(gateway.robo, "logging/setLevel", { level: "debug" })).toMatchObject({
    status: 404,
    error: { code: -32601 },
  });
});
