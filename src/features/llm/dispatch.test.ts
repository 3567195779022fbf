import { expect, test } from "bun:test";
import type { LlmEndpoint, ProviderConfig } from "../../platform/config.ts";
import { createGuardedFetch, type GuardedFetch } from "../../platform/guarded-fetch.ts";
import { Secret } from "../../platform/secret.ts";
import { asSocketError, dispatch, type ProviderCall } from "./dispatch.ts";
import { isConnectError, providerFailure } from "./provider-failure.ts";

const provider = (over: Partial<ProviderConfig>): ProviderConfig => ({
  kind: "openai",
  baseUrl: "https://api.example/v1",
  apiKey: new Secret("sk-provider"),
  endpoints: [],
  includeUsage: true,
  allowPrivateNetwork: false,
  ...over,
});

/** All that a caller might send; what of it may leave is for the test to say. */
const callers = {
  accept: "application/json",
  "accept-encoding": "br",
  authorization: "Bearer sgk_caller",
  "x-api-key": "sgk_caller",
  cookie: "session=1",
  "content-type": "application/json",
  "content-length": "2",
  host: "gateway.example",
  forwarded: "for=10.0.0.1",
  "x-forwarded-for": "10.0.0.1",
  "user-agent": "sdk/1",
  "x-stainless-lang": "js",
  "x-specgate-tags": "team=red",
  "idempotency-key": "once",
  "openai-beta": "assistants=v2",
  "openai-organization": "org-caller",
  "openai-project": "proj-caller",
  "anthropic-beta": "files-api-2025-04-14",
  "anthropic-dangerous-direct-browser-access": "true",
};

async function sent(
  config: ProviderConfig,
  endpoint: LlmEndpoint,
  headers: Record<string, string> = callers,
) {
  const calls: {
    url: string;
    headers: Record<string, string>;
    rules: unknown;
    method: string | undefined;
  }[] = [];
  const fetch: GuardedFetch = async (url, init, rules) => {
    const given = init?.headers instanceof Headers ? Object.fromEntries(init.headers) : (init?.headers ?? {});
    calls.push({ url: String(url), headers: given, rules, method: init?.method });
    return new Response("{}");
  };
  await dispatch(fetch, config, callOf(endpoint, headers));
  const [only] = calls;
  if (only === undefined) throw new Error("Nothing was sent.");
  return only;
}

const callOf = (endpoint: LlmEndpoint, headers: Record<string, string>): ProviderCall => ({
  endpoint,
  search: "?beta=1&x=%20",
  headers: new Headers(headers),
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  body: new Uint8Array([0x7b, 0x7d]),
  signal: AbortSignal.timeout(5_000),
  departs: () => {},
});

const passedOn = {
  accept: "application/json",
  "content-type": "application/json",
  "idempotency-key": "once",
  "openai-beta": "assistants=v2",
  "anthropic-beta": "files-api-2025-04-14",
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
};

test("a provider of OpenAI's kind gets the listed headers and its own key, and nothing else of the caller's", async () => {
  for (const endpoint of ["chat/completions", "completions", "responses", "embeddings"] as const) {
    expect(await sent(provider({}), endpoint)).toMatchObject({
      url: `https://api.example/v1/${endpoint}?beta=1&x=%20`,
      method: "POST",
      headers: { ...passedOn, authorization: "Bearer sk-provider" },
    });
    const { headers } = await sent(provider({}), endpoint);
    expect(Object.keys(headers).sort()).toEqual([...Object.keys(passedOn), "authorization"].sort());
  }
});

test("Anthropic gets its key in x-api-key and a version, the caller's where it named one", async () => {
  const claude = provider({ kind: "anthropic", baseUrl: "https://api.anthropic.example" });
  for (const endpoint of ["messages", "messages/count_tokens"] as const) {
    const call = await sent(claude, endpoint);
    expect(call.url).toBe(`https://api.anthropic.example/v1/${endpoint}?beta=1&x=%20`);
    expect(call.headers).toEqual({
      ...passedOn,
      "x-api-key": "sk-provider",
      "anthropic-version": "2023-06-01",
    });
    const later = await sent(claude, endpoint, { ...callers, "anthropic-version": "2027-01-01" });
    expect(later.headers["anthropic-version"]).toBe("2027-01-01");
  }
});

test("Anthropic's OpenAI-compatible address takes the key as OpenAI's does", async () => {
  const claude = provider({ kind: "anthropic", baseUrl: "https://api.anthropic.example" });
  const call = await sent(claude, "chat/completions");
  expect(call.url).toBe("https://api.anthropic.example/v1/chat/completions?beta=1&x=%20");
  expect(call.headers).toEqual({ ...passedOn, authorization: "Bearer sk-provider" });
});

test("a provider without a key is sent none, neither its own nor the caller's", async () => {
  for (const kind of ["openai", "anthropic"] as const) {
    const { headers } = await sent(
      provider({ kind, apiKey: null }),
      kind === "openai" ? "responses" : "messages",
    );
    expect(Object.keys(headers)).not.toContain("authorization");
    expect(Object.keys(headers)).not.toContain("x-api-key");
  }
});

test("no redirect is followed, and the private network needs leave", async () => {
  expect((await sent(provider({}), "embeddings")).rules).toMatchObject({
    reach: "operator",
    bytesMax: null,
    timeoutMs: null,
  });
  const inside = await sent(provider({ allowPrivateNetwork: true }), "embeddings");
  expect(inside.rules).toMatchObject({ reach: "private", bytesMax: null, timeoutMs: null });
});

test("a provider whose name is unknown, or leads inside without leave, counts as one that cannot be reached", async () => {
  const addresses: Record<string, string[]> = {
    "inside.example": ["10.0.0.1"],
    "mixed.example": ["8.8.8.8", "::1"],
  };
  const fetch = createGuardedFetch({
    resolve: async (name) => addresses[name] ?? Promise.reject(new Error("no such name")),
  });
  for (const host of ["unknown.example", "inside.example", "mixed.example"]) {
    const config = provider({ baseUrl: `https://${host}/v1` });
    const error = await dispatch(fetch, config, callOf("responses", {})).then(() => null, asSocketError);
    expect([host, isConnectError(error)]).toEqual([host, true]);
    expect(providerFailure(error)).toMatchObject({ status: 502, code: "provider_error" });
  }
});
