/**
 * One connection to one upstream server, whatever it is made of.
 */
import type { ToolDefinition, UpstreamAnswer } from "../../platform/upstream.ts";

export type Link = {
  /** All pages of its list, each definition as it came. Throws a `Failure` when it is dead, slow, or says nonsense. */
  list(signal: AbortSignal): Promise<ToolDefinition[]>;
  /** `name` is the upstream's own. Throws as `Upstreams.call` does. */
  call(name: string, args: Readonly<Record<string, unknown>>, asking: LinkAsking): Promise<UpstreamAnswer>;
  /** Calls back when the server says that its list has changed. */
  onListChanged(listener: () => void): void;
  /** What an administrator is shown: which era it speaks, since when it is up or down, and why. */
  status(): LinkStatus;
  close(): Promise<void>;
};

export type LinkAsking = {
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
