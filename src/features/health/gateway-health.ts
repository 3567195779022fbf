/**
 * What makes this gateway ready, what an operator should know, and what is counted.
 */
import type { Database } from "../../db/database.ts";
import { Health } from "./health.ts";

export type GatewayHealthNeeds = {
  database: Pick<Database, "ping">;
  version: string;
  fetchesMax: number;
  residentBytes: () => number;
  /** Further warnings. */
  warnings: () => string[];
  ledger: {
    check(): Promise<void>;
    warnings(): string[];
    lag(): { records: number; seconds: number };
    counts(): { started: number; ended: number };
  };
  /** Where artifacts are. */
  objects: { check(): Promise<void> };
  streamsOpen: () => number;
};

const lagSecondsMax = 5;

export function createHealth(needs: GatewayHealthNeeds): Health {
  const { database, version, warnings, fetchesMax, ledger, objects } = needs;
  return new Health({
    version,
    fetchesMax,
    checks: [
      { name: "database", check: () => database.ping(2_000) },
      { name: "storage", check: () => objects.check() },
      { name: "journal", check: ledger.check },
    ],
    warnings: () => {
      const { records, seconds } = ledger.lag();
      const late =
        seconds > lagSecondsMax
          ? [`${records} ledger records have waited ${Math.round(seconds)} s for the database`]
          : [];
      return [...warnings(), ...ledger.warnings(), ...late];
    },
    metrics: metricsOf(needs),
  });
}

const metricsOf = ({ ledger, streamsOpen, residentBytes }: GatewayHealthNeeds) => [
  {
    name: "specgate_streams_open",
    help: "LLM streams open now.",
    type: "gauge" as const,
    read: streamsOpen,
  },
  {
    name: "specgate_calls_started_total",
    help: "LLM calls written to the journal since the start.",
    type: "counter" as const,
    read: () => ledger.counts().started,
  },
  {
    name: "specgate_calls_ended_total",
    help: "LLM calls whose end was written to the journal since the start.",
    type: "counter" as const,
    read: () => ledger.counts().ended,
  },
  {
    name: "specgate_ledger_lag_records",
    help: "Durable records that the database does not have yet.",
    type: "gauge" as const,
    read: () => ledger.lag().records,
  },
  {
    name: "specgate_ledger_lag_seconds",
    help: "How long the oldest of them has waited.",
    type: "gauge" as const,
    read: () => ledger.lag().seconds,
  },
  {
    name: "process_resident_memory_bytes",
    help: "Resident memory.",
    type: "gauge" as const,
    read: residentBytes,
  },
];
