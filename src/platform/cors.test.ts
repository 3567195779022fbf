import { describe, expect, test } from "bun:test";
import { type Call, callOf } from "./call.ts";
import { type PathKind, pathKind } from "./cors.ts";
import { type Answerer, createEdge } from "./edge.ts";
import { Failure } from "./failure.ts";
import { silentLog } from "./log.ts";

const publicUrl = "https://gate.example";
const listed = ["https://app.example", "tauri://localhost"];
const page = listed[0] as string;
const hosts = ["gate.example", "alias.example", "localhost:8080", "[::1]:8080"];

const paths: Record<PathKind, string[]> = {
  any: [
    "/blobs/projects/x",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource/v1",
    "/oauth/token",
    "/oauth/register",
    "/oauth/revoke",
    "/oauth/device_authorization",
  ],
  listed: ["/v1", "/v1/chat/completions", "/mcp", "/mcp/upstreams/x/tools", "/api/v1", "/api/v1/me"],
  own: [
    "/",
    "/login",
    "/oauth/authorize",
    "/oauth/consent",
    "/oauth/introspect",
    "/oauth/token/x",
    "/oauth/tokens",
    "/api/llm/chat",
    "/api/llm/stream",
    "/healthz",
    "/metrics",
    "/V1/models",
    "/v1x",
    "/v10/models",
    "/mcpx",
    "/api/v1x",
    "/blobsx",
    "/.well-known",
    "//v1/models",
    "/x/../login",
    "/v1/../login",
    "/.well-known/%2e%2e/login",
  ],
};

/** Of each kind, what a request with this Origin gets: the allowed origin, `null` for silence, or a refusal. */
const origins: { origin: string | null; any: string; listed: string | null; own: string | null }[] = [
  { origin: null, any: "*", listed: null, own: null },
  { origin: publicUrl, any: "*", listed: publicUrl, own: null },
  ...listed.map((origin) => ({ origin, any: "*", listed: origin, own: "refused" })),
  ...[
    "null",
    "",
    "*",
    "https://evil.example",
    "http://gate.example",
    "https://gate.example:443",
    "https://gate.example.evil.example",
    "https://gate.example/",
    "HTTPS://GATE.EXAMPLE",
    "http://app.example",
    "https://app.example:8443",
    "https://x.app.example",
    "https://app.example.evil.example",
    "https://app.example, https://evil.example",
    "http://localhost:8080",
    "tauri://localhost.evil.example",
  ].map((origin) => ({ origin, any: "*", listed: "refused", own: "refused" })),
];

type Sent = { method?: string; host?: string; origin?: string | null; headers?: Record<string, string> };

function edgeOf(answer: Answerer) {
  const settings = {
    allowedHosts: () => ["gate.example", "alias.example"],
    publicUrl: () => publicUrl,
    corsOrigins: listed,
    trustedProxies: [],
    bodyBytesMax: () => 1_000,
    log: silentLog,
  };
  const edge = createEdge(settings, answer);
  const connection = { requestIP: () => null, timeout() {} };
  return (path: string, sent: Sent = {}): Promise<Response> => {
    const { host = "gate.example", origin = null } = sent;
    const headers = new Headers({ host, ...sent.headers });
    if (origin !== null) headers.set("origin", origin);
    return edge(new Request(`https://${host}${path}`, { method: sent.method ?? "GET", headers }), connection);
  };
}

const send = edgeOf(() => Response.json({}));
const corsHeaders = (response: Response): string[] =>
  [...response.headers.keys()].filter((name) => name.startsWith("access-control-"));

