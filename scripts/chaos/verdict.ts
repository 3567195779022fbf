/**
 * Holds the gateway's rows against the provider's own books and against what the caller heard, call by call. It says what
 * is wrong in words; an empty list is what is wanted.
 */
import { type Received, wordsIn } from "../../src/testing/provider.ts";
import type { Row, Usage } from "../smoke/caller.ts";
import type { Heard } from "./calls.ts";
import type { Plan } from "./plans.ts";

export type Outcome = {
  /** What the books say wrongly. */
  wrong: string[];
  /** For the figures: how the call ended, in one word. */
  kind: string;
};

export function judge(heard: Heard, received: readonly Received[], rows: readonly Row[]): Outcome {
  const { plan } = heard;
  const wrong: string[] = [];
  const [row] = rows;
  const name = `${plan.key.slice(0, 8)} ${plan.endpoint}${plan.stream ? " stream" : ""} ${plan.model} ${plan.acts}${heard.left ? " left" : ""}`;
  const say = (words: string): void => void wrong.push(`${name}: ${words}`);

  if (row === undefined) {
    // Refused before anything was sent, or left before anything was.
    const isQuiet = received.length === 0 && (heard.left || (heard.status ?? 0) >= 400);
    if (!isQuiet)
      say(`no row; ${received.length} attempts reached the provider, the caller heard ${heard.status}`);
    return { wrong, kind: heard.left ? "left before it was sent" : `refused with ${heard.status}` };
  }
  if (rows.length > 1) say(`${rows.length} rows`);
  if (heard.requestId !== null && row.id !== heard.requestId)
    say(`row ${row.id}, but the caller was told ${heard.requestId}`);
  if (row.state === "open") say("still open");
  attempts(heard, received, row, say);
  const last = received.at(-1);
  if (last !== undefined) wholeAnswer(heard, last, row, say);
  money(row, say);
  return { wrong, kind: row.state };
}

type Say = (words: string) => void;
type Attempt = Row["attempts"][number];

function attempts(heard: Heard, received: readonly Received[], row: Row, say: Say): void {
  // A provider that refuses every connection keeps no books.
  const sent = row.attempts.filter(({ provider }) => provider !== "gone");
  const mayBeMore = heard.left ? 1 : 0;
  if (sent.length < received.length || sent.length > received.length + mayBeMore) {
    say(
      `${sent.length} attempts in the row (${row.attempts.map(({ state, status }) => `${state} ${status}`)}), ` +
        `${received.length} at the provider (${received.map(({ ending, status }) => `${ending} ${status}`)})`,
    );
    return;
  }
  for (const [index, entry] of received.entries()) {
    const attempt = sent[index] as Attempt;
    const isLast = index === received.length - 1;
    one(heard, entry, attempt, isLast, (words) => say(`attempt ${index + 1}: ${words}`));
  }
  const gone = row.attempts.filter(({ provider }) => provider === "gone");
  for (const { state } of gone)
    if (state !== "failed" && !heard.left) say(`${state}, but nothing could be sent`);
}

function one(heard: Heard, entry: Received, attempt: Attempt, isLast: boolean, say: Say): void {
  const { plan } = heard;
  const left = heard.left && isLast;
  const told = isCounting(plan) ? zeros : usageOf(entry);
  const status = entry.status;
  if (status === null) {
    const states = left ? ["unknown", "estimated", "failed"] : ["unknown"];
    if (!states.includes(attempt.state)) say(`${attempt.state}, but the provider hung up without a word`);
  } else if (status >= 400) {
    // One who left in that moment may have left before the refusal was read.
    const states = left ? ["failed", "unknown", "estimated"] : ["failed"];
    if (!states.includes(attempt.state)) say(`${attempt.state} after a ${status}`);
  } else if (entry.ending === "whole" && told !== null && !left) {
    if (attempt.state !== "settled") say(`${attempt.state}, but the provider told its usage`);
    if (!sameUsage(attempt.usage, told))
      say(`usage ${Bun.inspect(attempt.usage)}, but the provider told ${Bun.inspect(told)}`);
  } else if (attempt.state === "settled") {
    if (told === null) say("settled, but the provider told no usage");
    else if (!sameUsage(attempt.usage, told)) say(`settled with ${Bun.inspect(attempt.usage)}`);
  } else if (attempt.state === "estimated") estimate(heard, entry, attempt, isLast, say);
  // Of a document that came torn nobody knows anything, nor of a stream that broke before its first byte was read.
  else if (!left && (attempt.state !== "unknown" || (plan.stream && attempt.first_token_ms !== null)))
    say(`${attempt.state}, after ${entry.ending} with ${entry.words} words`);
}

