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
  const elsewhere = { ...parts.config, host: "192.0.2.1" };
  expect(() => listen({ ...parts, config: elsewhere }, silentLog)).toThrow("Choose one with --host.");
  await gateway.close();
});

test("a gateway whose data dir was copied stops within seconds of the copy's start", async () => {
  const gateway = await startGateway();
  const { parts, database, dir } = gateway;
  await database.sql`
    insert into instances (id, epoch, nonce) values (${dir.instance}, 99, ${crypto.randomUUID()})
    on conflict (id) do update set epoch = 99`;
  const ended = await Promise.race([parts.fenced, Bun.sleep(10_000)]);
  expect(String(ended)).toContain("the data dir was copied");
  await gateway.close();
}, 20_000);
