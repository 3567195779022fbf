/**
 * What upstream tools are known to be, and what administrators say about them.
 *
 * A tool is visible while what its server shows is what was pinned, byte for byte of its canonical text. Whatever changes
 * that, a server or a person, is written with its audit entry or not at all, one after the other for each upstream, so
 * that two instances that see a server for the first time agree. A person decides about the hash that they looked at.
 */
import { gatewayItself } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database, Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import type { UpstreamConfig } from "../../platform/config.ts";
import { sha256 } from "../../platform/digest.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { ToolDefinition } from "../../platform/upstream.ts";
import type { ApprovalAsked, ToolsQuery } from "./contract.ts";
import { driftOf, type HiddenAction, isShown, type Step } from "./drift.ts";
import { offeredName, type Seen } from "./names.ts";
import {
  deletePin,
  findPin,
  insertPin,
  listPins,
  lockUpstream,
  type PinRow,
  pagePins,
  updatePin,
} from "./store.ts";

export type PinsNeeds = { database: Pick<Database, "db">; changes: Changes; cursors: Cursors; clock: Clock };

export class Pins {
  readonly #needs: PinsNeeds;

  constructor(needs: PinsNeeds) {
    this.#needs = needs;
  }

  /**
   * Keeps what a server shows, and says whether that is anything else than what was known; most of the time it is not, and
   * nothing is written. What clients see and see no more has an audit row for each tool, all the rest one together: names
   * cost a server nothing, and rows of the audit stay for ever.
   */
  async settle(
    alias: string,
    seen: ReadonlyMap<string, Seen>,
    mode: UpstreamConfig["pin"],
  ): Promise<boolean> {
    const { database, changes, clock } = this.#needs;
    const terms = { mode, now: clock.now() };
    if (driftOf(await listPins(database.db, [alias]), seen, terms).length === 0) return false;
    await changes.make(gatewayItself, async (change) => {
      await lockUpstream(change.tx, alias);
      const steps = driftOf(await listPins(change.tx, [alias]), seen, terms);
      for (const step of steps) {
        await apply(change.tx, alias, step);
        if (isShown(step.action)) await change.record(entryOf(alias, step.action, step));
      }
      const entry = summaryOf(alias, steps, seen);
      if (entry !== null) await change.record(entry);
    });
    return true;
  }

  /** By name. */
  async page(alias: string, { limit, cursor }: ToolsQuery): Promise<Page<PinRow>> {
    const { database, cursors } = this.#needs;
    const list = `mcp upstream tools ${alias}`;
    const [after = ""] = cursor === undefined ? [] : cursors.open(list, cursor);
    const rows = await pagePins(database.db, alias, { after, rowsMax: limit + 1 });
    return pageOf(rows, limit, ({ tool }) => cursors.seal(list, [tool]));
  }

  /** Throws `not_found`, 409 `pin_changed`. What is so already is answered and not recorded again. */
  async decide(
    change: Change,
    { alias, tool }: { alias: string; tool: string },
    { decision, pin }: ApprovalAsked,
  ): Promise<PinRow> {
    const { tx, actor } = change;
    await lockUpstream(tx, alias);
    const row = await findPin(tx, alias, tool);
    if (row === undefined) throw notFound();
    if (row.seenPin !== pin) throw isAnother(row);
    const status = decision === "approve" ? "visible" : "rejected";
    if (row.status === status && (status === "rejected" || row.pin === pin)) return row;
    const pinned = status === "visible" ? { pin, definition: row.seenDefinition } : {};
    const decided = { status, decidedBy: actor.id, ...pinned } as const;
    const changed = await updatePin(tx, row, decided, { decidedAt: true });
    const action = decision === "approve" ? "approved" : "rejected";
    await change.record(entryOf(alias, action, { tool, known: row, seen: { pin } }));
    return changed;
  }
}

async function apply(tx: Db, alias: string, step: Step): Promise<void> {
  const { tool, status, seen, known, isForgotten } = step;
  if (seen === null) {
    if (isForgotten) await deletePin(tx, alias, tool);
    else await updatePin(tx, { alias, tool }, {}, { goneAt: true });
    return;
  }
  const seenDefinition = membersOf(seen.definition);
  const shown = { status, seenPin: seen.pin, seenDefinition };
  if (known !== null) {
    const isOther = known.seenPin !== seen.pin;
    await updatePin(tx, { alias, tool }, shown, { goneAt: false, ...(isOther ? { changedAt: true } : {}) });
    return;
  }
  const pinned = status === "visible" ? { pin: seen.pin, definition: seenDefinition } : {};
  await insertPin(tx, { alias, tool, ...shown, ...pinned });
}

const membersOf = (definition: ToolDefinition): Record<string, unknown> => ({ ...definition });

type Told = {
  tool: string;
  known: { pin: string | null } | null;
  seen: { pin: string } | null;
};

const entryOf = (alias: string, action: string, { tool, known, seen }: Told) => ({
  action: `mcp_tool.${action}`,
  subject: offeredName(alias, tool),
  details: { upstream: alias, tool, pin: known?.pin ?? null, seen_pin: seen?.pin ?? null },
});

/** Null when there is nothing that nobody sees. */
function summaryOf(alias: string, steps: readonly Step[], seen: ReadonlyMap<string, Seen>) {
  const names: Record<HiddenAction, string[]> = { pending: [], changed: [], gone: [], returned: [] };
  for (const { tool, action } of steps) if (action !== null && !isShown(action)) names[action].push(tool);
  const met = Object.entries(names).filter(([, tools]) => tools.length > 0);
  if (met.length === 0) return null;
  const list = [...seen.values()].map(({ tool, pin }) => `${tool} ${pin}`).sort();
  const told = met.map(([action, tools]) => [
    action,
    { count: tools.length, tools: tools.slice(0, toldMax) },
  ]);
  return {
    action: "mcp_upstream.listed",
    subject: alias,
    details: {
      tools: seen.size,
      list: Buffer.from(sha256(list.join("\n"))).toString("hex"),
      ...Object.fromEntries(told),
    },
  };
}

const toldMax = 20;

const isAnother = ({ seenPin }: PinRow): Failure =>
  new Failure(
    "conflict",
    "pin_changed",
    "The upstream shows another definition by now. Look at it, and decide about its seen_pin.",
    { members: { seen_pin: seenPin } },
  );
