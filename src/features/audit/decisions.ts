/**
 * The record of each decision at the MCP door, durable before its answer leaves.
 *
 * A read, a list or a refusal is one note in the journal, which the drain carries into the audit table a moment later;
 * without a journal it is a committed row. A change has written its own row in its own transaction. A call that changes
 * something on another server has one row before, without which it is not made, and one after. Each has a line in the
 * daily file (mcp-log.ts), which is a copy: what befalls it holds up nobody.
 */
import type { McpDecision, McpRecords } from "../../db/mcp-decision.ts";
import type { Call } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import { Failure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { markOf } from "./argument-mark.ts";
import type { CommittedRows } from "./committed-rows.ts";
import {
  type DecisionRow,
  type Intention,
  intended,
  lineOf,
  noteOf,
  type Origin,
  type Recorded,
  rowOf,
  saysOf,
} from "./decision-row.ts";

export type DecisionsNeeds = {
  /** Resolves when the journal holds the note for good; null where Postgres stands in its place. */
  note: ((json: string) => Promise<void>) | null;
  rows: Pick<CommittedRows, "add" | "addLate">;
  /** The daily file. */
  copy: { append(line: string): void };
  origin: Origin;
  /** What the arguments' marks are made with. */
  key: Uint8Array;
  clock: Pick<Clock, "now">;
};

export class Decisions implements McpRecords {
  /** The rows that said that these calls were about to be made. */
  readonly #intents = new WeakMap<Call, string>();

  constructor(private readonly needs: DecisionsNeeds) {}

  async record(decision: McpDecision): Promise<void> {
    const { call, verdict, outcome } = decision;
    const intent = this.#intents.get(call) ?? null;
    const recorded = { ...this.#begin(decision), intent };
    const row = rowOf(decision, recorded);
    const hasOwnRow = call.via?.isRecorded === true && verdict === "allowed" && outcome.tool === "ok";
    try {
      if (intent !== null) {
        this.#intents.delete(call);
        await this.#keepOutcome(row);
      } else if (!hasOwnRow) await this.#keep(row);
    } catch (error) {
      // Its row may be there after all, and a row without a line is one that somebody took away.
      this.needs.copy.append(lineOf({ ...saysOf(row), withheld: true }));
      throw error;
    }
    this.needs.copy.append(lineOf(saysOf(row)));
  }

  async intend(intention: Intention): Promise<void> {
    const recorded = this.#begin(intention);
    await this.needs.rows.add(rowOf(intended(intention), recorded));
    this.#intents.set(intention.call, recorded.eventId);
  }

  #begin({ args }: Intention): Recorded {
    const { clock, key, origin } = this.needs;
    return { origin, eventId: newId("evt"), at: clock.now(), argsMark: markOf(key, args) };
  }

  async #keep(row: DecisionRow): Promise<void> {
    const { note, rows } = this.needs;
    if (note !== null) await note(noteOf(row));
    else await rows.add(row).catch(refuse);
  }

  /** The call has been made: that must not be lost, whatever the database does. */
  async #keepOutcome(row: DecisionRow): Promise<void> {
    const { note, rows } = this.needs;
    try {
      await rows.add(row);
    } catch (error) {
      // It may be there after all: whoever writes it again looks first.
      if (note !== null) return await note(noteOf(row));
      rows.addLate(row);
      throw refusal(error);
    }
  }
}

const refuse = (error: unknown): never => {
  throw refusal(error);
};

const refusal = (cause: unknown): Failure =>
  new Failure(
    "unavailable",
    "journal_unavailable",
    "The call cannot be written down right now, so its answer is withheld. Try again.",
    { cause },
  );
