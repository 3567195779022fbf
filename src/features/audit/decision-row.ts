/**
 * A decision of the MCP door as the audit log keeps it: a row, which travels through the journal as one note, and a
 * line of the daily file. Neither ever holds an argument; strings that somebody else chose are cut.
 */
import type { McpDecision } from "../../db/mcp-decision.ts";
import { storableJson } from "../../db/storable.ts";
import { rfc3339 } from "../../platform/clock.ts";

export type Intention = Omit<McpDecision, "outcome" | "milliseconds" | "bytesOut">;
type Decided = Intention & {
  readonly outcome: McpDecision["outcome"] | undefined;
  readonly milliseconds: number | undefined;
  readonly bytesOut: number | undefined;
};

/** Before the call is made nothing is known of how it ends. */
export const intended = (intention: Intention): Decided => ({
  ...intention,
  outcome: undefined,
  milliseconds: undefined,
  bytesOut: undefined,
});

/** Which gateway decided, and at which of its starts: the data dir's uuid and the number of the boot. */
export type Origin = { readonly instance: string; readonly boot: number };

/** What was found out when the decision was recorded. */
export type Recorded = {
  readonly origin: Origin;
  readonly eventId: string;
  readonly at: number;
  readonly argsMark: string | null;
  /** The row that said that this call was about to be made. */
  readonly intent?: string | null;
};

/** A row's columns by name, as `insertDecided` takes them. */
export type DecisionRow = {
  readonly event_id: string;
  readonly at: string;
  readonly actor: string;
  readonly actor_kind: string;
  readonly client_id: string | null;
  readonly action: string;
  readonly subject: string | null;
  readonly project_id: string | null;
  readonly session_id: string | null;
  readonly ip: string | null;
  readonly user_agent: string | null;
  readonly request_id: string;
  readonly outcome: "ok" | "refused" | "failed";
  readonly details: Readonly<Record<string, unknown>>;
};

export function rowOf(decision: Decided, { origin, eventId, at, argsMark, intent }: Recorded): DecisionRow {
  const { call, principal, outcome } = decision;
  return {
    event_id: eventId,
    at: rfc3339(at),
    actor: principal.id,
    actor_kind: principal.kind,
    client_id: principal.clientId,
    action: actionOf(decision),
    subject: decision.tool,
    project_id: decision.projectId,
    session_id: decision.sessionId,
    ip: call.ip,
    user_agent: call.request.headers.get("user-agent")?.slice(0, 200) ?? null,
    request_id: call.id,
    outcome: outcomeOf(decision),
    details: {
      era: decision.era,
      method: decision.method,
      tool: decision.tool,
      verdict: decision.verdict,
      rule: decision.rule,
      revisions: decision.revisions,
      upstream: decision.upstream,
      pin: decision.pin,
      args_hmac: argsMark,
      bytes_in: decision.bytesIn,
      bytes_out: decision.bytesOut,
      outcome,
      ms: decision.milliseconds === undefined ? undefined : Math.round(decision.milliseconds * 10) / 10,
      trace_id: call.traceId,
      ...origin,
      ...(intent ? { intent } : {}),
    },
  };
}

/** What a line of the daily file says of a row. */
export type LineSays = Readonly<Record<string, unknown>> & { readonly request: string | null };

export function saysOf(row: Omit<DecisionRow, "request_id"> & { request_id: string | null }): LineSays {
  const { details } = row;
  return {
    at: row.at,
    event: row.event_id,
    request: row.request_id,
    trace: details.trace_id ?? null,
    principal: row.actor,
    client: row.client_id,
    project: row.project_id,
    session: row.session_id,
    era: details.era,
    method: cut(details.method, 128),
    tool: cut(details.tool, 128),
    upstream: details.upstream ?? null,
    pin: details.pin ?? null,
    revisions: details.revisions,
    verdict: details.verdict,
    rule: cut(details.rule, 256),
    args_hmac: details.args_hmac ?? null,
    bytes_in: details.bytes_in ?? null,
    bytes_out: details.bytes_out ?? null,
    outcome: details.outcome ?? null,
    ms: details.ms ?? null,
  };
}

/** One line of the daily file, without its place in the chain. */
export const lineOf = (says: LineSays): string => storableJson(JSON.stringify(says));

const verbs: Readonly<Record<string, string>> = {
  "tools/call": "called",
  "resources/read": "read",
  "prompts/get": "read",
  "tools/list": "listed",
  "prompts/list": "listed",
  "resources/list": "listed",
  "resources/templates/list": "listed",
  "subscriptions/listen": "listened",
};

function actionOf({ verdict, method, outcome }: Decided): string {
  if (outcome === undefined) return "mcp.intended";
  if (verdict !== "allowed") return "mcp.refused";
  return `mcp.${verbs[method ?? ""] ?? "asked"}`;
}

function outcomeOf({ verdict, outcome }: Decided): DecisionRow["outcome"] {
  if (verdict !== "allowed") return "refused";
  if (outcome === undefined) return "ok";
  const { transport, rpc, tool } = outcome;
  return transport >= 400 || rpc !== null || tool === "error" ? "failed" : "ok";
}

/** What the journal takes as one record. */
const noteBytesMax = 8_192;

/** How a note begins: whoever reads the journal tells it from a call's record by this alone. */
export const noteStart = '{"t":"audit",';

/** The row as a note of the journal; its longest strings are cut until it fits. */
export function noteOf(row: DecisionRow): string {
  const note = { t: "audit", ...row };
  let json = storableJson(JSON.stringify(note));
  for (const charactersMax of [2_048, 512, 128, 64]) {
    if (Buffer.byteLength(json) <= noteBytesMax) return json;
    json = storableJson(JSON.stringify(note, (_name, value) => shorter(value, charactersMax)));
  }
  if (Buffer.byteLength(json) <= noteBytesMax) return json;
  // Nobody has so many policies; whoever makes it so is recorded all the same.
  const { verdict, method, era, instance, boot } = row.details;
  const lean = { ...note, details: { verdict, method, era, instance, boot, is_cut: true } };
  return storableJson(JSON.stringify(lean, (_name, value) => shorter(value, 64)));
}

const shorter = (value: unknown, charactersMax: number): unknown =>
  typeof value === "string" ? cut(value, charactersMax) : value;

function cut(text: unknown, charactersMax: number): string | null {
  if (typeof text !== "string") return null;
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax - 1)}…`;
}
