/**
 * State machines, each a table: from every state, the states it may go to. Pure, so that a property can walk all of them.
 */
import { Failure } from "./failure.ts";

export type Moves<State extends string> = Readonly<Record<State, readonly State[]>>;

/** To stay is always allowed and changes nothing. */
export const mayMove = <State extends string>(moves: Moves<State>, from: State, to: State): boolean =>
  from === to || moves[from].includes(to);

/** Throws 409 `invalid_transition`, naming what would be allowed. */
export function requireMove<State extends string>(
  moves: Moves<State>,
  what: string,
  from: State,
  to: State,
): void {
  if (!mayMove(moves, from, to)) throw invalidTransition(moves, what, from, to);
}

/** As text, for whoever collects several mistakes. */
export function whyNoMove<State extends string>(moves: Moves<State>, from: State, to: State): string {
  const allowed = moves[from];
  const then = allowed.length === 0 ? "stays as it is" : `may become ${allowed.join(", ")}`;
  return `${from} cannot become ${to}; what is ${from} ${then}.`;
}

const invalidTransition = <State extends string>(moves: Moves<State>, what: string, from: State, to: State) =>
  new Failure(
    "conflict",
    "invalid_transition",
    `This ${what} cannot do that: ${whyNoMove(moves, from, to)}`,
    {
      members: { from, to, allowed: moves[from] },
    },
  );
