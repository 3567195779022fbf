/** Ledger records as a call would write them; a test names only what it is about. */
import type { CloseRecord, EndRecord, StartRecord } from "../db/ledger.ts";
import { newId } from "../platform/ids.ts";

export function startRecord(over: Partial<StartRecord> = {}): StartRecord {
  return {
    t: "start",
    req: newId("req"),
    att: 1,
    at: new Date().toISOString(),
    endpoint: "chat/completions",
    requested_model: "fast",
    provider: "openai",
    model: "gpt-4o-mini",
    principal: "cli_a",
    user_id: null,
    client_id: "cli_a",
    key_id: null,
    project_id: null,
    session_id: null,
    iteration_id: null,
    task_id: null,
    tags: null,
    stream: true,
    trace_id: null,
    idempotency_key: null,
    prices: { input: 150_000_000, cached_read: 75_000_000, cache_write: 150_000_000, output: 600_000_000 },
    input_est: 100,
    hold: null,
    periods: null,
    ...over,
  };
}

export type EndOver = Partial<Omit<EndRecord, "close">> & { close?: Partial<CloseRecord> | null };

/** The END of that START. With no `close` named it is the request's last one and closes it alike. */
export function endRecord(start: { req: string; att: number }, over: EndOver = {}): EndRecord {
  const { close, ...rest } = over;
  const end = {
    t: "end" as const,
    req: start.req,
    att: start.att,
    state: "settled" as const,
    status: 200,
    error: null,
    usage: { input: 10, output: 20, cached_read: 0, cache_write: null, reasoning: null, audio: null },
    cost: 13_500,
    delivery: "whole" as const,
    first_token_ms: 40,
    duration_ms: 250,
    ...rest,
  };
  if (close === null) return { ...end, close };
  const { state, status, cost, delivery, duration_ms } = end;
  return { ...end, close: { state, status, cost, charged: cost, delivery, duration_ms, ...close } };
}