describe("which page may call what", () => {
  for (const kind of ["any", "listed", "own"] as const) {
    test.each(paths[kind])(`${kind}: %p, of every Host and every Origin`, async (path) => {
      for (const host of hosts) {
        for (const { origin, [kind]: expected } of origins) {
          const response = await send(path, { host, origin });
          const allowed = response.headers.get("access-control-allow-origin");
          const got = response.status === 403 ? "refused" : allowed;
          expect([host, origin, got]).toEqual([host, origin, expected]);
          if (got === "refused") expect(await response.text()).toContain("may not call this path");
          if (got === "refused" || got === null) expect(corsHeaders(response)).toEqual([]);
        }
      }
    });
  }

  test("a Host of nobody's is refused whatever the Origin", async () => {
    for (const { origin } of origins) {
      for (const path of ["/v1/models", "/oauth/token", "/"]) {
        const response = await send(path, { host: "evil.example", origin });
        expect([origin, response.status, corsHeaders(response)]).toEqual([origin, 403, []]);
      }
    }
  });

  test("the path is judged as the router will see it", () => {
    for (const kind of ["any", "listed", "own"] as const) {
      for (const path of paths[kind]) {
        const { pathname } = new URL(`https://gate.example${path}`);
        expect([path, pathKind(pathname)]).toEqual([path, kind]);
      }
    }
  });

  test("a refusal is said in the plane's own words", async () => {
    const words = async (path: string, headers = {}) =>
      (await send(path, { origin: "https://evil.example", headers })).json();
    expect(await words("/v1/models")).toMatchObject({ error: { code: "origin_not_allowed" } });
    expect(await words("/v1/models", { "anthropic-version": "2023-06-01" })).toMatchObject({
      type: "error",
      error: { type: "permission_error" },
    });
    expect(await words("/api/v1/me")).toMatchObject({ code: "origin_not_allowed", status: 403 });
    expect(await words("/oauth/introspect")).toMatchObject({ error: "invalid_request" });
  });
});

describe("the question before the request", () => {
  const ask = (path: string, origin: string | null, headers: Record<string, string> = {}) =>
    send(path, {
      method: "OPTIONS",
      origin,
      headers: { "access-control-request-method": "POST", ...headers },
    });

  test("is answered for an allowed page, and the route is not asked", async () => {
    const asked: string[] = [];
    const quiet = edgeOf((request) => {
      asked.push(request.url);
      return new Response();
    });
    const headers = { "access-control-request-method": "PATCH" };
    const response = await quiet("/api/v1/me", { method: "OPTIONS", origin: page, headers });
    expect([response.status, await response.text(), asked]).toEqual([204, "", []]);
    expect(response.headers.get("access-control-allow-origin")).toBe(page);
    expect(response.headers.get("access-control-allow-methods")).toContain("PATCH");
    expect(Number(response.headers.get("access-control-max-age"))).toBeGreaterThan(0);
    expect(response.headers.get("vary")).toBe(
      "origin, access-control-request-method, access-control-request-headers",
    );
    expect(response.headers.get("x-request-id")).toStartWith("req_");
    expect(response.headers.has("access-control-allow-headers")).toBe(false);
  });

  test("has the answer that the request will have", async () => {
    for (const kind of ["any", "listed", "own"] as const) {
      for (const path of paths[kind]) {
        for (const { origin, [kind]: expected } of origins) {
          const response = await ask(path, origin);
          const allowed = response.headers.get("access-control-allow-origin");
          const got = response.status === 403 ? "refused" : allowed;
          expect([path, origin, got]).toEqual([path, origin, expected]);
          const isAnswered = response.status === 204;
          expect(isAnswered).toBe(origin !== null && expected !== null && expected !== "refused");
        }
      }
    }
  });

  test.each([
    ["authorization,content-type", "authorization, content-type"],
    [" Authorization ,\tX-API-Key", "authorization, x-api-key"],
    ["if-match,if-none-match,idempotency-key", "if-match, if-none-match, idempotency-key"],
    ["last-event-id,x-amz-checksum-sha256", "last-event-id, x-amz-checksum-sha256"],
    ["anthropic-version,anthropic-beta", "anthropic-version, anthropic-beta"],
    ["mcp-session-id,mcp-protocol-version", "mcp-session-id, mcp-protocol-version"],
    ["x-specgate-tags,x-stainless-os", "x-specgate-tags, x-stainless-os"],
    ["authorization,authorization", "authorization"],
    ["cookie,x-forwarded-for,host,authorization", "authorization"],
    ["anthropic-,mcp,x-stainless,x-specgate-", null],
    ["x-api-keys,xx-api-key,content-typex", null],
    ["*", null],
    ["mcp-a\u00e9,mcp-a b,mcp-a:b,mcp-*", null],
    [",,,", null],
    ["", null],
  ])("mirrors of %p the names on the list: %p", async (asked, allowed) => {
    for (const path of ["/v1/models", "/oauth/token"]) {
      const response = await ask(path, page, { "access-control-request-headers": asked });
      expect(response.status).toBe(204);
      expect(response.headers.get("access-control-allow-headers")).toBe(allowed);
    }
  });

  test("is a plain OPTIONS without an Origin or without a method", async () => {
    const answered = edgeOf(() => new Response("the router's", { status: 404 }));
    const plain: Sent[] = [{ origin: page }, { headers: { "access-control-request-method": "GET" } }];
    for (const sent of plain) {
      expect((await answered("/v1/models", { ...sent, method: "OPTIONS" })).status).toBe(404);
    }
  });

  test("opens no private network to a public page", async () => {
    const response = await ask("/v1/models", page, { "access-control-request-private-network": "true" });
    expect(corsHeaders(response).join()).not.toContain("private-network");
  });
});

