import { afterAll, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { Contact } from "./first-contact.ts";
import { createGuardedFetch, type FetchRules } from "./guarded-fetch.ts";

const rules: FetchRules = { reach: "operator", bytesMax: null, timeoutMs: null };
const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;

/**
 * A host that takes no more connections and says nothing of it, as behind a wall: a listener that has been stopped, with
 * so many connections waiting that the system drops the next one.
 */
const listener = `const s = require("node:net").createServer(); s.listen({ port: 0, host: "127.0.0.1" }, () => console.log(s.address().port));`;
const child = Bun.spawn([process.execPath, "-e", listener], { stdout: "pipe" });
const waiting: Socket[] = [];
afterAll(() => {
  for (const socket of waiting) socket.destroy();
  child.kill("SIGKILL");
});
async function deafPort(): Promise<number> {
  const { value } = await child.stdout.getReader().read();
  const port = Number(new TextDecoder().decode(value));
  child.kill("SIGSTOP");
  for (let n = 0; n < 5_000; n++) {
    const socket = connect({ host: "127.0.0.1", port });
    waiting.push(socket);
    const connected = new Promise((resolve) => socket.once("connect", () => resolve(true)));
    if ((await Promise.race([connected, Bun.sleep(200)])) !== true) return port;
  }
  throw new Error("the system takes every connection");
}
const port = await deafPort();

test("a host that swallows connections is told from one that thinks, and nothing was sent to it", async () => {
  const guarded = createGuardedFetch();
  const startedAt = performance.now();
  const failed = await guarded(
    `http://127.0.0.1:${port}/`,
    { method: "POST", body: "x" },
    { ...rules, connectMs: 150 },
  ).catch((error: unknown) => error);
  expect(codeOf((failed as Error).cause)).toBe("connect_timeout");
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

test("whoever leaves while a host is tried waits no longer", async () => {
  const abort = new AbortController();
  const pending = createGuardedFetch()(
    `http://127.0.0.1:${port}/`,
    { signal: abort.signal },
    { ...rules, connectMs: 5_000 },
  ).catch((error: unknown) => error);
  await Bun.sleep(50);
  const startedAt = performance.now();
  abort.abort();
  expect((await pending) as Error).toMatchObject({ name: "AbortError" });
  expect(performance.now() - startedAt).toBeLessThan(50);
});

test("a host that answered is believed for a while, one that only takes connections is tried again", async () => {
  let connections = 0;
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: () => void connections++,
      data: (socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
    },
  });
  const guarded = createGuardedFetch();
  const ask = async () =>
    await (await guarded(`http://127.0.0.1:${server.port}/x`, {}, { ...rules, connectMs: 500 })).text();
  expect(await ask()).toBe("hi");
  expect(connections).toBe(2);
  for (let n = 0; n < 3; n++) expect(await ask()).toBe("hi");
  expect(connections).toBe(2);
  server.stop(true);
});

test("callers who come together knock once, and hear the same", async () => {
  const contact = new Contact();
  const heard = Array.from({ length: 20 }, () => contact.reach("127.0.0.1", 9, 500).catch(codeOf));
  expect(new Set(heard.length === 20 ? await Promise.all(heard) : [])).toEqual(new Set(["ECONNREFUSED"]));
  expect(contact.isFresh).toBe(false);
});
