/** Pieces of content that the suite's fixtures answer with, and how a fixture is declared. */
import {
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { Asking, ProtocolTool } from "../../platform/mcp-sources.ts";

/** One red pixel. */
export const png =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/** A header of 44 bytes and no sample. */
export const wav = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

export const words = (text: string) => ({ type: "text", text });
export const image = { type: "image", data: png, mimeType: "image/png" };
export const said = (text: string) => ({ content: [words(text)] });

export type Fixture = {
  readonly name: string;
  readonly description: string;
  readonly properties?: Record<string, unknown>;
  readonly required?: readonly string[];
  /** Instead of what the two above make. */
  readonly inputSchema?: Record<string, unknown>;
  readonly answer: (
    args: Record<string, unknown>,
    context: ServerContext,
    asking: Asking,
  ) => Record<string, unknown> | Promise<Record<string, unknown>>;
};

export function fixtureTool({
  name,
  description,
  properties = {},
  required = [],
  inputSchema,
  answer,
}: Fixture): ProtocolTool {
  const made = { type: "object", properties, ...(required.length === 0 ? {} : { required }) };
  return {
    name,
    scopes: ["mcp:read"],
    writes: false,
    definition: { name, description, inputSchema: inputSchema ?? made },
    answer: async (args, context, asking) => answer(args, context, asking),
  };
}

/** What the client of this request says that it can do (2026-07-28). */
export function capabilitiesOf({ mcpReq }: ServerContext): ClientCapabilities {
  const envelope: Record<string, unknown> = { ...mcpReq.envelope };
  return envelope[CLIENT_CAPABILITIES_META_KEY] ?? {};
}
