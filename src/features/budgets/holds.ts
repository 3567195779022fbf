/**
 * Money set aside in hard budgets before a call is sent, by SQL that tests and takes with the periods locked.
 *
 * One batch is in flight, up to 64 callers in it; who comes meanwhile goes with the next. Asking twice takes once: each
 * caller says what it believes to be held for its request, and the database knows better. So when an answer is lost the
 * question is asked again, until somebody's two seconds are over: then that caller is told so, its call is not sent, and
 * what may be held for it is given back (doubts.ts). Nothing is ever promised from memory.
 */
import type { Sql } from "../../db/database.ts";
import { codeOf } from "../../db/unavailable.ts";
import { Failure } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import { BoundSubjects, type Subjects } from "./bound.ts";
import type { Period, Subject } from "./contract.ts";
import { Doubts } from "./doubts.ts";

export type HoldsNeeds = {
  sql: Sql;
  boot: { readonly instance: string; readonly epoch: number; readonly bootId: string };
  log: Log;
};

const callersMax = 64;
const answerMs = 2_000;
const retryMs = 50;

type Hold = {
  readonly req: string;
  readonly subjects: Subjects;
  readonly nano: number;
  /** What is held for the request already: 0 for its first attempt. */
  readonly before: number;
};

type Caller = Hold & {
  readonly done: PromiseWithResolvers<readonly string[]>;
  timer: NodeJS.Timeout | undefined;
  /** Its two seconds are over. */
  hasLeft: boolean;
  /** An answer was lost, and the statement behind it may still be running. */
  wasLost: boolean;
};

/** What take_holds says of one caller; where it is refused, the budget that has no room. */
type Taken = {
  req: string;
  ok: boolean;
  periods: string[] | null;
  subject: Subject | null;
  subject_id: string | null;
  period: Period | null;
  ends_at: Date | null;
};

export class BudgetHolds {
  readonly #needs: HoldsNeeds;
  readonly #bound: BoundSubjects;
  readonly #doubts: Doubts;
  #waiting: Caller[] = [];
  #running: Promise<void> | undefined;

  constructor(needs: HoldsNeeds) {
    this.#needs = needs;
    this.#bound = new BoundSubjects(needs);
    this.#doubts = new Doubts(needs);
  }

  /** Resolves when it is known who is under a hard budget. */
  start(): Promise<void> {
    return this.#bound.start();
  }

  /** Takes up what was changed. Never throws. */
  reload(): Promise<void> {
    return this.#bound.reload();
  }

  isBound(subjects: Subjects): boolean {
    return this.#bound.isBound(subjects);
  }

  /**
   * Nano-USD in every hard budget of these subjects, in all or in none, beside what the request holds before; returns the
   * periods. Throws `insufficient_quota`, and `budget_unavailable` when there is no answer within 2 s.
   */
  take(hold: Hold): Promise<readonly string[]> {
    const done = Promise.withResolvers<readonly string[]>();
    const caller: Caller = { ...hold, done, timer: undefined, hasLeft: false, wasLost: false };
    caller.timer = setTimeout(() => this.#giveUp(caller), answerMs);
    this.#waiting.push(caller);
    this.#running ??= this.#run();
    return done.promise;
  }

  /** Gives back the hold of a request that was never sent, if it has one. */
  drop(req: string): void {
    this.#doubts.add(req, false);
  }

  /** Resolves when everything that was to be given back has been. */
  settled(): Promise<void> {
    return this.#doubts.settled();
  }

  /** Resolves when nothing is in flight any more; whoever still waits is told that there is no answer. */
  async stop(): Promise<void> {
    for (const caller of this.#waiting.splice(0)) this.#giveUp(caller);
    await this.#running;
    await this.#bound.stop();
    await this.#doubts.stop();
  }

  async #run(): Promise<void> {
    // One turn of the event loop gathers what arrives together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, callersMax);
      const unanswered = await this.#ask(batch);
      if (unanswered.length === 0) continue;
      this.#waiting.unshift(...unanswered);
      await Bun.sleep(retryMs);
    }
    this.#running = undefined;
  }

