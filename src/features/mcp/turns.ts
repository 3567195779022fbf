/**
 * How many calls are at work at once, of one caller and of all: what reads the database takes its connections from
 * everybody, and one caller's hundred calls must not be everybody's wait.
 */
import { Failure } from "../../platform/failure.ts";
import { type TurnBounds, Turns } from "../../platform/turns.ts";

/** Of the ten connections some stay free for whoever only just comes. */
const usual = { atOnce: 5, allAtOnce: 16, waitMs: 10_000 } as const;

/** By caller. Who waits too long gets 429 `too_many_calls`. */
export const callTurns = (bounds: TurnBounds = usual): Turns =>
  new Turns({ ...bounds, refusal: () => tooManyCalls(bounds.atOnce) });

const tooManyCalls = (atOnce: number): Failure =>
  new Failure(
    "rate",
    "too_many_calls",
    `${atOnce} calls of one credential are worked on at once, and too many wait already. Try again in a moment.`,
    { retryAfterSeconds: 2 },
  );
