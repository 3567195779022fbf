import type { Moves } from "../../platform/states.ts";

export const taskStates = ["planned", "doing", "blocked", "done", "cancelled"] as const;
export type TaskState = (typeof taskStates)[number];

/** What is over is taken up again before something can stand in its way. */
export const taskMoves = {
  planned: ["doing", "blocked", "done", "cancelled"],
  doing: ["planned", "blocked", "done", "cancelled"],
  blocked: ["planned", "doing", "done", "cancelled"],
  done: ["planned", "doing", "cancelled"],
  cancelled: ["planned", "doing", "done"],
} as const satisfies Moves<TaskState>;
