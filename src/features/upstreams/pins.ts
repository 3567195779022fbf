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
import type { UpstreamConfig } from "../../platform/config.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import type { ToolDefinition } from "../../platform/upstream.ts";
import type { ApprovalAsked, ToolsQuery } from "./contract.ts";
import { driftOf, type Step } from "./drift.ts";
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

export type PinsNeeds = { database: Pick<Database, "db">; changes: Changes; cursors: Cursors };

export class Pins {
  readonly #needs: PinsNeeds;

  constructor(needs: PinsNeeds) {
    this.#needs = needs;
  }

  /** Keeps what a server shows; most of the time that is what is known, and nothing is written. */
  async settle(alias: string, seen: ReadonlyMap<string, Seen>, mode: UpstreamConfig["pin"]): Promise<void> {
    const { database, changes } = this.#needs;
    if (driftOf(await listPins(database.db, [alias]), seen, mode).length === 0) return;
    await changes.make(gatewayItself, async (change) => {
      await lockUpstream(change.tx, alias);
      for (const step of driftOf(await listPins(change.tx, [alias]), seen, mode)) {
        await apply(change.tx, alias, step);
        if (step.action !== null) await change.record(entryOf(alias, step.action, step));
      }
    });
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
  const { tool, status, seen, known } = step;
  if (seen === null) {
    // Nobody decided about it, so nothing is lost: a server that invents new names each time fills no table.
    if (status === "pending") await deletePin(tx, alias, tool);
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

const isAnother = ({ seenPin }: PinRow): Failure =>
  new Failure(
    "conflict",
    "pin_changed",
    "The upstream shows another definition by now. Look at it, and decide about its seen_pin.",
    { members: { seen_pin: seenPin } },
  );
