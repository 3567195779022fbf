/**
 * The decision about what an upstream lists, against what is known of it: what is pinned, what waits, what is hidden.
 *
 * What clients see is the pinned definition, so a tool is visible exactly while the upstream shows that and nothing else.
 * Under `first_use` the first list of an upstream is taken as it is; whatever comes later waits for an administrator,
 * because a tool that is exchanged under a new name would else come in unseen. What was rejected stays so.
 */
import type { PinStatus } from "./contract.ts";
import type { Seen } from "./names.ts";

/** What is known of a tool. */
export type Known = {
  readonly tool: string;
  readonly status: PinStatus;
  readonly pin: string | null;
  readonly seenPin: string;
  readonly goneAt: Date | null;
};

export type DriftAction = "pinned" | "pending" | "quarantined" | "restored" | "gone";

export type Step = {
  readonly tool: string;
  /** What the audit says of it; null for what changes nothing for anybody. */
  readonly action: DriftAction | null;
  readonly status: PinStatus;
  /** Null: it is gone. */
  readonly seen: Seen | null;
  readonly known: Known | null;
};

/** Empty when everything is as it was. */
export function driftOf(
  known: readonly Known[],
  seen: ReadonlyMap<string, Seen>,
  mode: "first_use" | "approve",
): Step[] {
  const byName = new Map(known.map((row) => [row.tool, row]));
  const isFirstUse = mode === "first_use" && known.length === 0;
  const met = [...seen.values()].flatMap((tool): Step[] => {
    const row = byName.get(tool.tool);
    if (row === undefined) return [arrived(tool, isFirstUse)];
    const [status, action] = stateOf(row, tool);
    if (isSame(row, tool) && status === row.status) return [];
    return [{ tool: tool.tool, action, status, seen: tool, known: row }];
  });
  const gone = known
    .filter((row) => row.goneAt === null && !seen.has(row.tool))
    .map((row): Step => ({ tool: row.tool, action: "gone", status: row.status, seen: null, known: row }));
  return [...met, ...gone];
}

const arrived = (seen: Seen, isFirstUse: boolean): Step => ({
  tool: seen.tool,
  action: isFirstUse ? "pinned" : "pending",
  status: isFirstUse ? "visible" : "pending",
  seen,
  known: null,
});

const isSame = (row: Known, seen: Seen): boolean => row.goneAt === null && row.seenPin === seen.pin;

function stateOf(row: Known, seen: Seen): [PinStatus, DriftAction | null] {
  switch (row.status) {
    case "visible":
    case "quarantined":
      return row.pin === seen.pin ? ["visible", "restored"] : ["quarantined", "quarantined"];
    case "pending":
      return ["pending", "pending"];
    case "rejected":
      return ["rejected", null];
  }
}
