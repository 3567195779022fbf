/**
 * The edge: what every request meets before any route is looked for.
 *
 * It checks the Host against an allowlist (a router that trusts Host can be sent elsewhere), refuses strangers' origins
 * and credentials in the query, answers preflights, caps announced bodies, and gives each answer, refusals included, its
 * request id and its security and CORS headers.
 * It decides nothing about who may do what: that belongs to the route (guard.ts).
 */
import { announcedBytes, bodyTooLarge } from "./body.ts";
import { beginCall, type Call } from "./call.ts";
import { applyCors, corsOf, isPreflight, type Origins, preflightResponse } from "./cors.ts";
import { dialectOf, failureResponse } from "./dialects.ts";
import { asFailure, Failure } from "./failure.ts";
import { newId } from "./ids.ts";
import type { Log } from "./log.ts";
import { isLoopbackHost } from "./loopback.ts";
import { trustProxies } from "./proxies.ts";

export type EdgeSettings = Origins & {
  /** Host values besides loopback names: the public URL's and the configured ones, lower case. */
  allowedHosts: () => readonly string[];
  /** Networks whose X-Forwarded-For counts, as CIDRs. */
  trustedProxies: readonly string[];
  bodyBytesMax: (path: string) => number;
  /** The setting that says so. */
  bodyBytesKey?: (path: string) => string;
  log: Log;
};

/** What Bun.serve knows about the connection. */
export type Connection = {
  requestIP(request: Request): { address: string } | null;
  timeout(request: Request, seconds: number): void;
};

export type Answerer = (request: Request) => Response | Promise<Response>;

export function createEdge(settings: EdgeSettings, answer: Answerer) {
  const { publicUrl } = settings;
  const callerBehind = trustProxies(settings.trustedProxies);
  return async (request: Request, server: Connection): Promise<Response> => {
    const host = request.headers.get("host");
    // A Host such as `a@b` makes the URL unparsable; the allowlist has refused it already, this is the second lock.
    const url = hostIsAllowed(host, settings) ? URL.parse(request.url) : null;
    if (url === null) return refuseHost(request, host);
    const call = beginCall(request, url, {
      address: () => server.requestIP(request)?.address ?? null,
      stayOpen: (seconds = 0) => server.timeout(request, seconds),
      publicUrl,
      callerBehind,
    });
    const cors = corsOf(call, settings);
    if (cors.allowOrigin !== null && isPreflight(request)) {
      return finish(preflightResponse(cors.allowOrigin, request.headers), call);
    }
    try {
      if (cors.refused) throw originRefused();
      inspect(call, settings);
      return finish(applyCors(await answer(request), cors), call);
    } catch (error) {
      const failure = asFailure(error);
      if (failure.status >= 500) settings.log.failure(failure, call);
      const refusal = failureResponse(failure, dialectOf(url.pathname, request), call.id);
      return finish(applyCors(refusal, cors), call);
    }
  };
}

function inspect(call: Call, settings: EdgeSettings): void {
  const { request, url } = call;
  if (url.search !== "" && (url.searchParams.has("access_token") || url.searchParams.has("api_key"))) {
    throw new Failure(
      "invalid",
      "credential_in_query",
      "Send the credential in the Authorization header, never in the URL.",
    );
  }
  const length = announcedBytes(request) ?? 0;
  const bytesMax = settings.bodyBytesMax(url.pathname);
  if (length > bytesMax) {
    throw bodyTooLarge(bytesMax, settings.bodyBytesKey?.(url.pathname));
  }
}

const originRefused = (): Failure =>
  new Failure(
    "forbidden",
    "origin_not_allowed",
    "Pages of this origin may not call this path. SPECGATE_CORS_ORIGINS lists those that may call /v1, /mcp and /api/v1.",
  );

function finish(response: Response, call: Call): Response {
  const headers = response.headers;
  if (!headers.has("x-request-id")) headers.set("x-request-id", call.id);
  if (call.traceId !== null) headers.set("x-trace-id", call.traceId);
  headers.set("x-content-type-options", "nosniff");
  return response;
}

/** Two Host headers arrive joined by a comma and so match nothing. */
function hostIsAllowed(host: string | null, settings: EdgeSettings): boolean {
  if (host === null) return false;
  const name = host.toLowerCase();
  return isLoopbackHost(name) || settings.allowedHosts().includes(name);
}

/** Said in the words of the path's plane; the path decides nothing else here. */
function refuseHost(request: Request, host: string | null): Response {
  const failure = new Failure(
    "forbidden",
    "host_not_allowed",
    `The Host ${host === null ? "header is missing" : "is not one of this gateway's"}. Use its public URL, or add the name to SPECGATE_ALLOWED_HOSTS.`,
  );
  const path = URL.parse(request.url)?.pathname ?? "/";
  const response = failureResponse(failure, dialectOf(path, request), newId("req"));
  response.headers.set("x-content-type-options", "nosniff");
  return response;
}
