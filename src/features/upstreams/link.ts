/**
 * One connection to one upstream server, whatever it is made of.
 */
import type { UpstreamConfig } from "../../platform/config.ts";
import type { UpstreamAnswer } from "../../platform/upstream.ts";

export type Link = {
  /** All pages of its list, each definition as it came, whatever it is. Throws a `Failure` when it is dead, slow, or says nonsense. */
  list(signal: AbortSignal): Promise<unknown[]>;
  /** `name` is the upstream's own. Throws as `Upstreams.call` does. */
  call(name: string, args: Readonly<Record<string, unknown>>, asking: LinkAsking): Promise<UpstreamAnswer>;
  /** Calls back when the server says that its list has changed. */
  onListChanged(listener: () => void): void;
  /** What an administrator is shown: which era it speaks, since when it is up or down, and why. */
  status(): LinkStatus;
  /** From now on; the way stays. */
  adopt(limits: LinkLimits): void;
  /** Takes no more calls, lets those under way come to their end, and closes. */
  retire(): Promise<void>;
  close(): Promise<void>;
};

export type LinkLimits = Pick<UpstreamConfig, "timeoutMs" | "resultBytesMax" | "callsMax">;

export type LinkAsking = {
  /** Who calls: what one of them does must not take the server from the others. The server is not told. */
  readonly caller: string;
  readonly signal: AbortSignal;
  readonly resultBytesMax: number;
  readonly traceparent: string | null;
};

export type LinkStatus = {
  readonly state: "up" | "down" | "unknown";
  readonly era: "modern" | "legacy" | null;
  /** Public: no secret, no address beyond the configured one. */
  readonly reason: string | null;
  readonly since: Date | null;
};
