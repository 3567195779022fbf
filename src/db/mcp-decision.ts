/**
 * What is written down about each request at /mcp: one record, whoever asked and however it ended.
 *
 * Arguments are never in it, only their HMAC, so that two calls with the same arguments can be told to be that.
 */
import type { Call } from "../platform/call.ts";
import type { Principal } from "../platform/principal.ts";

export type McpEra = "modern" | "legacy";

export type McpVerdict =
  | "allowed"
  /** A policy, the ceiling or an unreachable scope: the caller was told that there is no such tool. */
  | "hidden"
  | "unknown"
  /** The tool is visible, these arguments are not allowed. */
  | "denied"
  | "insufficient_scope"
  | "rate_limited"
  /** Not a request that could be judged: a batch, repeated keys, headers that say something else. */
  | "malformed";

export type McpDecision = {
  readonly call: Call;
  readonly principal: Principal;
  readonly era: McpEra | null;
  /** `tools/call`, `tools/list` …; null where none could be read. */
  readonly method: string | null;
  /** As the caller spelled it, cut at 128 characters; a resource's URI, a prompt's name. */
  readonly tool: string | null;
  readonly upstream: string | null;
  readonly pin: string | null;
  readonly projectId: string | null;
  readonly sessionId: string | null;
  readonly verdict: McpVerdict;
  /** Which rule decided, such as `deny github__*`, `ceiling` or `key_… rule 2`. */
  readonly rule: string | null;
  /** Revisions of the policies that counted, by principal. */
  readonly revisions: Readonly<Record<string, number>>;
  /** Whatever was sent as arguments; only its HMAC is kept. */
  readonly args: unknown;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The HTTP status, the JSON-RPC error's code, and what the tool itself said. */
  readonly outcome: {
    readonly transport: number;
    readonly rpc: number | null;
    readonly tool: "ok" | "error" | null;
    /** Of a failure before, instead of or after the tool, such as `upstream_timeout`: whether it was done can be told from it. */
    readonly code?: string;
  };
  readonly milliseconds: number;
};

export type McpRecords = {
  /**
   * Resolves when the record is durable; rejects with `journal_unavailable` or `no_room`, and the answer is withheld then.
   * A change whose own audit row says it all (`call.via.isRecorded`) gets its line in the file alone.
   */
  record(decision: McpDecision): Promise<void>;
  /** Before a federated tool that writes is called: a row of its own, committed. `record` then writes the outcome's row. */
  intend(decision: Omit<McpDecision, "outcome" | "milliseconds" | "bytesOut">): Promise<void>;
};
