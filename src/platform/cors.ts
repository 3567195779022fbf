/**
 * Which browser pages may call which path, and what the answer tells their browser.
 *
 * Three kinds of path: open to any origin (the proof is in the request itself), open to the listed origins, and closed to
 * all but the gateway's own pages. A request without Origin is no business of this room. Credentials are never allowed,
 * and private network access is never granted: both headers are absent on purpose.
 * Not @elysiajs/cors: it takes no prefixes, adds routes without a policy, and does not see what the edge refuses.
 */
import type { Call } from "./call.ts";

export type Origins = {
  /** The gateway's own origin, without trailing slash. */
  readonly publicUrl: () => string;
  /** Exact origins of other pages that may call the bearer planes. */
  readonly corsOrigins: readonly string[];
};

export type Cors = {
  /** An origin was sent that has no business here: 403. */
  readonly refused: boolean;
  /** The value of `access-control-allow-origin`, or null for none. */
  readonly allowOrigin: string | null;
  /** Another origin would get another answer, and a cache must know. */
  readonly varies: boolean;
};

const anyone: Cors = { refused: false, allowOrigin: "*", varies: false };
const unasked: Cors = { refused: false, allowOrigin: null, varies: true };
const unconcerned: Cors = { refused: false, allowOrigin: null, varies: false };
const stranger: Cors = { refused: true, allowOrigin: null, varies: true };

/** The header's `null` is an origin too, and on no list. */
export function corsOf({ url, origin, request }: Call, { publicUrl, corsOrigins }: Origins): Cors {
  const kind = pathKind(url.pathname);
  // Without an Origin too: what a cache keeps now, it may show to a page later. It keeps GETs only.
  if (kind === "any") return anyone;
  if (origin === null) return kind === "listed" && request.method === "GET" ? unasked : unconcerned;
  if (kind === "own") return origin === publicUrl() ? unconcerned : stranger;
  if (origin !== publicUrl() && !corsOrigins.includes(origin)) return stranger;
  return { refused: false, allowOrigin: origin, varies: true };
}

export type PathKind = "any" | "listed" | "own";

/** Decides about origins only, never about who may do what. A spelling that nobody foresaw is closed. */
export function pathKind(path: string): PathKind {
  if (isUnder(path, "/v1") || isUnder(path, "/api/v1") || isUnder(path, "/mcp")) return "listed";
  if (isUnder(path, "/blobs") || path.startsWith("/.well-known/") || openEndpoints.has(path)) return "any";
  return "own";
}

const isUnder = (path: string, root: string): boolean =>
  path.startsWith(root) && (path.length === root.length || path[root.length] === "/");

const openEndpoints = new Set([
  "/oauth/token",
  "/oauth/register",
  "/oauth/revoke",
  "/oauth/device_authorization",
]);

/** The question a browser asks before the request itself; without all three it is a plain OPTIONS. */
export const isPreflight = ({ method, headers }: Request): boolean =>
  method === "OPTIONS" && headers.has("origin") && headers.has("access-control-request-method");

/** Removed origins are refused at once whatever a browser remembers, so it may remember for long; Chromium's most. */
const maxAgeSeconds = 7_200;

/** The answer to a preflight of an allowed origin. It says nothing of whether the route is there: that needs a credential. */
export function preflightResponse(allowOrigin: string, asked: Headers): Response {
  const headers = new Headers({
    "access-control-allow-origin": allowOrigin,
    "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "access-control-max-age": String(maxAgeSeconds),
    vary: "origin, access-control-request-method, access-control-request-headers",
  });
  const names = allowedNames(asked.get("access-control-request-headers") ?? "");
  if (names !== "") headers.set("access-control-allow-headers", names);
  return new Response(null, { status: 204, headers });
}

const allowedForm =
  /^(?:authorization|content-type|if-match|if-none-match|idempotency-key|last-event-id|x-api-key|x-amz-checksum-sha256|user-agent|traceparent|tracestate|baggage|x-trace-id|(?:anthropic|openai|mcp|x-specgate|x-stainless)-[a-z0-9-]+)$/;

function allowedNames(asked: string): string {
  const names = asked.split(",").map((name) => name.trim().toLowerCase());
  return [...new Set(names)].filter((name) => allowedForm.test(name)).join(", ");
}

/** Puts onto an answer, a refusal included, what the caller's browser must know to hand it over. */
export function applyCors(response: Response, { allowOrigin, varies }: Cors): Response {
  if (varies) response.headers.append("vary", "Origin");
  if (allowOrigin === null) return response;
  response.headers.set("access-control-allow-origin", allowOrigin);
  response.headers.set("access-control-expose-headers", exposedNames(response.headers));
  return response;
}

/** Prefixes cannot be exposed, so those of ours that are there go by name. */
function exposedNames(headers: Headers): string {
  let names = "etag, www-authenticate, retry-after, x-request-id";
  for (const name of headers.keys()) if (name.startsWith("x-specgate-")) names += `, ${name}`;
  return names;
}