/**
 * No less than was heard and no more than was sent; each word is one token at least and three at most. What came with the
 * end of a connection may have been lost on the way.
 */
function estimate(heard: Heard, entry: Received, { usage }: Attempt, isLast: boolean, say: Say): void {
  const { input, output } = usage;
  if (output === null) {
    say("estimated without a number");
    return;
  }
  const text = new TextDecoder().decode(heard.body);
  const least = isLast && heard.status === 200 && heard.plan.stream ? wordsIn(text) : 0;
  if (output < least || output > 3 * entry.words + 1)
    say(`${output} tokens counted of ${entry.words} words, ${least} of them heard`);
  const told = entry.reported.input;
  if (told !== undefined && isLast && text.includes("event: message_start") && input !== told)
    say(`input ${input}, but the provider told ${told}`);
}

function wholeAnswer(heard: Heard, last: Received, row: Row, say: Say): void {
  const { plan } = heard;
  if (!heard.whole || heard.status !== 200) return;
  if (last.ending === "whole") {
    if (row.delivery !== "whole") say(`heard whole, but delivery is ${row.delivery}`);
    const hides = plan.stream && !plan.asksUsage && plan.endpoint.endsWith("completions");
    const sent = new TextDecoder().decode(last.sentBody);
    const wanted = hides ? sent.replace(/data: \{[^\n]*"choices":\[\],"usage":[^\n]*\n\n/, "") : sent;
    if (new TextDecoder().decode(heard.body) !== wanted) say("what was heard is not what was sent");
  } else if (row.delivery === "whole") say(`delivery is whole, but the provider was ${last.ending}`);
}

/** At 1, 0.1, 1.25 and 2 USD per million tokens. */
function money(row: Row, say: Say): void {
  let sum = 0;
  for (const { state, usage, cost_usd } of row.attempts) {
    const wanted = state === "failed" ? 0 : costOf(usage);
    if (state !== "unknown" && nano(cost_usd) !== wanted)
      say(`${state} at ${cost_usd}, would be ${wanted} nano-USD`);
    sum += nano(cost_usd) ?? 0;
  }
  if (row.state !== "unknown" && nano(row.cost_usd) !== sum)
    say(`costs ${row.cost_usd}, its attempts ${sum} nano-USD`);
}

function costOf({ input, output, cached_read, cache_write }: Usage): number {
  const [cached, written] = [cached_read ?? 0, cache_write ?? 0];
  return ((input ?? 0) - cached - written) * 1_000 + cached * 100 + written * 1_250 + (output ?? 0) * 2_000;
}

export const nano = (usd: string | null): number | null =>
  usd === null ? null : Math.round(Number(usd) * 1e9);

const isCounting = ({ endpoint }: Plan): boolean => endpoint === "messages/count_tokens";
const zeros = { input: 0, output: 0 };

function usageOf({ reported }: Received): { input: number; output: number; cached_read?: number } | null {
  const { input, output, cached_read } = reported;
  if (input === undefined || output === undefined) return null;
  return { input, output, ...(cached_read === undefined ? {} : { cached_read }) };
}

const sameUsage = (found: Usage, told: { input: number; output: number; cached_read?: number }): boolean =>
  found.input === told.input &&
  found.output === told.output &&
  (told.cached_read === undefined || (found.cached_read ?? 0) === told.cached_read);
