/**
 * Budgets: whoever makes them, the money that is set aside under hard ones, and what becomes of it when an instance is lost.
 */
import type { Changes } from "./db/changes.ts";
import { Budgets } from "./features/budgets/budgets.ts";
import { BudgetHolds } from "./features/budgets/holds.ts";
import { dropOverHolds, settleLostInstances } from "./features/usage/lost-holds.ts";
import { defaultTimeouts, type GatewayConfig } from "./platform/config.ts";
import type { Cursors } from "./platform/page.ts";
import type { WiringInput } from "./wiring.ts";

export async function wireBudgets(input: WiringInput, needs: { changes: Changes; cursors: Cursors }) {
  const { database, boot, log } = input;
  const holds = new BudgetHolds({ sql: database.sql, boot, log });
  await holds.start();
  const budgets = new Budgets({ ...needs, database, changed: () => holds.reload() });
  const recovery = keepRecovering(input);
  return {
    holds,
    budgets,
    async close(): Promise<void> {
      await recovery.stop();
      await holds.stop();
    },
  };
}

/** An instance may be cut off for a while, and its calls may last. */
const silentMsMin = 15 * 60_000;
const recoveryMs = 60_000;

/** Twice the longest that a call may take, and a quarter of an hour at least. */
function silentMsOf({ models }: Pick<GatewayConfig, "models">): number {
  const totals = Object.values(models).map(({ timeouts }) => timeouts.totalMs);
  return Math.max(silentMsMin, 2 * Math.max(defaultTimeouts.totalMs, ...totals));
}

/** Looks every minute for instances that are lost, and settles what they hold. */
function keepRecovering({ database, boot, gateway, log }: WiringInput) {
  let running: Promise<void> = Promise.resolve();
  const recover = async () => {
    try {
      const settled = await settleLostInstances(database.sql, boot.instance, silentMsOf(gateway()), log);
      if (settled.dropped + settled.charged > 0) log.warn("a lost instance held money", settled);
      await dropOverHolds(database.sql);
    } catch (error) {
      log.warn("what lost instances hold is not known right now", { error });
    }
  };
  const timer = setInterval(() => {
    running = running.then(recover);
  }, recoveryMs);
  return {
    async stop(): Promise<void> {
      clearInterval(timer);
      await running;
    },
  };
}
