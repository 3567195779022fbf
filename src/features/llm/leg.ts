/**
 * What the steps of a call hand to each other: the call, which stays the same, and the attempt that is under way.
 */
import type { OpenedBy } from "../../platform/guard.ts";
import type { Account } from "./account.ts";
import type { Admission } from "./admit.ts";
import type { Pass } from "./breakers.ts";
import type { Tried } from "./choice.ts";
import type { Caller, Exchange } from "./exchange.ts";
import type { Subjects } from "./holds.ts";
import type { Route, Target } from "./route.ts";
import type { Wire } from "./wire.ts";

export type LlmCall = {
  readonly opened: OpenedBy;
  readonly admission: Admission;
  readonly route: Route;
  readonly wire: Wire;
  readonly account: Account;
  readonly subjects: Subjects;
  readonly caller: Caller;
  /** Whether the answer is for a client of Anthropic's. */
  readonly forAnthropic: boolean;
};

export type Leg = {
  readonly call: LlmCall;
  readonly target: Target;
  readonly exchange: Exchange;
  /** True when the gateway set `include_usage` and the caller did not ask. */
  readonly hideUsage: boolean;
  readonly body: Uint8Array<ArrayBuffer>;
  /** The breaker's permission; told once how it went. */
  readonly pass: Pass;
  /** Who was asked before. */
  readonly tried: readonly Tried[];
};
