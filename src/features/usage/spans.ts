/**
 * Which roll-ups answer a question: whole months and days where they are folded, hours at the edges, and of the levels
 * the one with the fewest dimensions that has all that were asked for.
 *
 * Hours are never taken away, so an old answer to how far days are folded costs time and never truth.
 */

export type Grain = "hour" | "day" | "month";

/** Null: from the beginning, or without an end. */
export type Piece = { readonly grain: Grain; readonly from: Date | null; readonly to: Date | null };

/** What a question names besides time; `tag` stands in all roll-ups. */
export type Dimension =
  | "provider"
  | "model"
  | "project"
  | "user"
  | "client"
  | "session"
  | "iteration"
  | "task"
  | "key";

export type Level = "totals" | "models" | "projects" | "callers" | "all";

/** The least that a day or a month must be kept by; the hours have everything. */
export function levelOf(named: Iterable<Dimension>): Level {
  const dimensions = new Set(named);
  const has = (...names: Dimension[]) => names.some((name) => dimensions.has(name));
  if (has("session", "iteration", "task", "key")) return "all";
  if (has("user", "client")) return "callers";
  if (has("project")) return "projects";
  return has("model", "provider") ? "models" : "totals";
}

export type Span = { readonly from: Date | undefined; readonly to: Date | undefined };

/** In the order of time, without a gap and without a moment twice. `finest`: what the answer is told by. */
export function piecesOf({ from, to }: Span, finest: Grain, foldedUntil: Date | null): Piece[] {
  const start = from === undefined ? null : floor("hour", from);
  const end = to === undefined ? null : ceil("hour", to);
  if (start !== null && end !== null && start >= end) return [];
  const days = { from: start && ceil("day", start), to: earliest(end && floor("day", end), foldedUntil) };
  if (finest === "hour" || days.to === null || !isSome(days.from, days.to))
    return [{ grain: "hour", from: start, to: end }];
  const pieces: Piece[] = [
    { grain: "hour", from: start, to: days.from },
    ...(finest === "day" ? [{ grain: "day" as const, ...days }] : monthsOf(days.from, days.to)),
    { grain: "hour", from: days.to, to: end },
  ];
  return pieces.filter((piece) => (piece.from ?? piece.to) !== null && isSome(piece.from, piece.to));
}

function monthsOf(from: Date | null, to: Date): Piece[] {
  const months = { from: from && ceil("month", from), to: floor("month", to) };
  if (!isSome(months.from, months.to)) return [{ grain: "day", from, to }];
  return [
    ...(from === null ? [] : [{ grain: "day" as const, from, to: months.from }]),
    { grain: "month", ...months },
    { grain: "day", from: months.to, to },
  ];
}

const isSome = (from: Date | null, to: Date | null): boolean => from === null || to === null || from < to;

/** Nothing is folded when `folded` is null. */
const earliest = (end: Date | null, folded: Date | null): Date | null =>
  end === null || folded === null ? folded : end < folded ? end : folded;

function floor(grain: Grain, time: Date): Date {
  const [year, month, day, hour] = [
    time.getUTCFullYear(),
    time.getUTCMonth(),
    grain === "month" ? 1 : time.getUTCDate(),
    grain === "hour" ? time.getUTCHours() : 0,
  ];
  return utc(year, month, day, hour);
}

function ceil(grain: Grain, time: Date): Date {
  const floored = floor(grain, time);
  if (floored.getTime() === time.getTime()) return time;
  const [year, month, day] = [floored.getUTCFullYear(), floored.getUTCMonth(), floored.getUTCDate()];
  if (grain === "month") return utc(year, month + 1, 1, 0);
  if (grain === "day") return utc(year, month, day + 1, 0);
  return new Date(floored.getTime() + 3_600_000);
}

/** Not `Date.UTC`, which reads the years before 100 as of the last century. */
function utc(year: number, month: number, day: number, hour: number): Date {
  const time = new Date(0);
  time.setUTCFullYear(year, month, day);
  time.setUTCHours(hour);
  return time;
}
