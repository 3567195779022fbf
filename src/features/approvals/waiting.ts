/**
 * Waiting for somebody to decide: until an approval is not pending any more, but no longer than was asked for, than the
 * caller stays, than its rights last, or than the gateway runs.
 *
 * The database is read when something was told about the approval, when its time is over, and at the end; never in
 * between. Whose rights end is answered with what it saw while it had them, and asks again in vain.
 */
import type { Clock } from "../../platform/clock.ts";
import { isEndedBy, type Principal } from "../../platform/principal.ts";
import type { ApprovalView } from "./contract.ts";

export type WaitingNeeds = {
  /** Resolves when something about the id was told, or the time is over, or the signal fires. Never rejects. */
  waitFor: (approvalId: string, milliseconds: number, signal: AbortSignal) => Promise<void>;
  /** Calls back with the subject of each revocation; returns how to stop. */
  onRevoked: (listener: (subject: string) => void) => () => void;
  clock: Clock;
};

type Ending = {
  /** Fires when the gateway closes: whoever still waits asks again, elsewhere if there is an elsewhere. */
  readonly closing: AbortSignal;
};

/** Who waits, for how long, and until they leave. */
export type Waiter = {
  readonly principal: Principal;
  readonly projectId: string;
  readonly milliseconds: number;
  readonly signal: AbortSignal;
};

/** The database's clock may be a little behind ours: what should be over by now is looked at again after this. */
const againMs = 100;
/** A transaction elsewhere that stays open holds all news back, but not what one reads for oneself. */
const unheardMs = 1_000;

export async function untilDecided(
  { waitFor, onRevoked, clock, closing }: WaitingNeeds & Ending,
  { principal, projectId, milliseconds, signal }: Waiter,
  look: () => Promise<ApprovalView>,
): Promise<ApprovalView> {
  const until = clock.monotonic() + Math.min(milliseconds, principal.expiresAt - clock.now());
  const leftMs = () => until - clock.monotonic();
  const over = new AbortController();
  const end = () => over.abort();
  const stop = onRevoked((subject) => {
    if (isEndedBy(principal, subject) || subject === `${principal.userId} ${projectId}`) end();
  });
  for (const ending of [signal, closing]) ending.addEventListener("abort", end);
  if (signal.aborted || closing.aborted) end();
  try {
    let view = await look();
    const lookAgain = async () => {
      const seen = await look();
      if (!over.signal.aborted) view = seen;
    };
    const isWaiting = () => view.status === "pending" && !over.signal.aborted;
    while (isWaiting() && leftMs() > 0) {
      const pendingMs = Math.max(againMs, Date.parse(view.pending_until) - clock.now());
      // Before the look, so that whatever happens after it is heard.
      const told = waitFor(view.id, Math.min(leftMs(), pendingMs, unheardMs), over.signal);
      await lookAgain();
      if (isWaiting()) await told;
    }
    if (isWaiting()) await lookAgain();
    return view;
  } finally {
    end();
    stop();
    for (const ending of [signal, closing]) ending.removeEventListener("abort", end);
  }
}
