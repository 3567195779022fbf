import { beforeAll, describe, expect, test } from "bun:test";
import { connect, createServer, type Socket } from "node:net";
import type { SessionView } from "../features/sessions/contract.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { openShell } from "../testing/shell.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
  return () => gateway.close();
});

/** In front of the gateway, a line that breaks as soon as an answer comes back, this many times. */
async function breakingLine(times: number) {
  let left = times;
  const sockets = new Set<Socket>();
  const server = createServer((caller) => {
    const target = connect(Number(new URL(gateway.url).port), "127.0.0.1");
    for (const socket of [caller, target]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    caller.pipe(target);
    target.on("data", (bytes) => {
      if (left > 0) {
        left -= 1;
        caller.destroy();
        target.destroy();
      } else caller.write(bytes);
    });
    target.on("end", () => caller.end());
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    broken: () => times - left,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

const titles = async (): Promise<string[]> => {
  const { data } = await openShell(gateway.url, gateway.robo.bearer).json<{ data: SessionView[] }>(
    "session list",
  );
  return data.map(({ title }) => title);
};

describe("an answer that is lost on its way", () => {
  test("is asked for again, and nothing is made twice", async () => {
    const line = await breakingLine(1);
    const project = gateway.robo.projectId;
    const shell = openShell(line.url, gateway.robo.bearer);
    const made = await shell.json<SessionView>(`session create Once --project ${project}`);
    expect(line.broken()).toBe(1);
    expect(made.title).toBe("Once");
    expect((await titles()).filter((title) => title === "Once")).toHaveLength(1);
    line.close();
  });

  test("a second time is not hidden", async () => {
    const line = await breakingLine(2);
    const project = gateway.robo.projectId;
    const shell = openShell(line.url, gateway.robo.bearer);
    const said = await shell.specgate(`session create Twice --project ${project}`);
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toContain(`${line.url} cannot be reached`);
    expect((await titles()).filter((title) => title === "Twice")).toHaveLength(1);
    line.close();
  });
});

describe("a gateway that is not ready", () => {
  type Asked = { method: string; path: string; key: string | null; body: string };

  /** Answers with these, one after the other, and keeps what it was asked. */
  function scripted(...answers: [status: number, body: object | string, headers?: Record<string, string>][]) {
    const asked: Asked[] = [];
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      async fetch(request) {
        const key = request.headers.get("idempotency-key");
        const { pathname, search } = new URL(request.url);
        asked.push({ method: request.method, path: pathname + search, key, body: await request.text() });
        const [status, body, headers = {}] = answers[asked.length - 1] ?? [500, ""];
        const type = status < 300 ? "application/json" : "application/problem+json";
        const text = typeof body === "string" ? body : JSON.stringify(body);
        return new Response(text, { status, headers: { "content-type": type, ...headers } });
      },
    });
    return { url: `http://127.0.0.1:${server.port}`, asked, close: () => server.stop(true) };
  }

  const project = `prj_${"0".repeat(32)}`;
  const create = `session create Late --project ${project} --json`;

  test("is asked once more after a while, and until the first request is through", async () => {
    const there = scripted(
      [503, { code: "unavailable" }, { "retry-after": "3" }],
      [409, { code: "in_progress" }],
      [409, { code: "in_progress" }],
      [201, { id: "made" }],
    );
    const waits: number[] = [];
    const sleep = async (ms: number) => void waits.push(ms);
    const said = await openShell(there.url, "bearer").specgate(create, { sleep });
    expect(said).toEqual({ code: 0, out: '{"id":"made"}\n', err: "" });
    expect(waits).toEqual([3_000, 1_000, 1_000]);
    expect(there.asked).toHaveLength(4);
    const [first] = there.asked;
    expect(first).toEqual({
      method: "POST",
      path: `/api/v1/projects/${project}/sessions`,
      key: expect.stringMatching(/^[0-9a-f-]{36}$/),
      body: '{"title":"Late"}',
    });
    expect(there.asked.every((one) => Bun.deepEquals(one, first))).toBe(true);
    there.close();
  });

  test("is not asked a third time, nor after a refusal; each request has a key of its own", async () => {
    const busy = scripted([503, { code: "unavailable", detail: "Not now." }], [502, "<html>"]);
    const said = await openShell(busy.url, "bearer").specgate(create);
    expect([said.code, said.err]).toEqual([1, `specgate: ${busy.url} answered 502 without saying why\n`]);
    busy.close();

    const refusing = scripted([409, { code: "in_progress", detail: "Twice." }], [201, {}], [201, {}]);
    const shell = openShell(refusing.url, "bearer");
    expect((await shell.specgate(create)).code).toBe(1);
    await shell.specgate(create);
    await shell.specgate(create);
    expect(new Set(refusing.asked.map(({ key }) => key)).size).toBe(3);
    refusing.close();
  });

  test("an answer that is no JSON is somebody else's", async () => {
    const page = scripted([200, "<html>Welcome</html>"]);
    const said = await openShell(page.url, "bearer").specgate(create);
    expect([said.code, said.err]).toEqual([1, "specgate: What answered there is no SpecGate gateway\n"]);
    page.close();
  });
});
