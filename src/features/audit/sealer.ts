/**
 * Seals the audit log: five times a second one instance chains and signs every row that can no longer get company.
 *
 * A seal covers the transactions from where the last one ended up to the oldest that still runs; below that nothing can
 * appear any more, so nothing is ever skipped, and a transaction that stays open delays its successors' seals without
 * breaking them. There are no empty seals. One instance seals at a time; which one does not matter.
 */
import type { Database, Db } from "../../db/database.ts";
import type { Log } from "../../platform/log.ts";
import { hex, noSeal, sealHash } from "./canonical.ts";
import type { Heads } from "./heads.ts";
import type { SealKey } from "./seal-key.ts";
import {
  findHorizon,
  findLastSeal,
  hashRows,
  hasUnsealed,
  insertKey,
  insertSeal,
  lockSealing,
  type Seal,
} from "./store.ts";

export type Sealer = {
  /** Makes the key known and begins. */
  start(): Promise<void>;
  /** Seals now what can be sealed. */
  seal(): Promise<Seal | undefined>;
  stop(): Promise<void>;
};

export type SealerNeeds = {
  database: Pick<Database, "db" | "transaction">;
  epoch: number;
  key: SealKey;
  heads: Heads;
  log: Log;
};

const pauseMs = 200;

export function createSealer(needs: SealerNeeds): Sealer {
  let running: Promise<void> | undefined;
  let stopped = false;
  let wake = () => {};

  const seal = async (): Promise<Seal | undefined> => {
    if (!(await hasUnsealed(needs.database.db, needs.epoch))) return undefined;
    const made = await needs.database.transaction((tx) => sealRows(tx, needs));
    if (made === undefined) return undefined;
    await needs.heads.append(made);
    needs.log.debug("audit sealed", {
      epoch: made.epoch,
      no: made.no,
      rows: made.rows,
      hash: hex(made.hash),
    });
    return made;
  };
  const run = async (): Promise<void> => {
    let failing = false;
    while (!stopped) {
      try {
        await seal();
        failing = false;
      } catch (error) {
        if (!failing) needs.log.warn("the audit log cannot be sealed right now", { error });
        failing = true;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const timer = setTimeout(resolve, pauseMs);
      if (!stopped) await promise;
      clearTimeout(timer);
    }
  };
  return {
    async start() {
      await insertKey(needs.database.db, needs.key);
      running ??= run();
    },
    seal,
    async stop() {
      stopped = true;
      wake();
      await running;
    },
  };
}

async function sealRows(tx: Db, needs: SealerNeeds): Promise<Seal | undefined> {
  if (!(await lockSealing(tx))) return undefined;
  const { epoch, key } = needs;
  // The horizon first, the rows after it: each statement sees more than the one before, and the rows below the horizon
  // were all decided when it was read.
  const toXid = await findHorizon(tx);
  const last = await findLastSeal(tx, epoch);
  const fromXid = last?.toXid ?? "0";
  const { rows, rowsHash, at } = await hashRows(tx, { epoch, from: fromXid, to: toXid });
  if (rows === 0) return undefined;
  const head = {
    epoch,
    no: (last?.no ?? 0) + 1,
    at,
    fromXid,
    toXid,
    rows,
    prevHash: last?.hash ?? noSeal(),
    keyId: key.id,
  };
  const hash = sealHash(head, rowsHash);
  const seal = { ...head, hash, signature: key.sign(hash) };
  await insertSeal(tx, seal);
  return seal;
}
