/**
 * Whether the roll-ups say what the calls say: looked at each night, hour by hour, over the last three days.
 *
 * They are written together and cannot differ; if they ever do, somebody must know. A difference is an error in the log and
 * a warning until a later look finds none. Nothing is mended here, and what retention has taken is not looked at.
 */
import type { Db } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import { sha256 } from "../../platform/digest.ts";
import type { Log } from "../../platform/log.ts";
import { countDayDifferences, countHourDifferences, findReach } from "./store-check.ts";

/** An hour, or a folded day, of which roll-ups and calls say different things in so many groups. */
export type Difference = { readonly span: "hour" | "day"; readonly at: Date; readonly groups: number };

export type CheckTerms = {
  readonly now: number;
  /** Between two hours, for others who need the database. */
  readonly pauseMs: number;
  readonly signal?: AbortSignal;
};

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const backMs = 3 * dayMs;
const nightHour = 3;
const firstMs = 300_000;

/** Null: it was stopped. The hour that is under way, and the one that retention ended in, are not looked at. */
export async function findDifferences(
  db: Db,
  { now, pauseMs, signal }: CheckTerms,
): Promise<Difference[] | null> {
  const { folded, swept } = await findReach(db);
  const first = Math.ceil(Math.max(now - backMs, swept?.getTime() ?? 0) / hourMs) * hourMs;
  const last = Math.floor(now / hourMs) * hourMs;
  const found: Difference[] = [];
  for (let time = first; time < last; time += hourMs) {
    if (signal?.aborted) return null;
    const at = new Date(time);
    const groups = await countHourDifferences(db, at);
    if (groups > 0) found.push({ span: "hour", at, groups });
    if (time % dayMs === 0 && folded !== null && time < folded.getTime()) {
      const inDay = await countDayDifferences(db, at);
      if (inDay > 0) found.push({ span: "day", at, groups: inDay });
    }
    await Bun.sleep(pauseMs);
  }
  return found;
}

export class SelfCheck {
  readonly #needs: { db: Db; clock: Clock; log: Log; instance: string };
  readonly #stopping = new AbortController();
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #differences: Difference[] = [];

  constructor(needs: { db: Db; clock: Clock; log: Log; instance: string }) {
    this.#needs = needs;
  }

  /** Looks soon after the start, so that a restart hides nothing for a day; then each night, each instance in its own minute. */
  start(): void {
    this.#next(firstMs);
  }

  async run(pauseMs = 20): Promise<void> {
    const { db, clock, log } = this.#needs;
    try {
      const found = await findDifferences(db, { now: clock.now(), pauseMs, signal: this.#stopping.signal });
      if (found === null) return;
      this.#differences = found;
      for (const { span, at, groups } of found)
        log.error("the roll-ups differ from the calls", { [span]: at.toISOString(), groups });
    } catch (error) {
      log.warn("the roll-ups could not be checked", { error });
    }
  }

  warnings(): string[] {
    const [first, ...others] = this.#differences;
    if (first === undefined) return [];
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    const where = `the ${first.span} ${first.at.toISOString()}${more}`;
    return [`summaries of usage differ from the single calls in ${where}; the log has all`];
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#running;
  }

  #next(inMs: number): void {
    this.#timer = setTimeout(() => {
      this.#running = this.run().finally(() => {
        this.#running = null;
        if (!this.#stopping.signal.aborted) this.#next(this.#untilNight());
      });
    }, inMs);
  }

  #untilNight(): number {
    const { clock, instance } = this.#needs;
    const minute = (sha256(instance)[0] ?? 0) % 60;
    const tonight = Math.floor(clock.now() / dayMs) * dayMs + nightHour * hourMs + minute * 60_000;
    return tonight > clock.now() ? tonight - clock.now() : tonight + dayMs - clock.now();
  }
}
