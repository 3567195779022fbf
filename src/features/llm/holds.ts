/**
 * What the LLM slice needs of budgets: whether a caller is under a hard one, and money set aside before a call is sent.
 */
import type { StartRecord } from "../../db/ledger.ts";

/** Whom a call is charged to. */
export type Subjects = Pick<StartRecord, "user_id" | "client_id" | "key_id" | "project_id">;

export type Holds = {
  /** Asks memory alone: most callers are under no hard budget, and never wait for the database. */
  isBound(subjects: Subjects): boolean;
  /**
   * Sets `nano` aside in every hard budget of these subjects, in all or in none, and returns the periods; none when no
   * budget binds them after all. `before` is what the request holds already, 0 at first; then it adds to that, in the
   * same periods. Throws `insufficient_quota` (kind `budget`), or `budget_unavailable` when the database does not answer
   * within 2 s.
   */
  take(hold: { req: string; subjects: Subjects; nano: number; before: number }): Promise<readonly string[]>;
  /** Gives back the hold of a request that was never sent and has no START. */
  drop(req: string): void;
};

/** Where no budgets are. */
export const noHolds: Holds = {
  isBound: () => false,
  take: async () => [],
  drop: () => {},
};