  /** Returns those that are to be asked for again. */
  async #ask(batch: readonly Caller[]): Promise<Caller[]> {
    const { sql, boot, log } = this.#needs;
    const asked = batch.map(({ req, nano, before, subjects }) => ({ req, nano, before, ...named(subjects) }));
    try {
      const rows = await sql<Taken[]>`
        select * from take_holds(
          ${JSON.stringify(asked)}::text::jsonb, ${boot.instance}::uuid, ${boot.epoch}, ${boot.bootId}
        )`;
      const taken = new Map(rows.map((row) => [row.req, row]));
      for (const caller of batch) this.#answer(caller, taken.get(caller.req));
      return [];
    } catch (error) {
      if (codeOf(error) === fencedCode) {
        for (const caller of batch) this.#reject(caller, fenced());
        return [];
      }
      log.warn("budgets cannot be asked right now", { callers: batch.length, error });
      for (const caller of batch) caller.wasLost = true;
      // Those who have left are asked for no more; what the lost statement may have held for them goes back.
      for (const caller of batch.filter(({ hasLeft }) => hasLeft)) this.#doubt(caller);
      return batch.filter(({ hasLeft }) => !hasLeft);
    }
  }

  #answer(caller: Caller, taken: Taken | undefined): void {
    if (taken === undefined) throw new Error("take_holds gave no answer for a caller");
    if (!taken.ok) {
      this.#reject(caller, noMoney(taken));
      if (caller.wasLost) this.#doubt(caller);
      return;
    }
    const periods = taken.periods ?? [];
    if (caller.hasLeft) {
      if (periods.length > 0 || caller.wasLost) this.#doubt(caller);
      return;
    }
    clearTimeout(caller.timer);
    caller.done.resolve(periods);
  }

  #reject(caller: Caller, failure: Failure): void {
    clearTimeout(caller.timer);
    caller.done.reject(failure);
  }

  #giveUp(caller: Caller): void {
    caller.hasLeft = true;
    clearTimeout(caller.timer);
    caller.done.reject(unanswered());
    const at = this.#waiting.indexOf(caller);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    if (caller.wasLost) this.#doubt(caller);
  }

  /** What an earlier attempt holds stays: the request's end gives it back. */
  #doubt({ req, before, wasLost }: Caller): void {
    if (before === 0) this.#doubts.add(req, wasLost);
  }
}

const named = ({ project_id, user_id, client_id, key_id }: Subjects): Subjects => ({
  project_id,
  user_id,
  client_id,
  key_id,
});

/** Raised by take_holds. */
const fencedCode = "SGF01";

const whose: Record<Subject, string> = {
  global: "The gateway's budget",
  user: "The budget of person",
  project: "The budget of project",
  client: "The budget of client",
  key: "The budget of key",
};
const daySeconds = 86_400;

function noMoney({ subject, subject_id, period, ends_at }: Taken): Failure {
  const name = [whose[subject ?? "global"], ...(subject_id === null ? [] : [subject_id])].join(" ");
  if (ends_at === null) {
    const message = `${name} has no room left for this call. It counts all that was ever spent and does not start anew.`;
    return new Failure("budget", "insufficient_quota", message, { retryAfterSeconds: daySeconds });
  }
  const retryAfterSeconds = Math.max(1, Math.ceil((ends_at.getTime() - Date.now()) / 1_000));
  const message = `${name} for this ${period} has no room left for this call. It starts anew at ${ends_at.toISOString()}.`;
  return new Failure("budget", "insufficient_quota", message, { retryAfterSeconds });
}

const unanswered = (): Failure =>
  new Failure(
    "unavailable",
    "budget_unavailable",
    "The budget of this call cannot be asked right now, so it was not sent. Try again.",
    { retryAfterSeconds: 1 },
  );

const fenced = (): Failure =>
  new Failure(
    "unavailable",
    "budget_unavailable",
    "Another gateway process has taken over this data directory. Only one may use it.",
  );
