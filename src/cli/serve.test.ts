import { expect, test } from "bun:test";
import { silentLog } from "../platform/log.ts";
import { startGateway } from "../testing/gateway.ts";
import { listen } from "./serve.ts";

test("a port that another gateway listens on is refused, and not shared with it", async () => {
  const gateway = await startGateway();
  const { parts, url } = gateway;
  const config = { ...parts.config, port: Number(new URL(url).port) };
  expect(() => listen({ ...parts, config }, silentLog)).toThrow(
    "is already in use. Choose another with --port.",
  );
  await gateway.close();
});
