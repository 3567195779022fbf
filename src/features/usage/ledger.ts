/**
 * The books of one boot, whole: what earlier boots left open is closed, the journal is open, the drain runs.
 *
 * With SPECGATE_JOURNAL=database there is no journal: Postgres itself is what a call waits for.
 */
import { mkdirSync } from "node:fs";
import type { Database } from "../../db/database.ts";
import type { Clock } from "../../platform/clock.ts";
import type { DataDir } from "../../platform/data-dir.ts";
import { Failure } from "../../platform/failure.ts";
import { openJournal } from "../../platform/journal/journal.ts";
import { recoverJournal } from "../../platform/journal/recovery.ts";
import type { Log } from "../../platform/log.ts";
import { type Books, databaseBooks, diskBooks } from "./books.ts";
import { closeLost } from "./boot.ts";
import { createDrain } from "./drain.ts";
import { settleOlderHolds } from "./lost-holds.ts";
import type { Notes } from "./merge.ts";
import { closeForgotten } from "./watermarks.ts";

export type Ledger = {
  readonly books: Books;
  /**
   * Keeps what others note: resolves when it is durable, and is refused as a START is. Null without a journal: then they
   * write to the database themselves.
   */
  readonly note: ((json: string) => Promise<void>) | null;
  /** Rejects when a call could not be written down now. */
  check(): Promise<void>;
  /** What an operator should know. */
  warnings(): string[];
  /** Durable records that the database does not have yet. */
  lag(): { records: number; seconds: number };
  counts(): { started: number; ended: number };
  /** Resolves when everything durable now is in the database. */
  settled(): Promise<void>;
  close(): Promise<void>;
};

export type LedgerNeeds = {
  mode: "disk" | "database";
  dir: DataDir;
  database: Database;
  boot: { instance: string; epoch: number; bootId: string };
  /** What is noted beside the calls, and where the drain takes it. */
  notes: Notes;
  clock: Clock;
  log: Log;
};

/** How long a stop waits for the database to take what the journal holds; the rest is drained at the next start. */
const partingMs = 5_000;

export function openLedger(needs: LedgerNeeds): Promise<Ledger> {
  return needs.mode === "disk" ? openDiskLedger(needs) : openDatabaseLedger(needs);
}

async function openDiskLedger({ dir, database, boot, notes, clock, log }: LedgerNeeds): Promise<Ledger> {
  const { instance, epoch, bootId } = boot;
  const journalDir = dir.file("journal");
  mkdirSync(journalDir, { recursive: true, mode: 0o700 });
  const recovered = await recoverJournal(journalDir, instance);
  for (const damage of recovered.corrupt)
    log.error("the journal is damaged; what is sound was kept", { ...damage });
  const journal = await openJournal({ dir: journalDir, instance, epoch, bootId, log });
  const closed = await closeLost(recovered.open, journal);
  if (closed > 0) log.warn("calls of an earlier run had no end; they are kept as unknown", { calls: closed });
  const { books, counts } = counted(diskBooks(journal));
  const drain = createDrain({
    sql: database.sql,
    owner: { instance, epoch },
    bootId,
    journal,
    recovered,
    notes,
    clock,
    log,
  });
  drain.start();
  return {
    books,
    note: async (json) => await journal.note(json).durable,
    counts,
    lag: () => drain.lag(),
    settled: () => drain.settled(),
    warnings: () =>
      recovered.corrupt.some(({ kind }) => kind === "hole")
        ? ["the journal had damage at the last start; a copy was kept"]
        : [],
    async check() {
      const { up, reason } = journal.status();
      if (!up) throw new Failure("unavailable", "journal_unavailable", reason ?? "the journal is closed");
    },
    async close() {
      await Promise.race([drain.settled(), Bun.sleep(partingMs)]).catch(() => {});
      await drain.stop();
      await journal.close();
    },
  };
}

async function openDatabaseLedger({ database, boot, log }: LedgerNeeds): Promise<Ledger> {
  const owner = { instance: boot.instance, epoch: boot.epoch };
  const closed = await closeForgotten(database.sql, owner);
  if (closed > 0) log.warn("calls of an earlier run had no end; they are kept as unknown", { calls: closed });
  const { dropped, charged } = await settleOlderHolds(database.sql, owner, boot.bootId);
  if (dropped + charged > 0) log.info("an earlier run held money", { dropped, charged });
  const kept = databaseBooks({ sql: database.sql, owner, log });
  const { books, counts } = counted(kept);
  return {
    books,
    note: null,
    counts,
    lag: () => ({ records: 0, seconds: 0 }),
    settled: async () => {},
    warnings: () => [],
    check: async () => {},
    close: () => kept.close(),
  };
}

function counted(books: Books): { books: Books; counts: () => { started: number; ended: number } } {
  let started = 0;
  let ended = 0;
  return {
    counts: () => ({ started, ended }),
    books: {
      start(record) {
        const ticket = books.start(record);
        started++;
        return ticket;
      },
      end(record) {
        ended++;
        return books.end(record);
      },
    },
  };
}
