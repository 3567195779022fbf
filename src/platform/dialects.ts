/**
 * One failure, six ways to say it: RFC 9457 problems, OpenAI's error object, Anthropic's, RFC 6749 section 5.2, JSON-RPC
 * 2.0 section 5.1, and a page for people. The plane chooses; clients of each ecosystem then see what their own libraries already understand.
 */
import type { Failure, FailureKind } from "./failure.ts";
import { html, page } from "./html.ts";

export type Dialect = "problem" | "openai" | "anthropic" | "oauth" | "jsonrpc" | "html";

const titles: Record<FailureKind, string> = {
  invalid: "The request is not valid",
  unprocessable: "The request is not valid",
  unauthenticated: "No valid credential",
  forbidden: "Not allowed",
  missing: "Not found",
  method: "Method not allowed",
  too_slow: "Too slow",
  conflict: "Conflict",
  no_length: "Length required",
  stale: "Out of date",
  too_large: "Too large",
  media_type: "Media type not supported",
  range: "Range not satisfiable",
  rate: "Too many requests",
  budget: "Budget exhausted",
  price: "Price unknown",
  upstream: "The provider failed",
  upstream_timeout: "The provider did not answer in time",
  unavailable: "Not available right now",
  no_room: "No room left",
  internal: "Internal error",
};

const openaiTypes: Partial<Record<FailureKind, string>> = {
  rate: "requests",
  budget: "insufficient_quota",
  upstream: "server_error",
  upstream_timeout: "server_error",
  unavailable: "server_error",
  no_room: "server_error",
  internal: "server_error",
};

const anthropicTypes: Partial<Record<FailureKind, string>> = {
  unauthenticated: "authentication_error",
  forbidden: "permission_error",
  missing: "not_found_error",
  too_large: "request_too_large",
  rate: "rate_limit_error",
  budget: "rate_limit_error",
  upstream: "api_error",
  upstream_timeout: "timeout_error",
  unavailable: "overloaded_error",
  no_room: "api_error",
  internal: "api_error",
};

/** The codes of RFC 6749 section 5.2, RFC 7591 section 3.2.2, RFC 8628 section 3.5 and RFC 8707 section 2. */
const oauthCodes = new Set([
  "invalid_request",
  "invalid_client",
  "invalid_grant",
  "unauthorized_client",
  "unsupported_grant_type",
  "invalid_scope",
  "invalid_target",
  "access_denied",
  "authorization_pending",
  "slow_down",
  "expired_token",
  "invalid_redirect_uri",
  "invalid_client_metadata",
  "temporarily_unavailable",
  "server_error",
]);

function problemBody(failure: Failure, requestId: string): Record<string, unknown> {
  return {
    type: `urn:specgate:problem:${failure.code}`,
    title: titles[failure.kind],
    status: failure.status,
    code: failure.code,
    detail: failure.message,
    ...(failure.errors ? { errors: failure.errors } : {}),
    ...failure.members,
    request_id: requestId,
  };
}

/** OpenAI's error object; also the shape of an error event in the middle of a stream. */
export function openaiBody(failure: Failure): Record<string, unknown> {
  const code = failure.kind === "unauthenticated" ? "invalid_api_key" : failure.code;
  const type =
    failure.code === "tokens_per_minute" ? "tokens" : (openaiTypes[failure.kind] ?? "invalid_request_error");
  return {
    error: {
      message: failure.message,
      type,
      param: failure.errors?.[0]?.path ?? null,
      code: failure.kind === "rate" ? "rate_limit_exceeded" : code,
    },
  };
}

/** Anthropic's error object; also the shape of an error event in the middle of a stream. */
export function anthropicError(failure: Failure): Record<string, unknown> {
  return {
    type: "error",
    error: { type: anthropicTypes[failure.kind] ?? "invalid_request_error", message: failure.message },
  };
}

