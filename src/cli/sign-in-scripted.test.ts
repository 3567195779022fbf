/** What a good gateway never does, or not in the time of a test: it lies, loses answers, and is not there. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { desktop, openTerminal, past, type Terminal } from "../testing/terminal.ts";
import type { Credential } from "./credentials.ts";

let script: Script;
let terminal: Terminal;
beforeEach(() => {
  script = startScript();
  terminal = openTerminal(script.url);
});
afterEach(() => script.close());

const kept = (changes: Partial<Credential> = {}): Credential => ({
  access_token: "an access token",
  refresh_token: "a refresh token",
  expires_at: new Date(Date.now() + 900_000).toISOString(),
  scope: "control:read",
  client_id: "specgate-desktop",
  signed_in_at: past(),
  ...changes,
});

describe("login by a code", () => {
  test("asks less often while the gateway is in trouble", async () => {
    script.token.push(refusal("authorization_pending"), new Response("", { status: 503 }), granted());
    const slept: number[] = [];
    const said = await terminal.specgate("login --device", { sleep: async (ms) => void slept.push(ms) });
    expect([said.code, said.out]).toEqual([0, ""]);
    expect(slept).toEqual([5_000, 5_000, 10_000]);
  });

  test("an expired code keeps nothing, also when only this side notices", async () => {
    const patient = Array.from({ length: 200 }, () => refusal("authorization_pending"));
    for (const answers of [[refusal("expired_token")], patient]) {
      script.token.splice(0, Number.POSITIVE_INFINITY, ...answers);
      const said = await terminal.specgate("login --device");
      expect([said.code, said.err]).toEqual([1, expect.stringContaining("expired")]);
      expect(() => terminal.kept()).toThrow();
    }
    expect(script.token.length).toBeGreaterThan(50);
  });

  test("people are not sent elsewhere to enter it", async () => {
    script.verificationUri = "https://evil.example/device";
    const said = await terminal.specgate("login --device");
    expect([said.code, said.err]).toEqual([1, expect.stringContaining("elsewhere")]);
    expect(said.err).not.toContain("ABCD");
  });
});

describe("the gateway", () => {
  test("is taken for itself alone: another issuer and endpoints elsewhere are refused", async () => {
    for (const [metadata, words] of [
      [{ issuer: "https://gate.example.com" }, "--url https://gate.example.com"],
      [{ issuer: `${script.url}/` }, "says that it is"],
      [{ token_endpoint: "http://127.0.0.1:1/oauth/token" }, "token_endpoint elsewhere"],
      [{ token_endpoint: undefined }, "does not answer as a SpecGate gateway"],
    ] as const) {
      script.metadata = metadata;
      const opened: string[] = [];
      const { openBrowser } = desktop((url) => {
        opened.push(url);
        return url;
      });
      const said = await terminal.specgate("login", { openBrowser });
      expect([said.code, said.err, opened]).toEqual([1, expect.stringContaining(words), []]);
    }
  });

  test("that is not there is named, and exit 1; logout forgets all the same", async () => {
    terminal.keep(kept());
    script.close();
    for (const line of ["login", "login --device", "whoami", "whoami --token abc"]) {
      const said = await terminal.specgate(line);
      expect([said.code, said.out]).toEqual([1, ""]);
      expect(said.err).toContain(`${script.url} cannot be reached`);
    }
    const said = await terminal.specgate("logout");
    expect([said.code, said.err]).toEqual([0, expect.stringContaining("the gateway did not revoke it")]);
    expect(terminal.kept()).toEqual({});
  });
});

describe("a kept sign-in", () => {
  test("survives an answer that was lost on its way", async () => {
    terminal.keep(kept({ expires_at: past() }));
    script.token.push(new Response("the proxy fell over", { status: 502 }), granted());
    script.me = Response.json({ principal: { id: "usr_1" }, scopes: [] });
    expect((await terminal.specgate("whoami")).code).toBe(0);
    const asked = {
      grant_type: "refresh_token",
      refresh_token: "a refresh token",
      client_id: "specgate-desktop",
    };
    expect(script.forms).toEqual([asked, asked]);
  });
});

describe("whoami", () => {
  test("follows no redirect and believes no page", async () => {
    terminal.keep(kept());
    for (const answer of [Response.redirect("https://evil.example/", 307), new Response("<html>")]) {
      script.me = answer;
      expect((await terminal.specgate("whoami")).code).toBe(1);
    }
  });
});

const refusal = (error: string): Response =>
  Response.json({ error, error_description: "No." }, { status: 400 });

const granted = (): Response =>
  Response.json({
    access_token: crypto.randomUUID(),
    refresh_token: crypto.randomUUID(),
    token_type: "Bearer",
    expires_in: 900,
    scope: "control:read",
  });

type Script = {
  readonly url: string;
  /** What the token endpoint answers, in turn. */
  readonly token: Response[];
  /** What it was asked. */
  readonly forms: Record<string, string>[];
  verificationUri: string;
  /** Instead of what the gateway says of itself. */
  metadata: Record<string, unknown>;
  me: Response;
  close(): void;
};

function startScript(): Script {
  const answerDevice = (): Response =>
    Response.json({
      device_code: "device-code",
      user_code: "ABCD-2345",
      verification_uri: script.verificationUri,
      verification_uri_complete: `${script.verificationUri}?user_code=ABCD-2345`,
      expires_in: 600,
    });
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    routes: {
      "/.well-known/oauth-authorization-server": () =>
        Response.json({
          issuer: script.url,
          token_endpoint: `${script.url}/oauth/token`,
          authorization_endpoint: `${script.url}/oauth/authorize`,
          device_authorization_endpoint: `${script.url}/oauth/device_authorization`,
          ...script.metadata,
        }),
      "/oauth/token": async (request) => {
        script.forms.push(Object.fromEntries(new URLSearchParams(await request.text())));
        return script.token.shift() ?? refusal("invalid_grant");
      },
      "/oauth/device_authorization": answerDevice,
      "/api/v1/me": () => script.me,
    },
  });
  const url = `http://127.0.0.1:${server.port}`;
  const script: Script = {
    url,
    token: [],
    forms: [],
    verificationUri: `${url}/device`,
    metadata: {},
    me: new Response("", { status: 500 }),
    close: () => void server.stop(true),
  };
  return script;
}
