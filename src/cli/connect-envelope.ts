/** What a bridge must know of a message to carry it; all else is between the two ends. */
export type RpcId = string | number;

export type Envelope = {
  readonly value: Record<string, unknown>;
  readonly method: string | null;
  /** Undefined for a notification, an answer, and whatever is neither. */
  readonly id: RpcId | undefined;
  /** Of the modern era, where every request says it. */
  readonly modernVersion: string | null;
  /** What the header `Mcp-Name` repeats. */
  readonly name: string | null;
  readonly tool: string | null;
};

const versionKey = "io.modelcontextprotocol/protocolVersion";

/** Null for what is no JSON object. */
export function openEnvelope(line: string): Envelope | null {
  const value = parse(line);
  if (value === null) return null;
  const { method, id, params } = value;
  const given = typeof params === "object" && params !== null ? (params as Record<string, unknown>) : {};
  const name = text(given.name) ?? text(given.uri);
  return {
    value,
    method: text(method),
    id: typeof method === "string" && (typeof id === "string" || typeof id === "number") ? id : undefined,
    modernVersion: modernVersionOf(given),
    name,
    tool: method === "tools/call" ? text(given.name) : null,
  };
}

export function eraOf(value: Record<string, unknown>): "modern" | "legacy" | null {
  if (typeof value.method !== "string") return null;
  return modernVersionOf((value.params ?? {}) as Record<string, unknown>) === null ? "legacy" : "modern";
}

function modernVersionOf({ _meta }: Record<string, unknown>): string | null {
  if (typeof _meta !== "object" || _meta === null) return null;
  return text((_meta as Record<string, unknown>)[versionKey]);
}

const text = (value: unknown): string | null => (typeof value === "string" ? value : null);

function parse(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
