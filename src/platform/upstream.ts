/**
 * Tools of other MCP servers, as whoever offers them on needs to see them.
 */

/** A tool's definition on the wire (MCP 2026-07-28, `Tool`); what we do not know of it stays in it. */
export type ToolDefinition = {
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  readonly inputSchema: Readonly<Record<string, unknown>>;
  readonly outputSchema?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, unknown>>;
};

export type UpstreamTool = {
  /** `alias__tool`, 48 characters at most. */
  readonly name: string;
  readonly alias: string;
  /** As pinned, with the gateway's name for it. */
  readonly definition: ToolDefinition;
  /** SHA-256 of the canonical JSON of the pinned definition, hexadecimal. */
  readonly pin: string;
  /** False only where the pinned definition says `readOnlyHint: true`. */
  readonly writes: boolean;
};

/** What an upstream made of a call: its result as it came, or its JSON-RPC error. */
export type UpstreamAnswer =
  | { readonly kind: "result"; readonly result: Record<string, unknown>; readonly isError: boolean }
  | { readonly kind: "error"; readonly code: number; readonly message: string };

export type Upstreams = {
  /** What may be offered right now, by name; the same object until something changes. Never empty because one is dead. */
  offered(): ReadonlyMap<string, UpstreamTool>;
  /**
   * Calls it with these arguments and nothing else of the caller's; `caller` is whose share of the server it is. Throws `upstream_failed` (502), `upstream_timeout`
   * (504), `upstream_busy` and `upstream_unavailable` (503), `result_too_large` (502).
   */
  call(
    tool: UpstreamTool,
    args: Readonly<Record<string, unknown>>,
    asking: { caller: string; signal: AbortSignal; resultBytesMax: number; traceparent: string | null },
  ): Promise<UpstreamAnswer>;
  /** Calls back when `offered` answers something else; returns how to stop. */
  onChanged(listener: () => void): () => void;
};
