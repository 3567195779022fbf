/**
 * Who is told when something happens: the hooks, the courier that serves them, and how the rest of the house raises alarms.
 */
import type { Changes } from "./db/changes.ts";
import { Courier } from "./features/alerts/courier.ts";
import { AlertHooks } from "./features/alerts/hooks.ts";
import { watchLag } from "./features/alerts/lag.ts";
import { createRaise } from "./features/alerts/raise.ts";
import { createSendAlert } from "./features/alerts/sending.ts";
import type { GuardedFetch } from "./platform/guarded-fetch.ts";
import type { Cursors } from "./platform/page.ts";
import type { WiringInput } from "./wiring.ts";

export type Alerts = ReturnType<typeof wireAlerts>;

type AlertsNeeds = {
  changes: Changes;
  cursors: Cursors;
  /** By fingerprint; the first is for new hooks. */
  alertKeys: ReadonlyMap<string, Uint8Array>;
  fetch: GuardedFetch;
  ledger: { lag(): { records: number; seconds: number } };
};

export function wireAlerts(input: WiringInput, needs: AlertsNeeds) {
  const { database, gateway, clock, log, version, boot } = input;
  const allowsPrivateNetwork = () => gateway().alerts.allowPrivateNetwork;
  const [kid = ""] = needs.alertKeys.keys();
  const signing = { kid, keys: needs.alertKeys };
  const hooks = new AlertHooks({ ...needs, database, signing, allowsPrivateNetwork });
  const send = createSendAlert({ ...needs, clock, version, allowsPrivateNetwork });
  const courier = new Courier({ database, signing, send, clock, log });
  const { raise, close } = createRaise({ database, clock, log, written: () => courier.wake() });
  const lag = watchLag({ lag: () => needs.ledger.lag(), raise, instance: boot.instance, clock });
  courier.start();
  return {
    hooks,
    courier,
    raise,
    async close() {
      lag.stop();
      await close();
      await courier.stop();
    },
  };
}