const anthropicBody = (failure: Failure, requestId: string): Record<string, unknown> => ({
  ...anthropicError(failure),
  request_id: requestId,
});

function oauthBody(failure: Failure): Record<string, unknown> {
  const later = failure.status >= 500 || failure.kind === "rate";
  const unavailable = later ? "temporarily_unavailable" : "invalid_request";
  return {
    error: oauthCodes.has(failure.code) ? failure.code : unavailable,
    error_description: failure.message,
  };
}

/** JSON-RPC 2.0 section 5.1. `id` is the request's own, or null where none could be read. */
export function rpcBody(
  failure: Failure,
  requestId: string,
  id: string | number | null = null,
): Record<string, unknown> {
  const { code, errors, members } = failure;
  const data = { code, ...(errors ? { errors } : {}), ...members, request_id: requestId };
  return { jsonrpc: "2.0", id, error: { code: rpcCode(failure), message: failure.message, data } };
}

/** Of the codes that JSON-RPC names; what it has no name for is -32000, the first of those left to servers. */
function rpcCode({ kind, code }: Failure): number {
  if (code === "invalid_json") return -32700;
  if (kind === "invalid") return -32600;
  if (kind === "unprocessable") return -32602;
  return kind === "internal" ? -32603 : -32000;
}

export function failureResponse(failure: Failure, dialect: Dialect, requestId: string): Response {
  const response =
    dialect === "html" ? failurePage(failure, requestId) : jsonResponse(failure, dialect, requestId);
  const { headers } = response;
  headers.set("cache-control", "no-store");
  headers.set("x-request-id", requestId);
  // Without this the SDKs retry a budget's 429 for minutes; the money will not come back by itself.
  if (failure.kind === "budget") headers.set("x-should-retry", "false");
  if (dialect === "anthropic") headers.set("request-id", requestId);
  for (const [name, value] of Object.entries(headersOf(failure))) headers.set(name, value);
  return response;
}

/** What a failure says beside its body, whoever writes that. */
export function headersOf({ status, retryAfterSeconds, headers }: Failure): Record<string, string> {
  const seconds = retryAfterSeconds ?? (status === 503 ? 1 : null);
  return { ...(seconds === null ? {} : { "retry-after": String(seconds) }), ...headers };
}

function jsonResponse(failure: Failure, dialect: JsonDialect, requestId: string): Response {
  const type = dialect === "problem" ? "application/problem+json" : "application/json";
  return new Response(JSON.stringify(bodyOf(failure, dialect, requestId)), {
    status: failure.status,
    headers: { "content-type": type },
  });
}

function failurePage(failure: Failure, requestId: string): Response {
  const title = titles[failure.kind];
  const body = html`<h1>${title}</h1>
<p>${failure.message}</p>
<p><a href="/">Back to the start</a></p>
<p class="quiet">${requestId}</p>`;
  return page({ title, body, status: failure.status });
}

type JsonDialect = Exclude<Dialect, "html">;

function bodyOf(failure: Failure, dialect: JsonDialect, requestId: string): Record<string, unknown> {
  if (dialect === "openai") return openaiBody(failure);
  if (dialect === "anthropic") return anthropicBody(failure, requestId);
  if (dialect === "oauth") return oauthBody(failure);
  if (dialect === "jsonrpc") return rpcBody(failure, requestId);
  return problemBody(failure, requestId);
}

/** The dialect of a path, for answers given before any route was found. Never used to decide who may do what. */
export function dialectOf(path: string, request: Request): Dialect {
  if (path.startsWith("/oauth/")) return "oauth";
  if (path.startsWith("/v1/") || path === "/v1") return llmDialect(request);
  if (path.startsWith("/api/llm/")) return "openai";
  if (path === "/mcp" || path.startsWith("/mcp/")) return "jsonrpc";
  return "problem";
}

export const llmDialect = (request: Request): Dialect =>
  request.headers.has("anthropic-version") ? "anthropic" : "openai";
