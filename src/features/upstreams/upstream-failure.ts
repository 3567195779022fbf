/**
 * What can go wrong with a server behind this one, in the five codes that callers are told.
 *
 * Nothing of what the server sent stands in a message, and no secret: its own words reach a caller only as an answer that
 * was taken for one. A sick server is one that does not answer; a refusal, or an answer that is no good, is not sickness.
 */
import { Failure, type FailureKind, type FailureMore } from "../../platform/failure.ts";
import type { RpcAnswer } from "./rpc.ts";

export class UpstreamFailure extends Failure {
  /** Whether it says that the server is ill, which the breaker counts. */
  readonly isSick: boolean;

  constructor(
    kind: FailureKind,
    code: string,
    message: string,
    more: FailureMore & { isSick?: boolean } = {},
  ) {
    super(kind, code, message, more);
    this.isSick = more.isSick === true;
  }
}

/** Thrown when the server did nothing, because it no longer knows how it was spoken to: to ask anew is safe. */
export class LineOver extends UpstreamFailure {
  /** The error that said so, if one did. */
  readonly answer: RpcAnswer | null;

  constructor(what: string, answer: RpcAnswer | null) {
    super("upstream", "upstream_failed", what);
    this.answer = answer;
  }
}

export const lineOver = (what: string, answer: RpcAnswer | null = null): LineOver =>
  new LineOver(what, answer);

/** The server broke off, or answered 5xx. */
export const broken = (what: string, cause?: unknown): UpstreamFailure =>
  new UpstreamFailure("upstream", "upstream_failed", `The upstream server ${what}.`, { cause, isSick: true });

/** The server answered, and the answer is no good. */
export const nonsense = (what: string, cause?: unknown): UpstreamFailure =>
  new UpstreamFailure("upstream", "upstream_failed", `The upstream server ${what}.`, { cause });

/** Nothing was sent. */
export const unavailable = (what: string, retryMs: number, cause?: unknown): UpstreamFailure =>
  new UpstreamFailure("unavailable", "upstream_unavailable", `The upstream server ${what}.`, {
    cause,
    retryAfterSeconds: Math.max(1, Math.ceil(retryMs / 1_000)),
  });

export const unreachable = (cause: unknown, what = "takes no connection"): UpstreamFailure =>
  new UpstreamFailure("unavailable", "upstream_unavailable", `The upstream server ${what}.`, {
    cause,
    retryAfterSeconds: 5,
    isSick: true,
  });

export const late = (timeoutMs: number): UpstreamFailure =>
  new UpstreamFailure(
    "upstream_timeout",
    "upstream_timeout",
    `The upstream server did not answer within ${timeoutMs} ms. Whether it did what was asked is not known.`,
    { isSick: true },
  );

export const busy = (what: string, retryAfterSeconds = 1): UpstreamFailure =>
  new UpstreamFailure("unavailable", "upstream_busy", what, { retryAfterSeconds });

export const tooLarge = (bytesMax: number): UpstreamFailure =>
  new UpstreamFailure(
    "upstream",
    "result_too_large",
    `The upstream server's answer is larger than ${bytesMax} bytes. Ask it for less, such as a page.`,
  );

export const needsInput = (): UpstreamFailure =>
  new UpstreamFailure(
    "upstream",
    "upstream_needs_input",
    "The upstream server asks for input or for a model in the middle of the call, which the gateway does not pass on.",
  );

/** It was asked, and nobody waits for its answer any more. */
export const cutOff = (): UpstreamFailure =>
  new UpstreamFailure(
    "upstream",
    "upstream_failed",
    "The gateway ended its connection to the upstream server in the middle of the call. Whether it did what was asked is not known.",
  );

/** Nothing was sent. */
export const closed = (): UpstreamFailure =>
  new UpstreamFailure("unavailable", "upstream_unavailable", "The upstream server is being disconnected.", {
    retryAfterSeconds: 1,
  });