describe("the answer", () => {
  test("exposes the listed names, and those of ours that are there", async () => {
    const headers = { etag: '"1"', "x-specgate-model": "m", "x-specgate-cost-usd": "0", "x-internal": "1" };
    const answered = edgeOf(() => new Response("", { headers }));
    for (const path of ["/v1/models", "/blobs/x"]) {
      const response = await answered(path, { origin: page });
      const names = response.headers.get("access-control-expose-headers")?.split(", ").sort();
      expect(names).toEqual([
        "etag",
        "retry-after",
        "www-authenticate",
        "x-request-id",
        "x-specgate-cost-usd",
        "x-specgate-model",
      ]);
    }
  });

  test("tells caches what it depends on, beside what it said already", async () => {
    const answered = edgeOf(() => new Response("", { headers: { vary: "accept-encoding" } }));
    const vary = async (path: string, origin: string | null) =>
      (await answered(path, { origin })).headers.get("vary");
    expect(await vary("/api/v1/me", page)).toBe("accept-encoding, Origin");
    expect(await vary("/api/v1/me", null)).toBe("accept-encoding, Origin");
    expect(await vary("/blobs/x", page)).toBe("accept-encoding");
    expect(await vary("/login", null)).toBe("accept-encoding");
    expect((await send("/login", { origin: page })).headers.get("vary")).toBe("Origin");
  });

  const refusals: [string, Answerer][] = [
    ["thrown 401", refuse("unauthenticated", "unauthenticated")],
    ["thrown 429", refuse("rate", "rate_limit_exceeded")],
    ["thrown 503", refuse("unavailable", "unavailable")],
    ["foreseen by nobody", () => Promise.reject(new Error("secret"))],
    ["answered 401", () => new Response("", { status: 401, headers: { "www-authenticate": "Bearer" } })],
  ];
  test.each(refusals)("reaches the page when it is a refusal: %s", async (_, answer) => {
    const response = await edgeOf(answer)("/v1/models", { origin: page });
    expect(response.status).toBeGreaterThan(400);
    expect(response.headers.get("access-control-allow-origin")).toBe(page);
    expect(response.headers.get("vary")).toBe("Origin");
    expect(response.headers.get("access-control-expose-headers")).toContain("retry-after");
  });

  test("reaches the page when the edge itself refuses", async () => {
    const inQuery = await send("/api/v1/me?api_key=x", { origin: page });
    const tooLarge = await send("/v1/x", { origin: page, headers: { "content-length": "1001" } });
    expect([inQuery.status, tooLarge.status]).toEqual([400, 413]);
    for (const { headers } of [inQuery, tooLarge]) {
      expect(headers.get("access-control-allow-origin")).toBe(page);
    }
  });

  test("is the route's own, its stream untouched", async () => {
    const stream = new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(1)) });
    const own = new Response(stream);
    const response = await edgeOf(() => own)("/v1/chat/completions", { origin: page });
    expect(response).toBe(own);
    expect(response.body).toBe(own.body);
    expect(own.bodyUsed).toBe(false);
  });

  test("never allows credentials", async () => {
    for (const path of Object.values(paths).flat()) {
      for (const { origin } of origins) {
        for (const method of ["GET", "POST", "OPTIONS"]) {
          const headers = { "access-control-request-method": "POST", cookie: "specgate=x" };
          const response = await send(path, { method, origin, headers });
          expect(response.headers.has("access-control-allow-credentials")).toBe(false);
        }
      }
    }
  });
});

test("a call knows whether a page of another origin sent it", async () => {
  let call: Call | undefined;
  const noting = edgeOf((request) => {
    call = callOf(request);
    return new Response();
  });
  const rows: [string | null, string, boolean][] = [
    [null, "/api/v1/me", false],
    [publicUrl, "/api/v1/me", false],
    [publicUrl, "/login", false],
    [page, "/api/v1/me", true],
    ["null", "/oauth/token", true],
    ["https://evil.example", "/oauth/token", true],
  ];
  for (const [origin, path, crossOrigin] of rows) {
    await noting(path, { origin });
    expect([call?.origin, call?.crossOrigin]).toEqual([origin, crossOrigin]);
  }
});

function refuse(kind: Failure["kind"], code: string): Answerer {
  return () => {
    throw new Failure(kind, code, "Refused.");
  };
}
