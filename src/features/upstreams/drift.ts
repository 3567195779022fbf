/**
 * The decision about what an upstream lists, against what is known of it: what is pinned, what waits, what is hidden.
 *
 * What clients see is the pinned definition, so a tool is visible exactly while the upstream shows that and nothing else.
 * Under `first_use` the first list of an upstream is taken as it is; whatever comes later waits for an administrator,
 * because a tool that is exchanged under a new name would else come in unseen. What was rejected stays so. What has
 * changed to and fro comes back only when it has held still for an hour, or when somebody says so.
 */
import type { PinStatus } from "./contract.ts";
import type { Seen } from "./names.ts";

/** What is known of a tool. */
export type Known = {
  readonly tool: string;
  readonly status: PinStatus;
  readonly pin: string | null;
  readonly seenPin: string;
  /** When it came to be what it was seen as last. */
  readonly changedAt: Date;
  readonly goneAt: Date | null;
  /** How often anything about it was written down. */
  readonly version: number;
};

/** What clients see or do not see from now on. */
type ShownAction = "pinned" | "quarantined" | "restored";
/** What nobody sees for the time being, or what is only not there. */
export type HiddenAction = "pending" | "changed" | "gone" | "returned";

export type Step = {
  readonly tool: string;
  /** Null for what changes nothing for anybody. */
  readonly action: ShownAction | HiddenAction | null;
  readonly status: PinStatus;
  /** Null: it is gone. */
  readonly seen: Seen | null;
  readonly known: Known | null;
  /** Of what is gone: whether no word about it is kept. */
  readonly isForgotten: boolean;
};

export const isShown = (action: Step["action"]): action is ShownAction =>
  action === "pinned" || action === "quarantined" || action === "restored";

/** Empty when everything is as it was. */
export function driftOf(
  known: readonly Known[],
  seen: ReadonlyMap<string, Seen>,
  { mode, now }: { mode: "first_use" | "approve"; now: number },
): Step[] {
  const byName = new Map(known.map((row) => [row.tool, row]));
  const isFirstUse = mode === "first_use" && known.length === 0;
  const met = [...seen.values()].flatMap((tool): Step[] => {
    const row = byName.get(tool.tool);
    if (row === undefined) return [arrived(tool, isFirstUse)];
    const [status, action] = stateOf(row, tool, now);
    if (isSame(row, tool) && status === row.status) return [];
    return [{ tool: tool.tool, action, status, seen: tool, known: row, isForgotten: false }];
  });
  return [...met, ...goneOf(known, seen)];
}

/**
 * Nobody decided about what waits, so nothing is lost: a server that invents new names each time fills no table. The last
 * row of an upstream stays, whatever it is: without it the next list would be taken for the first.
 */
function goneOf(known: readonly Known[], seen: ReadonlyMap<string, Seen>): Step[] {
  const gone = known.filter(({ tool, goneAt }) => goneAt === null && !seen.has(tool));
  const isAnyLeft = seen.size > 0 || known.some((row) => row.status !== "pending" || row.goneAt !== null);
  return gone.map((row, at) => {
    const isForgotten = row.status === "pending" && (isAnyLeft || at > 0);
    return { tool: row.tool, action: "gone", status: row.status, seen: null, known: row, isForgotten };
  });
}

const arrived = (seen: Seen, isFirstUse: boolean): Step => ({
  tool: seen.tool,
  action: isFirstUse ? "pinned" : "pending",
  status: isFirstUse ? "visible" : "pending",
  seen,
  known: null,
  isForgotten: false,
});

const isSame = (row: Known, seen: Seen): boolean => row.goneAt === null && row.seenPin === seen.pin;

function stateOf(row: Known, seen: Seen, now: number): [PinStatus, Step["action"]] {
  switch (row.status) {
    case "visible":
      return row.pin === seen.pin ? ["visible", "returned"] : ["quarantined", "quarantined"];
    case "quarantined":
      if (row.pin === seen.pin && holdsStill(row, seen, now)) return ["visible", "restored"];
      return ["quarantined", "changed"];
    case "pending":
      return ["pending", "changed"];
    case "rejected":
      return ["rejected", null];
  }
}

/** A tool may be restored at once a time or two; a server that goes on so is believed slowly. */
const holdsStill = (row: Known, seen: Seen, now: number): boolean =>
  row.version <= versionsFree || (isSame(row, seen) && now - row.changedAt.getTime() >= stillMs);

const versionsFree = 4;
const stillMs = 3_600_000;
