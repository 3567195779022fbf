/**
 * Ledger rows as the wire shows them: money as decimal strings, times in RFC 3339, what is not known as null.
 */
import { type PriceSnapshot, ratesFor } from "../../db/ledger.ts";
import { formatUsd } from "../../platform/money.ts";
import type { AttemptRow, Group, RequestRow, Summary, SummaryRow, Sums } from "./contract.ts";
import { addCounts, countsOf, percentile } from "./histogram.ts";
import type { AttemptRecord, RequestRecord } from "./store.ts";
import type { GroupRecord } from "./store-sums.ts";

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
    prices: priceTexts(row.prices, row.input),
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
    prices: priceTexts(row.prices, row.input),
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

/** With tiers, those of the tier that the call's input came to. */
function priceTexts(prices: PriceSnapshot | null, input: number | null): RequestRow["prices"] {
  if (prices === null) return null;
  const rates = ratesFor(prices, input ?? 0);
  return {
    input: formatUsd(rates.input),
    cached_read: formatUsd(rates.cached_read),
    cache_write: formatUsd(rates.cache_write),
    output: formatUsd(rates.output),
  };
}

/**
 * Each group with its name in a field of the group's own, and all of them together. `ofOneTag`: only calls with one
 * tag were summed.
 */
export function summarise(found: readonly GroupRecord[], by: readonly Group[], ofOneTag = false): Summary {
  const place = by.indexOf("tag");
  const isByTag = place >= 0 && !ofOneTag;
  const groups = found.map(counted);
  const data = (isByTag ? untagged(groups, by) : groups).map((group): SummaryRow => {
    const names = by.map((name, at) => [name, group.names[at] || null] as const);
    return { ...Object.fromEntries(names), ...sumOf([group]) };
  });
  // A call with two tags is in two groups, and still one call.
  const once = isByTag ? groups.filter(({ names }) => names[place] === "") : groups;
  return { data, totals: sumOf(once) };
}

type Counted = { names: string[]; sums: Record<SumName, bigint>; latency: number[]; firstToken: number[] };

function counted({ names, latency, first_token, ...sums }: GroupRecord): Counted {
  const big = (name: SumName) => [name, BigInt(sums[name])];
  return {
    names,
    sums: Object.fromEntries(sumNames.map(big)) as Counted["sums"],
    // Not as one long number: JavaScript is slow with those.
    latency: countsOf(latency),
    firstToken: countsOf(first_token),
  };
}

/** What stands under no tag's name is all calls: without those under `*`, which have some, it is those that have none. */
function untagged(found: readonly Counted[], by: readonly Group[]): Counted[] {
  const place = by.indexOf("tag");
  const keyOf = ({ names }: Counted) => JSON.stringify(names.toSpliced(place, 1));
  const tagged = new Map(found.filter(({ names }) => names[place] === "*").map((one) => [keyOf(one), one]));
  const groups = found
    .filter(({ names }) => names[place] !== "*")
    .map((group) => {
      const some = group.names[place] === "" ? tagged.get(keyOf(group)) : undefined;
      return some === undefined ? group : without(group, some);
    })
    .filter(({ sums }) => sums.requests > 0n);
  const time = by.findIndex((name) => name === "day" || name === "hour");
  const timeOf = ({ names }: Counted) => names[time] ?? "";
  return groups.sort((a, b) => compare(timeOf(a), timeOf(b)) || compare(b.sums.cost_nano, a.sums.cost_nano));
}

const compare = <One extends string | bigint>(a: One, b: One): number => (a < b ? -1 : a > b ? 1 : 0);

function without(all: Counted, some: Counted): Counted {
  const less = (name: SumName) => [name, all.sums[name] - some.sums[name]];
  const left = (counts: number[], taken: number[]) => {
    const rest = [...counts];
    addCounts(rest, taken, -1);
    return rest;
  };
  return {
    names: all.names,
    sums: Object.fromEntries(sumNames.map(less)) as Counted["sums"],
    latency: left(all.latency, some.latency),
    firstToken: left(all.firstToken, some.firstToken),
  };
}

function sumOf(groups: readonly Counted[]): Sums {
  const total = (name: SumName): bigint => groups.reduce((sum, { sums }) => sum + sums[name], 0n);
  const count = (name: SumName): number => Number(total(name));
  return {
    cost_usd: formatUsd(total("cost_nano")),
    charged_usd: formatUsd(total("charged_nano")),
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
    latency_ms: spread(groups.map(({ latency }) => latency)),
    first_token_ms: spread(groups.map(({ firstToken }) => firstToken)),
  };
}

function spread(histograms: readonly number[][]): Sums["latency_ms"] {
  const counts: number[] = [];
  for (const one of histograms) addCounts(counts, one);
  return { p50: percentile(counts, 0.5), p95: percentile(counts, 0.95) };
}

const sumNames = [
  "requests",
  "errors",
  "input",
  "output",
  "cached_read",
  "cache_write",
  "reasoning",
  "audio",
  "cost_nano",
  "charged_nano",
  "unknown_nano",
] as const satisfies readonly (keyof GroupRecord)[];
type SumName = (typeof sumNames)[number];
