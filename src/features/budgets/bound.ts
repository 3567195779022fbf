/**
 * Who is under a hard budget, kept in memory: most callers are under none, and must not wait for the database to hear so.
 *
 * Read once before the gateway serves, at once after a change of this instance, and within a second of a change of
 * another. While the database is away it stays as it was. It never decides whether there is money: holds.ts asks for that.
 */
import type { Sql } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import { budgetsMark, hardSubjects } from "./store.ts";

/** Whom a call is charged to. */
export type Subjects = {
  readonly user_id: string | null;
  readonly client_id: string | null;
  readonly key_id: string | null;
  readonly project_id: string | null;
};

const pollMs = 1_000;
const kinds = ["user", "client", "key", "project"] as const;

export class BoundSubjects {
  readonly #needs: { sql: Sql; log: Log };
  #mark = "";
  #isGlobal = false;
  #bound = new Set<string>();
  #reading: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(needs: { sql: Sql; log: Log }) {
    this.#needs = needs;
  }

  /** Resolves when it knows; throws when the database does not answer. */
  async start(): Promise<void> {
    await this.#read();
    this.#timer = setInterval(() => void this.reload(), pollMs);
  }

  isBound(subjects: Subjects): boolean {
    if (this.#isGlobal) return true;
    if (this.#bound.size === 0) return false;
    return kinds.some((kind) => this.#bound.has(`${kind} ${subjects[`${kind}_id`]}`));
  }

  /** Resolves when what was committed before the call is known. Never throws. */
  reload(): Promise<void> {
    // One after the other, so that no older answer is taken for a newer one.
    this.#reading = this.#reading
      .then(() => this.#read())
      .catch((error: unknown) =>
        this.#needs.log.debug("it is not known whether budgets have changed", { error }),
      );
    return this.#reading;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#reading;
  }

  async #read(): Promise<void> {
    const { sql } = this.#needs;
    const mark = await budgetsMark(sql);
    if (mark === this.#mark) return;
    const subjects = await hardSubjects(sql);
    this.#isGlobal = subjects.some(({ subject }) => subject === "global");
    this.#bound = new Set(subjects.map(({ subject, subject_id }) => `${subject} ${subject_id}`));
    this.#mark = mark;
  }
}
