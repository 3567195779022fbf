import type { Moves } from "../../platform/states.ts";

export const approvalStates = [
  "pending",
  "approved",
  "rejected",
  "expired",
  "withdrawn",
  "consumed",
  "revoked",
] as const;
export type ApprovalState = (typeof approvalStates)[number];

/** Every approval is asked for, decided at most once, and used at most once. The store moves rows by this table alone. */
export const approvalMoves = {
  pending: ["approved", "rejected", "expired", "withdrawn"],
  approved: ["consumed", "revoked", "expired"],
  rejected: [],
  expired: [],
  withdrawn: [],
  consumed: [],
  revoked: [],
} as const satisfies Moves<ApprovalState>;

export type NextState<From extends ApprovalState> = (typeof approvalMoves)[From][number];
