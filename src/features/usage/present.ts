/**
 * Ledger rows as the wire shows them: money as decimal strings, times in RFC 3339, what is not known as null.
 */
import type { PriceSnapshot } from "../../db/ledger.ts";
import { formatUsd } from "../../platform/money.ts";
import type { AttemptRow, Group, RequestRow, Summary, SummaryRow, Sums } from "./contract.ts";
import { percentile } from "./histogram.ts";
import type { AttemptRecord, GroupRecord, RequestRecord } from "./store.ts";

export function requestRow(row: RequestRecord, attempts: AttemptRecord[]): RequestRow {
  return {
    id: row.id,
    state: row.state,
    at: row.at.toISOString(),
    endpoint: row.endpoint,
    requested_model: row.requestedModel,
    model: row.model,
    provider: row.provider,
    project_id: row.projectId,
    session_id: row.sessionId,
    iteration_id: row.iterationId,
    task_id: row.taskId,
    principal: row.principal,
    client_id: row.clientId,
    key_id: row.keyId,
    tags: row.tags,
    stream: row.stream,
    status: row.status,
    delivery: row.delivery,
    usage: tokens(row),
    cost_usd: usd(row.costNano),
    charged_usd: usd(row.chargedNano),
    prices: priceTexts(row.prices),
    attempts: attempts.map(attemptRow),
    first_token_ms: row.firstTokenMs,
    duration_ms: row.durationMs,
    trace_id: row.traceId,
  };
}

function attemptRow(row: AttemptRecord): AttemptRow {
  return {
    attempt: row.attempt,
    state: row.state,
    at: row.at.toISOString(),
    provider: row.provider,
    model: row.model,
    status: row.status,
    error: row.error,
    usage: tokens(row),
    cost_usd: usd(row.costNano),
    prices: priceTexts(row.prices),
    first_token_ms: row.firstTokenMs,
    duration_ms: row.durationMs,
  };
}

const usd = (nano: number | null): string | null => (nano === null ? null : formatUsd(nano));

const tokens = (row: RequestRecord | AttemptRecord): RequestRow["usage"] => ({
  input: row.input,
  output: row.output,
  cached_read: row.cachedRead,
  cache_write: row.cacheWrite,
  reasoning: row.reasoning,
  audio: row.audio,
});

const priceTexts = (prices: PriceSnapshot | null): RequestRow["prices"] =>
  prices === null
    ? null
    : {
        input: formatUsd(prices.input),
        cached_read: formatUsd(prices.cached_read),
        cache_write: formatUsd(prices.cache_write),
        output: formatUsd(prices.output),
      };

/** Each group with its name in a field of the group's own, and all of them together. */
export function summarise(found: GroupRecord[], by: readonly Group[]): Summary {
  const data = found.map((group): SummaryRow => {
    const names = by.map((name, at) => [name, group.names[at] || null] as const);
    return { ...Object.fromEntries(names), ...sumOf([group]) };
  });
  return { data, totals: sumOf(found) };
}

function sumOf(found: readonly GroupRecord[]): Sums {
  const total = (name: SumName): bigint => found.reduce((sum, group) => sum + BigInt(group[name]), 0n);
  const count = (name: SumName): number => Number(total(name));
  return {
    cost_usd: formatUsd(total("cost_nano")),
    unknown_usd: formatUsd(total("unknown_nano")),
    requests: count("requests"),
    errors: count("errors"),
    usage: {
      input: count("input"),
      output: count("output"),
      cached_read: count("cached_read"),
      cache_write: count("cache_write"),
      reasoning: count("reasoning"),
      audio: count("audio"),
    },
    latency_ms: percentiles(found.map((group) => group.latency)),
    first_token_ms: percentiles(found.map((group) => group.first_token)),
  };
}

type SumName = Exclude<keyof GroupRecord, "names" | "latency" | "first_token">;

function percentiles(histograms: (Record<string, number> | null)[]): Sums["latency_ms"] {
  const counts = new Map<number, number>();
  for (const [bucket, count] of histograms.flatMap((one) => Object.entries(one ?? {})))
    counts.set(Number(bucket), (counts.get(Number(bucket)) ?? 0) + count);
  return { p50: percentile(counts, 0.5), p95: percentile(counts, 0.95) };
}
