/**
 * What a team works on, and who hears of it: sessions and what belongs to them, the event feed, and what ends by itself.
 */
import type { RecordAudit } from "./db/audit-entry.ts";
import { createChanges } from "./db/changes.ts";
import { Approvals, type ApprovalsNeeds } from "./features/approvals/approvals.ts";
import { Artifacts, type ArtifactsNeeds } from "./features/artifacts/artifacts.ts";
import type { ObjectStore } from "./features/artifacts/object-store.ts";
import { Purge } from "./features/artifacts/purge.ts";
import { Events, type EventsNeeds } from "./features/events/events.ts";
import { EventFeed } from "./features/events/feed.ts";
import { Checks } from "./features/gates/checks.ts";
import { Gates } from "./features/gates/gates.ts";
import { Waivers } from "./features/gates/waivers.ts";
import { Reports } from "./features/reports/reports.ts";
import { Search } from "./features/search/search.ts";
import { Sessions, type SessionsNeeds } from "./features/sessions/sessions.ts";
import { Tasks } from "./features/tasks/tasks.ts";
import { wasRevokedSince } from "./features/tokens/store.ts";
import type { Ledger } from "./features/usage/ledger.ts";
import { Ticks } from "./features/usage/ticks.ts";
import type { Log } from "./platform/log.ts";
import type { Cursors } from "./platform/page.ts";
import type { WiringInput } from "./wiring.ts";
import type { Identity } from "./wiring-identity.ts";

export type Control = ReturnType<typeof assembleControl>;
export type Work = Awaited<ReturnType<typeof wireControl>>;

type WorkNeeds = {
  identity: Identity;
  ledger: Ledger;
  cursors: Cursors;
  /** Counts clusters: see `findEpoch`. */
  epoch: number;
  record: RecordAudit;
  objects: ObjectStore;
};

export async function wireControl(input: WiringInput, needs: WorkNeeds) {
  const { database, clock, log } = input;
  const { identity, ledger, cursors, record, objects } = needs;
  const feed = new EventFeed({ database, log });
  await feed.start();
  const told = () => feed.told();
  const announce = () => identity.revocations.announce();
  const changes = createChanges({ database, record, told, announce });
  const onRevoked: ApprovalsNeeds["onRevoked"] = (listener) => identity.feed.onRevoked(listener);
  const waitFor: ApprovalsNeeds["waitFor"] = (...asked) => feed.waitFor(...asked);
  const purge = new Purge({ database, changes, objects, log });
  const allowed = () => input.gateway().artifacts;
  const kept = { objects, purge, allowed };
  const control = assembleControl({ database, changes, cursors, clock, waitFor, onRevoked, ...kept });
  const keptMs = () => input.gateway().retention.eventsHours * 3_600_000;
  const isEnded: EventsNeeds["isEnded"] = (principal, since) =>
    wasRevokedSince(database.db, principal, since);
  const events = new Events({ ...needs, database, feed, clock, keptMs, onRevoked, isEnded });
  const ticks = new Ticks({ database, settled: ledger.settled, told, log });
  const expiry = keepExpiring(control.approvals, log);
  return {
    changes,
    control,
    purge,
    events,
    feed,
    ticks,
    async close() {
      expiry.stop();
      events.close();
      await ticks.close();
      await feed.close();
    },
  };
}

type ControlNeeds = Omit<SessionsNeeds, "evaluate"> & ApprovalsNeeds & ArtifactsNeeds;

function assembleControl(needs: ControlNeeds) {
  const gates = new Gates(needs);
  return {
    sessions: new Sessions({ ...needs, evaluate: (change, judged) => gates.evaluate(change, judged) }),
    tasks: new Tasks(needs),
    gates,
    checks: new Checks(needs),
    waivers: new Waivers(needs),
    reports: new Reports(needs),
    approvals: new Approvals(needs),
    artifacts: new Artifacts(needs),
    search: new Search(needs),
  };
}

/** Writes down which approvals are over their time. They are so before that, whoever asks. */
function keepExpiring(approvals: Approvals, log: Log) {
  const expire = () =>
    approvals
      .expireDue()
      .catch((error: unknown) => log.warn("what is over its time could not be written down", { error }));
  const timer = setInterval(() => void expire(), 5_000);
  return { stop: () => clearInterval(timer) };
}
