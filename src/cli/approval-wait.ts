/**
 * Waiting for a decision: the gateway answers as soon as there is one, or after half a minute, and is asked again.
 */
import type { ApprovalView } from "../features/approvals/contract.ts";
import type { Control } from "./control-api.ts";
import { printable } from "./print.ts";
import { printView } from "./print-view.ts";
import { withProgress } from "./progress.ts";
import { Ended, type World } from "./world.ts";

const pollSecondsMax = 30;
const pauseMs = 1_000;

/** As it is once it is no longer pending, or when `seconds` are over; null waits for as long as it takes. */
export function waitForDecision(
  world: World,
  control: Control,
  id: string,
  seconds: number | null,
): Promise<ApprovalView> {
  const deadline = seconds === null ? Number.POSITIVE_INFINITY : performance.now() + seconds * 1_000;
  return withProgress(world, `waiting for a decision on ${id}`, async () => {
    for (;;) {
      const askedAt = performance.now();
      const leftSeconds = Math.max(0, Math.ceil((deadline - askedAt) / 1_000));
      const wait_seconds = Math.min(pollSecondsMax, leftSeconds);
      const view = await control.get<ApprovalView>(`/approvals/${id}`, { wait_seconds });
      if (view.status !== "pending" || performance.now() >= deadline) return view;
      // A gateway that answers sooner than it was asked to is not asked all the time.
      if (performance.now() - askedAt < pauseMs) await world.sleep(pauseMs);
    }
  });
}

/** Prints it; ends with 1 and says why unless it is approved. */
export function concludeWith(world: World, json: boolean | undefined, view: ApprovalView): void {
  printView(world, json, view);
  if (view.status === "approved") return;
  const note = view.note === null ? "" : `: ${view.note}`;
  const still = view.status === "pending" ? "still " : "";
  world.stderr(`specgate: ${printable(`${view.id} is ${still}${view.status}${note}`)}\n`);
  throw new Ended(1);
}
