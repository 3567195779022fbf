import { afterAll, expect, test } from "bun:test";
import { connect } from "node:net";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { eventStream, json } from "../../testing/provider-script.ts";

const open: TestGateway[] = [];
afterAll(async () => {
  for (const gateway of open) await gateway.close();
});
async function started(): Promise<TestGateway> {
  const gateway = await startGateway();
  open.push(gateway);
  return gateway;
}

const said = (content: string) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`;
const mute = { headers: eventStream, steps: [said("hello there you"), "stall" as const] };
const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };

const rowOf = async ({ database }: TestGateway, id: string | null) =>
  (await database.sql`select state, output, delivery from requests where id = ${id}`)[0];

test("a shutdown waits until a stream that nobody counted is counted and written down, and tells its caller", async () => {
  const gateway = await started();
  const { provider, robo, parts } = gateway;
  provider.script("*", mute);
  const response = await robo.chat({ stream: true });
  const reader = response.body?.getReader();
  await reader?.read();
  await parts.completions.drain(0);
  // Whatever is not written by now never is.
  await parts.ledger.close();
  const told = Buffer.from((await reader?.read())?.value ?? []).toString();
  expect(told).toContain("The gateway is shutting down.");
  const row = await rowOf(gateway, response.headers.get("x-request-id"));
  expect(row).toMatchObject({ state: "estimated", output: 3, delivery: "cut" });
});

test("a caller who leaves during a shutdown is counted and written down before it is over", async () => {
  const gateway = await started();
  const { provider, robo, parts } = gateway;
  provider.script("*", mute);
  const abort = new AbortController();
  const response = await robo.chat({ stream: true }, { signal: abort.signal });
  await response.body?.getReader().read();
  const drained = parts.completions.drain(30_000);
  abort.abort();
  await drained;
  await parts.ledger.close();
  const row = await rowOf(gateway, response.headers.get("x-request-id"));
  expect(row).toMatchObject({ state: "estimated", output: 3 });
});

/** Sends the head of a call and half of its body; the rest when it is asked to. */
function upload({ url, robo }: TestGateway) {
  const body = Buffer.from(JSON.stringify({ model: "openai/m", messages: [], pad: "x".repeat(500_000) }));
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let heard = "";
  socket.on("data", (piece) => {
    heard += piece.toString();
  });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${robo.bearer}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
  );
  socket.write(body.subarray(0, 250_000));
  return {
    finish: () => socket.write(body.subarray(250_000)),
    async answer() {
      for (let n = 0; n < 200 && !heard.includes("\r\n\r\n"); n++) await Bun.sleep(10);
      return heard;
    },
  };
}

test("a call whose body is still on its way has its part in the time that a shutdown leaves", async () => {
  const gateway = await started();
  const { provider, parts } = gateway;
  provider.script("*", json({ choices: [], usage }));
  const call = upload(gateway);
  await Bun.sleep(100);
  const drained = parts.completions.drain(5_000);
  await Bun.sleep(50);
  call.finish();
  expect(await call.answer()).toStartWith("HTTP/1.1 200");
  await drained;
});

test("a body that comes when the time is over is not sent to anybody", async () => {
  const gateway = await started();
  const { provider, parts } = gateway;
  const call = upload(gateway);
  await Bun.sleep(100);
  await parts.completions.drain(100);
  call.finish();
  expect(await call.answer()).toStartWith("HTTP/1.1 503");
  expect(provider.received.length).toBe(0);
});

test("one caller's large bodies leave half of the room to the others", async () => {
  const yaml = `
providers:
  openai: { kind: openai, base_url: "PROVIDER" }
prices:
  "openai/*": { input: 1, output: 2 }
limits: { llm: { bodies_in_flight_bytes_max: 1000000 } }
`;
  const gateway = await startGateway({ yaml });
  open.push(gateway);
  const { provider, robo, mallory } = gateway;
  const wait = Promise.withResolvers<void>();
  const slow = { ...json({ choices: [], usage }), steps: [{ until: wait.promise }, '{"choices":[]}'] };
  provider.script("*", slow);
  const pad = "x".repeat(200_000);
  const first = [robo.chat({ pad }), robo.chat({ pad })];
  await provider.next();
  await provider.next();
  const third = await robo.chat({ pad });
  expect([third.status, third.headers.get("retry-after")]).toEqual([429, "1"]);
  const others = mallory.chat({ pad });
  const small = robo.chat({});
  wait.resolve();
  for (const call of [...first, others, small]) expect((await call).status).toBe(200);
  expect((await robo.chat({ pad })).status).toBe(200);
});
