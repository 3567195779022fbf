/** A desktop app's side of the pipe: what it writes, what it reads, line by line. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mcpScopes } from "../platform/scopes.ts";
import { type Person, startGateway, type TestGateway } from "../testing/gateway.ts";
import {
  briefly,
  enterCode,
  legacyHello as hello,
  linkIn,
  modernMeta as meta,
  toolNames as names,
  openPipe,
} from "../testing/pipe.ts";
import { openTerminal, past, type Terminal } from "../testing/terminal.ts";

let gateway: TestGateway;
let ed: Person;
beforeAll(async () => {
  gateway = await startGateway();
  ({ ed } = await gateway.people());
});
afterAll(() => gateway.close());

const enter = (link: string, scopes: readonly string[]) => enterCode(ed, link, scopes);

describe("with a key", () => {
  test("an app of either era lists and calls", async () => {
    const pipe = openPipe(openTerminal(gateway.url), { SPECGATE_TOKEN: gateway.robo.bearer });
    expect((await pipe.ask("initialize", hello)).result?.protocolVersion).toBe("2025-11-25");
    await pipe.send({ jsonrpc: "2.0", method: "notifications/initialized" });
    expect(names(await pipe.ask("tools/list"))).toContain("whoami");
    const called = await pipe.ask("tools/call", { name: "whoami", arguments: {} });
    expect(JSON.stringify(called.result)).toContain(gateway.robo.id);
    const modern = await pipe.ask("tools/call", { name: "whoami", arguments: {}, _meta: meta });
    expect(JSON.stringify(modern.result)).toContain(gateway.robo.id);
    expect((await pipe.ask("tools/call", { name: "nothing", arguments: {} })).error?.code).toBe(-32602);
    expect(await pipe.end()).toMatchObject({ code: 0, err: "" });
  });

  test("what is no message is answered, and the next one is read", async () => {
    const pipe = openPipe(openTerminal(gateway.url), { SPECGATE_TOKEN: gateway.robo.bearer });
    await pipe.send("{");
    expect((await pipe.until(({ id }) => id === null)).error?.code).toBe(-32700);
    await pipe.send("x".repeat(17 << 20));
    expect(names(await pipe.ask("tools/list"))).toContain("whoami");
    expect(pipe.messages.filter(({ id }) => id === null)).toHaveLength(2);
    await pipe.end();
  });

  test("a hundred requests at once are each answered once", async () => {
    const pipe = openPipe(openTerminal(gateway.url), { SPECGATE_TOKEN: gateway.robo.bearer });
    const asked = Array.from({ length: 100 }, () =>
      pipe.ask("tools/call", { name: "whoami", arguments: {} }),
    );
    for (const answer of await Promise.all(asked)) expect(answer.result?.isError ?? false).toBe(false);
    expect(pipe.messages).toHaveLength(100);
    await pipe.end();
  });

  test("a request that was sent before the app closed its end is still answered", async () => {
    const pipe = openPipe(openTerminal(gateway.url), { SPECGATE_TOKEN: gateway.robo.bearer });
    await pipe.send({ jsonrpc: "2.0", id: "last", method: "tools/list" });
    await pipe.end();
    expect(pipe.messages.map(({ id }) => id)).toEqual(["last"]);
  });

  test("a gateway that is away fails each request and not the app", async () => {
    const pipe = openPipe(openTerminal("http://127.0.0.1:1"), { SPECGATE_TOKEN: gateway.robo.bearer });
    const { error } = await pipe.ask("tools/list");
    expect(error).toMatchObject({ code: -32000, message: expect.stringContaining("cannot be reached") });
    expect(await pipe.end()).toMatchObject({ code: 0 });
  });
});

test("a token that can be none is said at once, and exit 2", async () => {
  for (const [SPECGATE_TOKEN, words] of [
    ["", "SPECGATE_TOKEN: empty"],
    ["bad token", "SPECGATE_TOKEN: "],
  ] as const) {
    const said = await openTerminal(gateway.url).specgate("connect", { env: { SPECGATE_TOKEN } });
    expect([said.code, said.out, said.err]).toEqual([2, "", expect.stringContaining(words)]);
  }
});

describe("where nobody is signed in", () => {
  test("one tool answers with a link, and after it the gateway's tools are announced", async () => {
    const terminal = openTerminal(gateway.url);
    const pipe = openPipe(terminal, {}, briefly);
    expect((await pipe.ask("initialize", hello)).result?.protocolVersion).toBe("2025-11-25");
    await pipe.send({ jsonrpc: "2.0", method: "notifications/initialized" });
    expect(names(await pipe.ask("tools/list"))).toEqual(["sign_in"]);
    expect((await pipe.ask("tools/call", { name: "whoami", arguments: {} })).error?.message).toContain(
      "sign_in",
    );
    const link = linkIn(await pipe.ask("tools/call", { name: "sign_in", arguments: {} }));
    expect(link).toStartWith(`${gateway.url}/device?`);
    expect(linkIn(await pipe.ask("tools/call", { name: "sign_in" }))).toBe(link);
    await enter(link, mcpScopes);
    await pipe.until(({ method }) => method === "notifications/tools/list_changed");
    expect(names(await pipe.ask("tools/list"))).toContain("whoami");
    expect(pipe.messages.filter(({ method }) => method === "notifications/tools/list_changed")).toHaveLength(
      1,
    );
    const called = await pipe.ask("tools/call", { name: "whoami", arguments: {} });
    expect(JSON.stringify(called.result)).toContain(ed.id);
    expect((await pipe.ask("tools/call", { name: "sign_in" })).result?.content?.[0]?.text).toContain(
      "already",
    );
    expect(terminal.modes()).toEqual(["600", "700"]);
    expect(await pipe.end()).toMatchObject({ code: 0, err: "" });
  });

  test("an app of the modern era hears of it where it listens", async () => {
    const pipe = openPipe(openTerminal(gateway.url), {}, briefly);
    await pipe.ask("server/discover", { _meta: meta });
    const notifications = { toolsListChanged: true };
    await pipe.send({
      jsonrpc: "2.0",
      id: "ear",
      method: "subscriptions/listen",
      params: { _meta: meta, notifications },
    });
    await pipe.until(({ method }) => method === "notifications/subscriptions/acknowledged");
    const link = linkIn(await pipe.ask("tools/call", { name: "sign_in", arguments: {}, _meta: meta }));
    await enter(link, ["mcp:read"]);
    const told = await pipe.until(({ method }) => method === "notifications/tools/list_changed");
    expect(JSON.stringify(told.params)).toContain("ear");
    expect(pipe.messages.filter(({ method }) => method === "notifications/tools/list_changed")).toHaveLength(
      1,
    );
    expect(names(await pipe.ask("tools/list", { _meta: meta }))).toContain("whoami");
    await pipe.end();
  });
});

describe("the tool sign_in", () => {
  test("answers all who ask at once with one code", async () => {
    const pipe = openPipe(openTerminal(gateway.url));
    const asked = await Promise.all([1, 2, 3].map(() => pipe.ask("tools/call", { name: "sign_in" })));
    expect(new Set(asked.map(linkIn)).size).toBe(1);
    expect(linkIn(asked[0] ?? {})).toContain("user_code=");
    expect((await pipe.end()).err).toContain("specgate login");
  });

  test("answers an app that closes its end right behind the question", async () => {
    const pipe = openPipe(openTerminal(gateway.url));
    await pipe.send({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    await pipe.send({ jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: "sign_in" } });
    expect(await pipe.end()).toMatchObject({ code: 0 });
    expect(pipe.messages.map(({ id }) => id)).toEqual([1, 2]);
    expect(linkIn(pipe.messages[1] ?? {})).toContain("user_code=");
  });

  test("signs nobody in beside a given credential", async () => {
    const terminal = openTerminal(gateway.url);
    const pipe = openPipe(terminal, { SPECGATE_TOKEN: gateway.robo.bearer });
    const { result } = await pipe.ask("tools/call", { name: "sign_in" });
    expect(result).toMatchObject({ isError: true });
    expect(result?.content?.[0]?.text).toContain("SPECGATE_TOKEN");
    await pipe.end();
    expect(existsSync(terminal.file)).toBe(false);
  });

  test("replaces a kept sign-in that cannot be renewed", async () => {
    const terminal = openTerminal(gateway.url);
    terminal.keep({
      access_token: "x.y.z-no-longer-good",
      expires_at: past(),
      refresh_token: null,
      scope: "mcp:read",
      client_id: "specgate-desktop",
      signed_in_at: past(),
    });
    const pipe = openPipe(terminal, {}, briefly);
    expect(names(await pipe.ask("tools/list"))).toEqual(["sign_in"]);
    await enter(linkIn(await pipe.ask("tools/call", { name: "sign_in" })), ["mcp:read"]);
    await pipe.until(({ method }) => method === "notifications/tools/list_changed");
    expect(names(await pipe.ask("tools/list"))).toContain("whoami");
    await pipe.end();
  });
});

describe("a sign-in", () => {
  const startSession = () => ({
    name: "session_start",
    arguments: { project_id: gateway.robo.projectId, title: "x" },
  });
  const changes = ({ messages }: ReturnType<typeof openPipe>): number =>
    messages.filter(({ method }) => method === "notifications/tools/list_changed").length;

  async function signedIn(scopes: readonly string[] = ["mcp:read"], command = "connect"): Promise<Terminal> {
    const terminal = openTerminal(gateway.url);
    const pipe = openPipe(terminal, {}, briefly, command);
    await enter(linkIn(await pipe.ask("tools/call", { name: "sign_in" })), scopes);
    await pipe.until(({ method }) => method === "notifications/tools/list_changed");
    await pipe.end();
    return terminal;
  }

  test("is renewed when its token has run out, without the app's knowing", async () => {
    const terminal = await signedIn();
    const before = terminal.kept()[gateway.url];
    if (before === undefined) throw new Error("nothing is kept");
    terminal.keep({ ...before, expires_at: past() });
    const pipe = openPipe(terminal);
    const asked = Array.from({ length: 10 }, () => pipe.ask("tools/list"));
    for (const answer of await Promise.all(asked)) expect(names(answer)).toContain("whoami");
    expect(terminal.kept()[gateway.url]?.refresh_token).not.toBe(before.refresh_token);
    await pipe.end();
  });

  test("a token that the gateway takes no longer is renewed, however fresh it looks", async () => {
    const terminal = await signedIn();
    const before = terminal.kept()[gateway.url];
    if (before === undefined) throw new Error("nothing is kept");
    terminal.keep({ ...before, access_token: `${before.access_token.slice(0, -4)}AAAA` });
    const pipe = openPipe(terminal);
    expect(names(await pipe.ask("tools/list"))).toContain("whoami");
    await pipe.end();
  });

  test("that was refused for a scope is asked for again with it, by the tool sign_in", async () => {
    const terminal = await signedIn();
    const pipe = openPipe(terminal, {}, briefly, "connect --scope mcp:read");
    await pipe.ask("initialize", hello);
    expect(names(await pipe.ask("tools/list"))).not.toContain("sign_in");
    expect((await pipe.ask("tools/call", startSession())).error?.message).toContain("sign_in");
    expect(changes(pipe)).toBe(1);
    expect(names(await pipe.ask("tools/list")).at(-1)).toBe("sign_in");
    await enter(linkIn(await pipe.ask("tools/call", { name: "sign_in" })), ["mcp:read", "mcp:write"]);
    while (changes(pipe) < 2) await Bun.sleep(20);
    expect((await pipe.ask("tools/call", startSession())).result?.isError).not.toBe(true);
    expect(names(await pipe.ask("tools/list"))).not.toContain("sign_in");
    await pipe.end();
  });

  test("that lets an app do less than it may ask for can be asked for more, and loses nothing", async () => {
    const terminal = await signedIn(["mcp:read", "control:read"], "connect --scope control:read");
    const pipe = openPipe(terminal, {}, briefly);
    const listened = { _meta: meta, notifications: { toolsListChanged: true } };
    await pipe.send({ jsonrpc: "2.0", id: "ear", method: "subscriptions/listen", params: listened });
    await pipe.until(({ method }) => method === "notifications/subscriptions/acknowledged");
    expect(names(await pipe.ask("tools/list", { _meta: meta })).at(-1)).toBe("sign_in");
    const link = linkIn(await pipe.ask("tools/call", { name: "sign_in", _meta: meta }));
    await enter(link, ["control:read", ...mcpScopes]);
    const told = await pipe.until(({ method }) => method === "notifications/tools/list_changed");
    expect(JSON.stringify(told.params)).toContain("ear");
    expect(names(await pipe.ask("tools/list", { _meta: meta }))).not.toContain("sign_in");
    expect(terminal.kept()[gateway.url]?.scope.split(" ").sort()).toEqual(
      ["control:read", ...mcpScopes].sort(),
    );
    await pipe.terminate();
  });

  test("that does not even let an app look leaves the one tool", async () => {
    const terminal = await signedIn(["control:read"], "connect --scope control:read");
    const pipe = openPipe(terminal, {}, briefly);
    expect((await pipe.ask("initialize", hello)).result?.protocolVersion).toBe("2025-11-25");
    expect(names(await pipe.ask("tools/list"))).toEqual(["sign_in"]);
    expect(linkIn(await pipe.ask("tools/call", { name: "sign_in" }))).toStartWith(`${gateway.url}/device?`);
    await pipe.end();
  });

  test("that has been ended leaves the one tool, and says so", async () => {
    const terminal = await signedIn();
    const pipe = openPipe(terminal);
    const { result } = await pipe.ask("initialize", hello);
    // Else an app would not heed it.
    expect(result?.capabilities).toMatchObject({
      tools: { listChanged: true },
      prompts: { listChanged: true },
      resources: { listChanged: true },
    });
    expect(names(await pipe.ask("tools/list"))).toContain("whoami");
    const kept = terminal.kept()[gateway.url];
    if (kept === undefined) throw new Error("nothing is kept");
    const { data } = (await (await ed.fetch("/api/v1/me/sessions")).json()) as {
      data: { id: string; kind: string }[];
    };
    for (const { id, kind } of data)
      if (kind === "app") await ed.fetch(`/api/v1/me/sessions/${id}`, { method: "DELETE" });
    const { error } = await pipe.ask("tools/list");
    expect(error?.message).toContain("sign_in");
    await pipe.until(({ method }) => method === "notifications/tools/list_changed");
    expect(names(await pipe.ask("tools/list"))).toEqual(["sign_in"]);
    await pipe.end();
    // Renewing it is what shows that it is over.
    terminal.keep(kept);
    const next = openPipe(terminal);
    expect((await next.ask("initialize", hello)).result?.protocolVersion).toBe("2025-11-25");
    expect(names(await next.ask("tools/list"))).toEqual(["sign_in"]);
    await next.end();
  });
});
