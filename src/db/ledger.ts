/**
 * The ledger's records, as the journal holds them and as Postgres merges them.
 *
 * START is written before a call is sent, END when an attempt is over; the last END carries the request's CLOSE.
 * A record is merged by its key and its state's rank, so order and repetition do not matter:
 * open < unknown < {settled, estimated, failed}; the first final state wins and nothing replaces it. A row is `open`
 * while in flight and `unknown` when it was sent and nobody knows how it ended.
 */
export const finalStates = ["settled", "estimated", "failed"] as const;
export type FinalState = (typeof finalStates)[number];
/** `whole`: the caller got the last byte. `cut`: it left, or the stream broke. `none`: nothing was sent to it. */
export type Delivery = "whole" | "cut" | "none";

/** Tokens. Null: the provider did not say; zero: it said zero. `cached_read` and `cache_write` are parts of `input`. */
export type Usage = {
  input: number | null;
  output: number | null;
  cached_read: number | null;
  cache_write: number | null;
  reasoning: number | null;
  audio: number | null;
  /** Parts with a price of their own: of `cache_write` what is kept for an hour, of `input` and `output` what is audio. */
  cache_write_long?: number | null;
  audio_input?: number | null;
  audio_output?: number | null;
};

/** Unit prices in nano-USD per million tokens; a part without a rate of its own has that of the whole. */
export type Rates = {
  input: number;
  cached_read: number;
  cache_write: number;
  output: number;
  cache_write_long?: number;
  audio_input?: number;
  audio_output?: number;
};

/**
 * The prices of one model, kept with the row so that history never changes. A call with more than `above` input tokens
 * has the rates of that tier, all of its tokens; the tiers ascend.
 */
export type PriceSnapshot = Rates & { tiers?: readonly (Rates & { above: number })[] };

/** The rates of a call with so many input tokens. */
export function ratesFor(prices: PriceSnapshot, inputTokens: number): Rates {
  return prices.tiers?.findLast(({ above }) => inputTokens > above) ?? prices;
}

export type StartRecord = {
  t: "start";
  req: string;
  /** 1, 2, 3 … within the request. */
  att: number;
  /** RFC 3339. */
  at: string;
  endpoint: string;
  requested_model: string;
  provider: string;
  model: string;
  principal: string;
  user_id: string | null;
  client_id: string | null;
  key_id: string | null;
  project_id: string | null;
  session_id: string | null;
  iteration_id: string | null;
  task_id: string | null;
  tags: Record<string, string> | null;
  stream: boolean;
  trace_id: string | null;
  idempotency_key: string | null;
  prices: PriceSnapshot | null;
  /** An upper guess of the input tokens, made before anything is known. */
  input_est: number;
  /** Nano-USD held by hard budgets for this attempt, and the periods it is held in; null without a hard budget. */
  hold: number | null;
  periods: string[] | null;
};

export type EndRecord = {
  t: "end";
  req: string;
  att: number;
  state: "unknown" | FinalState;
  /** The provider's HTTP status; null when none came. */
  status: number | null;
  /** Why it failed, as a code of the contract; null when it did not. */
  error: string | null;
  usage: Usage | null;
  /** Nano-USD; null when the price or the usage is not known. */
  cost: number | null;
  delivery: Delivery;
  first_token_ms: number | null;
  duration_ms: number;
  /** What the provider keeps of this call and a later one may refer to: ids of responses, containers, audio. */
  kept?: string[];
  /** Present on the last attempt's END: how the whole request ended. `status` is what the caller was sent. */
  close: CloseRecord | null;
};

export type CloseRecord = {
  state: "unknown" | FinalState;
  status: number | null;
  cost: number | null;
  /** Nano-USD charged to budgets: the model's own price where the cost is not known, and under a hard one perhaps the hold. */
  charged: number | null;
  delivery: Delivery;
  duration_ms: number;
};

/** Written for an attempt whose END will not come. `periods` where its START may never come either. */
export type LostRecord = {
  t: "lost";
  req: string;
  att: number;
  charged: number | null;
  periods?: string[];
};

export type LedgerRecord = StartRecord | EndRecord | LostRecord;
