/** What a bridge must know of a message to carry it; all else is between the two ends. */
export type RpcId = string | number;

/** A line of the app's. */
export type Envelope = {
  readonly value: Readonly<Record<string, unknown>>;
  readonly method: string | null;
  /** Undefined where no answer is owed; null where one is, under an id that none can carry. */
  readonly id: RpcId | null | undefined;
  /** Of the modern era, where every request says it. */
  readonly modernVersion: string | null;
  /** What the header `Mcp-Name` repeats. */
  readonly name: string | null;
  readonly tool: string | null;
};

/** What the gateway sent: its text on one line, and otherwise as it came. */
export type Message = {
  readonly kind: "answer" | "notification" | "request";
  readonly text: string;
  readonly value: Readonly<Record<string, unknown>>;
};

const versionKey = "io.modelcontextprotocol/protocolVersion";

/** Null for what is no JSON object. */
export function openEnvelope(line: string): Envelope | null {
  const value = parse(line);
  if (value === null) return null;
  const { method, params } = value;
  const given = isObject(params) ? params : {};
  return {
    value,
    method: text(method),
    id: idOwed(value),
    modernVersion: isObject(given._meta) ? text(given._meta[versionKey]) : null,
    name: text(given.name) ?? text(given.uri),
    tool: method === "tools/call" ? text(given.name) : null,
  };
}

/** Null for what is no JSON-RPC message: a proxy's own words, say, which no app could read. */
export function openMessage(received: string): Message | null {
  const value = parse(received);
  const kind = value?.jsonrpc === "2.0" ? kindOf(value) : null;
  // Newlines stand between the tokens of JSON alone, and on the pipe they end a message.
  return value === null || kind === null ? null : { kind, value, text: received.replace(/[\r\n]+/g, " ") };
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const errorText = (id: RpcId | null, code: number, message: string): string =>
  JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } });

function kindOf(value: Record<string, unknown>): Message["kind"] | null {
  const { method, id, result, error } = value;
  const hasId = typeof id === "string" || typeof id === "number";
  const hasResult = Object.hasOwn(value, "result");
  const hasError = Object.hasOwn(value, "error");
  if (typeof method === "string") {
    if (hasResult || hasError) return null;
    if (hasId) return "request";
    return id === undefined ? "notification" : null;
  }
  if (method !== undefined || hasResult === hasError) return null;
  if (hasResult) return hasId && isObject(result) ? "answer" : null;
  const isError = isObject(error) && Number.isInteger(error.code) && typeof error.message === "string";
  return isError && (hasId || id === null || id === undefined) ? "answer" : null;
}

/** As the gateway reads it: whatever has an id wants an answer, unless it is one. */
function idOwed(value: Record<string, unknown>): Envelope["id"] {
  const isAnswer =
    value.method === undefined && (Object.hasOwn(value, "result") || Object.hasOwn(value, "error"));
  if (isAnswer || !Object.hasOwn(value, "id")) return undefined;
  const { id } = value;
  if (typeof id === "string") return id;
  return typeof id === "number" && Number.isSafeInteger(id) ? id : null;
}

const text = (value: unknown): string | null => (typeof value === "string" ? value : null);

function parse(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}
