import type { Moves } from "../../platform/states.ts";

export const sessionStates = ["open", "completed", "failed", "cancelled"] as const;
export type SessionState = (typeof sessionStates)[number];

/** What is over may be opened again, and only so become something else. */
export const sessionMoves = {
  open: ["completed", "failed", "cancelled"],
  completed: ["open"],
  failed: ["open"],
  cancelled: ["open"],
} as const satisfies Moves<SessionState>;

export const iterationStates = ["running", "passed", "failed", "abandoned"] as const;
export type IterationState = (typeof iterationStates)[number];

/** What is over stays over: another try is another iteration. */
export const iterationMoves = {
  running: ["passed", "failed", "abandoned"],
  passed: [],
  failed: [],
  abandoned: [],
} as const satisfies Moves<IterationState>;

export const steps = [
  "SPEC",
  "PLAN",
  "TASKS",
  "IMPLEMENT",
  "SYNC_TASKS",
  "TEST_SUITE",
  "QUALITY_GATE",
] as const;
export type Step = (typeof steps)[number];
