/**
 * What was used: who may read it, and what is done with the roll-ups by themselves.
 */
import type { Database } from "./db/database.ts";
import { wasRevokedSince } from "./features/tokens/store.ts";
import { Exports } from "./features/usage/export.ts";
import { keepFolding } from "./features/usage/folds.ts";
import { SelfCheck } from "./features/usage/self-check.ts";
import { Usage } from "./features/usage/usage.ts";
import type { Clock } from "./platform/clock.ts";
import type { Log } from "./platform/log.ts";
import type { Cursors } from "./platform/page.ts";
import type { Identity } from "./wiring-identity.ts";

type UsageInput = { database: Database; boot: { instance: string }; clock: Clock; log: Log };

export type Spending = ReturnType<typeof wireUsage>;

export function wireUsage(
  { database, boot, clock, log }: UsageInput,
  { identity, cursors }: { identity: Pick<Identity, "feed">; cursors: Cursors },
) {
  const { db } = database;
  const folding = keepFolding(database, log);
  const selfCheck = new SelfCheck({ db, clock, log, instance: boot.instance });
  selfCheck.start();
  return {
    usage: new Usage({ db, cursors }),
    exports: new Exports({
      db,
      onRevoked: (listener) => identity.feed.onRevoked(listener),
      isEnded: (principal, since) => wasRevokedSince(db, principal, since),
    }),
    selfCheck,
    async close() {
      await folding.stop();
      await selfCheck.stop();
    },
  };
}
