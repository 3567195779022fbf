/**
 * Says that something stopped being valid: a row in the change's own transaction, and after the commit a word to all
 * instances. The row is what counts; the word only makes it act sooner.
 */
import type { Database, Db } from "../../db/database.ts";
import { insertRevocation, notifyRevocations } from "./store.ts";

export const revocationChannel = "specgate_revocations";

export type Revocations = {
  /** `subject`: the id of a user, client or key, or the `jti` of a token. Call it with the change's transaction. */
  record(tx: Db, subject: string): Promise<void>;
  /** Call it after the commit. Never throws. */
  announce(): Promise<void>;
};

/** `hear`: reads the log in this process, if it does. */
export function createRevocations(
  database: Database,
  hear: () => Promise<void> = async () => {},
): Revocations {
  return {
    record: insertRevocation,
    async announce() {
      // The change is committed; should the word get lost, each instance reads the log within a second anyway.
      await notifyRevocations(database.db, revocationChannel).catch(() => undefined);
      // Here it has acted before the answer goes out: whoever makes a project finds it, whoever ends a key sees it end.
      await hear();
    },
  };
}
