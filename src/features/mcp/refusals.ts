/**
 * What a request is refused with: always a JSON-RPC error under the request's own id, with the HTTP status that its cause
 * has in the protocol.
 *
 * A tool that the caller may not know of is refused with the very bytes of one that does not exist.
 */
import { UnsupportedProtocolVersionError } from "@modelcontextprotocol/server";
import type { McpVerdict } from "../../db/mcp-decision.ts";
import type { Call } from "../../platform/call.ts";
import { headersOf, rpcBody } from "../../platform/dialects.ts";
import { Failure } from "../../platform/failure.ts";
import type { Scope } from "../../platform/scopes.ts";
import type { Mismatch } from "./headers.ts";
import { headerMismatch } from "./headers.ts";
import { isObject, type MessageId, servedRevision } from "./message.ts";

export type Refusal = {
  readonly status: number;
  /** Of JSON-RPC. */
  readonly code: number;
  readonly message: string;
  readonly details?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
};

export class Refused extends Error {
  readonly refusal: Refusal;
  readonly verdict: McpVerdict;

  constructor(verdict: McpVerdict, refusal: Refusal) {
    super(refusal.message);
    this.name = "Refused";
    this.refusal = refusal;
    this.verdict = verdict;
  }
}

export const invalidParams = -32_602;
const resourceNotFound = -32_002;
const internalError = -32_603;
const revisionCharactersMax = 64;
const saidCharactersMax = 1_000;

export const unknownTool = (verdict: "hidden" | "unknown", name: string | null): Refused =>
  new Refused(verdict, { status: 200, code: invalidParams, message: `Unknown tool: ${name}` });

/** `message` names what the rule looks at, never what was sent. */
export const argumentsDenied = (message: string): Refused =>
  new Refused("denied", {
    status: 200,
    code: invalidParams,
    message,
    details: { code: "arguments_denied" },
  });

export const wrongParams = (message: string, verdict: McpVerdict = "malformed"): Refused =>
  new Refused(verdict, {
    status: 200,
    code: invalidParams,
    message,
    details: { code: "invalid_params" },
  });

/** The code is that of the revisions before 2026-07-28, which has none of its own for it. */
export const unknownResource = (uri: string, isModern: boolean): Refused =>
  new Refused("unknown", {
    status: 200,
    code: isModern ? invalidParams : resourceNotFound,
    message: "There is no such resource that this credential may see.",
    details: { uri },
  });

export const headersDisagree = ({ header, message }: Mismatch): Refused =>
  new Refused("malformed", {
    status: 400,
    code: headerMismatch,
    message,
    details: { code: "header_mismatch", mismatch: { header } },
  });

/** Names every scope that the new token should have: what this one holds, and what is needed here (RFC 6750 section 3.1). */
export function insufficientScope(
  needed: readonly Scope[],
  granted: ReadonlySet<Scope>,
  resourceMetadata: string,
): Refused {
  const scope = [...new Set([...granted, ...needed])].join(" ");
  const lacking = needed.filter((one) => !granted.has(one)).map((one) => `\`${one}\``);
  const challenge = `Bearer error="insufficient_scope", scope="${scope}", resource_metadata="${resourceMetadata}"`;
  return new Refused("insufficient_scope", {
    status: 403,
    code: -32_000,
    message: `This credential lacks the scope ${lacking.join(" and ")} that this needs.`,
    details: { code: "insufficient_scope", scopes: scope.split(" ") },
    headers: { "www-authenticate": challenge },
  });
}

export function tooManyCalls(requestsPerMinute: number, seconds: number): Refused {
  const wait = Math.max(1, seconds);
  return new Refused("rate_limited", {
    status: 429,
    code: -32_000,
    message: `A rule of the allowlist lets this be called ${requestsPerMinute} times a minute. Try again in ${wait} s.`,
    details: { code: "rate_limit_exceeded" },
    headers: { "retry-after": String(wait) },
  });
}

/** The client learns which revisions there are, and chooses anew. */
export function revisionNotServed(requested: string | undefined): Refused {
  const asked = (requested ?? "unknown").slice(0, revisionCharactersMax).toWellFormed();
  const known = new UnsupportedProtocolVersionError({ supported: [servedRevision], requested: asked });
  return new Refused("malformed", {
    status: 400,
    code: known.code,
    message: known.message,
    details: known.data,
  });
}

export const resultTooLarge = (bytes: number, bytesMax: number, verdict: McpVerdict): Refused =>
  new Refused(verdict, {
    status: 200,
    code: internalError,
    message: `The answer has ${bytes} bytes, and at most ${bytesMax} may leave here. Ask for less.`,
    details: { code: "result_too_large" },
  });

export const shuttingDown = (): Failure =>
  new Failure("unavailable", "unavailable", "The gateway is shutting down.");

/** `verdict`: what was decided before it failed. */
export function refusedBy(failure: Failure, verdict: McpVerdict, call: Call): Refused {
  const { error } = rpcBody(failure, call.id) as {
    error: { code: number; message: string; data: unknown };
  };
  return new Refused(failure.kind === "rate" ? "rate_limited" : verdict, {
    status: failure.status,
    code: error.code,
    message: error.message,
    details: error.data,
    headers: headersOf(failure),
  });
}

export const bodyOf = ({ code, message, details }: Refusal, id: MessageId | null): string =>
  JSON.stringify({
    jsonrpc: "2.0",
    id,
    error: { code, message, ...(details === undefined ? {} : { data: details }) },
  });

export const responseOf = (body: string, { status, headers }: Refusal): Response =>
  new Response(body, {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
  });

export type RpcError = { readonly code: number; readonly message: string; readonly data?: unknown };

/** What a JSON-RPC answer says that went wrong; null for a result. */
export function errorIn(text: string): RpcError | null {
  if (!text.includes('"error":{"code":')) return null;
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return isObject(error) && typeof error.code === "number" ? (error as RpcError) : null;
  } catch {
    return null;
  }
}

/** Some of the library's errors list every mistake, and some do not know whom they answer. */
export const inShort = ({ code, message, data }: RpcError, id: MessageId | null): string =>
  bodyOf({ status: 0, code, message: message.slice(0, saidCharactersMax).toWellFormed(), details: data }, id);
