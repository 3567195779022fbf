/**
 * One request under way, and what will be written down about it: filled in by whoever finds something out, read once.
 */
import type { McpDecision, McpEra, McpVerdict } from "../../db/mcp-decision.ts";
import type { Call } from "../../platform/call.ts";
import type { OpenedBy, Place } from "../../platform/guard.ts";
import type { Principal } from "../../platform/principal.ts";
import type { Judge } from "./allowlist.ts";
import type { Offered } from "./catalogue.ts";
import type { Message, MessageId } from "./message.ts";
import type { Refused } from "./refusals.ts";

/** A tool that may be called, with these arguments. */
export type Admitted = {
  readonly offered: Offered;
  readonly args: Readonly<Record<string, unknown>>;
  readonly resultBytesMax: number;
};

export type Outcome = { readonly transport: number; readonly rpc: number | null; readonly bytesOut: number };

const nameCharactersMax = 128;

export class Exchange {
  readonly call: Call;
  readonly principal: Principal;
  readonly request: Request;
  /** Null as long as none could be read. */
  id: MessageId | null = null;
  bytesIn = 0;
  message: Message | null = null;
  era: McpEra | null = null;
  judge: Judge | null = null;
  verdict: McpVerdict = "malformed";
  rule: string | null = null;
  /** What the allowlist made of what shows the same as a tool; the caller is told that there is nothing. */
  deniedAs: "denied" | "hidden" | null = null;
  /** As the caller spelled it, cut. */
  name: string | null = null;
  args: unknown = null;
  offered: Offered | null = null;
  admitted: Admitted | null = null;
  place: Place | null = null;
  /** Beside the gateway's own limit. */
  resultBytesMax = Number.POSITIVE_INFINITY;
  tool: "ok" | "error" | null = null;
  /** The code of what this gateway, and not the tool, said that went wrong. */
  failure: string | null = null;
  /** What the answer is, whatever the protocol's library makes of it. */
  instead: Refused | null = null;
  /** The code of the JSON-RPC error that it ended with. */
  rpc: number | null = null;
  /** What is being done about it; never rejects. */
  work: Promise<void> | null = null;
  /** Whether it came as far as to what was asked for. */
  isPerformed = false;
  isRecorded = false;
  /** Whoever answers it, to be told at once. */
  onOver: (() => void) | null = null;
  #isOver = false;

  constructor({ call, principal, request }: OpenedBy) {
    this.call = call;
    this.principal = principal;
    this.request = request;
  }

  /** Whether its credential ended, or what that may do has changed, since it was looked at. */
  get isOver(): boolean {
    return this.#isOver;
  }

  end(): void {
    this.#isOver = true;
    this.onOver?.();
  }

  /** Whether its answer may begin before it ends: what speaks the protocol itself may have more than one thing to say. */
  get isStreamed(): boolean {
    return this.offered?.kind === "protocol";
  }

  /** What it is about, as the caller spelled it. */
  names(name: unknown): void {
    const text = typeof name === "string" ? name : (JSON.stringify(name) ?? "nothing");
    this.name = text.slice(0, nameCharactersMax).toWellFormed();
  }

  /** What is known before anything has come of it. */
  intent(): Omit<McpDecision, "outcome" | "milliseconds" | "bytesOut"> {
    const upstream = this.offered?.kind === "upstream" ? this.offered.tool : null;
    return {
      call: this.call,
      principal: this.principal,
      era: this.era,
      method: this.message?.method ?? null,
      tool: this.name,
      upstream: upstream?.alias ?? null,
      pin: upstream?.pin ?? null,
      projectId: this.place?.projectId ?? null,
      sessionId: this.place?.sessionId ?? null,
      verdict: this.verdict,
      rule: this.rule,
      revisions: this.judge?.revisions ?? {},
      args: this.args,
      bytesIn: this.bytesIn,
    };
  }

  decision({ transport, rpc, bytesOut }: Outcome): McpDecision {
    const milliseconds = performance.now() - this.call.startedAt;
    const code = this.failure === null ? {} : { code: this.failure };
    const outcome = { transport, rpc, tool: this.tool, ...code };
    return { ...this.intent(), bytesOut, outcome, milliseconds };
  }
}
