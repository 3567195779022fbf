/**
 * One JSON-RPC message from the wire: bounded, strict, and read once. What is decided is decided on this.
 */
import { readBody, requireJson } from "../../platform/body.ts";
import { Failure } from "../../platform/failure.ts";
import { scanObject } from "../../platform/json.ts";

export type Message = {
  readonly value: Record<string, unknown>;
  readonly id: string | number | null;
  readonly method: string | null;
  readonly params: Readonly<Record<string, unknown>>;
  readonly bytes: number;
};

/** Throws 400 for what is no single message, 413, 415. */
export async function readMessage(request: Request, bodyBytesMax: number): Promise<Message> {
  requireJson(request);
  const { bytes } = await readBody(request, { bodyBytesMax, roomBytesMax: bodyBytesMax }, { bytes: 0 });
  scanObject(bytes);
  const value = parse(bytes);
  const { id, method, params } = value;
  return {
    value,
    id: typeof id === "string" || typeof id === "number" ? id : null,
    method: typeof method === "string" ? method : null,
    params: typeof params === "object" && params !== null ? (params as Record<string, unknown>) : {},
    bytes: bytes.length,
  };
}

function parse(bytes: Uint8Array): Record<string, unknown> {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as Record<string, unknown>;
  } catch {
    throw new Failure("invalid", "invalid_json", "The body is not valid JSON in UTF-8.");
  }
}
