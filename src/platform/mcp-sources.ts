/**
 * What slices offer MCP clients beside tools: resources to read and prompts to begin with. As with tools, whoever serves
 * them has checked that the caller holds `mcp:read`; what a caller may see of each is the source's own affair.
 */
import type { InputRequiredResult, Server, ServerContext } from "@modelcontextprotocol/server";
import type { Call } from "./call.ts";
import type { Principal } from "./principal.ts";
import type { Scope } from "./scopes.ts";
import type { Tool } from "./tool.ts";
import type { ToolDefinition } from "./upstream.ts";

export type Asking = { readonly call: Call; readonly principal: Principal; readonly signal: AbortSignal };

export type Resource = {
  readonly uri: string;
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  readonly mimeType?: string;
};

export type ResourceContents = { readonly uri: string; readonly mimeType?: string } & (
  | { readonly text: string }
  | { readonly blob: string }
);

export type ResourceTemplate = {
  /** RFC 6570. */
  readonly uriTemplate: string;
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  readonly mimeType?: string;
};

export type ResourceSource = {
  /** The tools that do the same: who may not call them is not offered this either. `argument` takes the end of the URI. */
  readonly tools?: { readonly list: string; readonly read: string; readonly argument: string };
  readonly templates: readonly ResourceTemplate[];
  /** A page of what this caller sees, of so many rows at most; `cursor` is the source's own. */
  list(
    asking: Asking,
    cursor: string | null,
    rowsMax: number,
  ): Promise<{ resources: Resource[]; nextCursor: string | null }>;
  /** Null for a URI that is no other's either to know of: not this source's, or nothing that this caller may see. */
  read(uri: string, asking: Asking): Promise<ResourceContents[] | null>;
  /** Values of a template's variable that begin with what was typed. */
  complete?(variable: string, typed: string, asking: Asking): Promise<string[]>;
};

export type PromptMessage = {
  readonly role: "user" | "assistant";
  readonly content: Record<string, unknown>;
};

export type PromptSource = {
  /** The tools that show what stands in it: who may not call all of them is not offered it either. */
  readonly tools?: readonly string[];
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  readonly arguments: readonly {
    readonly name: string;
    readonly description: string;
    readonly required: boolean;
  }[];
  /** `given` holds every required argument. One that speaks the protocol itself may answer that it has to ask first. */
  get(
    given: Readonly<Record<string, string>>,
    asking: Asking,
    context: ServerContext,
  ): Promise<{ description?: string; messages: PromptMessage[] } | InputRequiredResult>;
  complete?(argument: string, typed: string, asking: Asking): Promise<string[]>;
};

/** A tool that speaks the protocol itself: its result is sent as it is. The gateway's own are `Tool`s. */
export type ProtocolTool = {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly writes: boolean;
  readonly definition: ToolDefinition;
  readonly answer: (
    args: Record<string, unknown>,
    context: ServerContext,
    asking: Asking,
  ) => Promise<Record<string, unknown>>;
};

/** What is served beside the slices' own. */
export type McpExtras = {
  readonly tools?: readonly ProtocolTool[];
  /** As a slice would declare them. */
  readonly own?: readonly Tool[];
  readonly resources?: readonly ResourceSource[];
  readonly prompts?: readonly PromptSource[];
  /** Called with each server that answers a request, before it does: for methods that no source stands for. */
  readonly prepare?: (server: Server, era: "modern" | "legacy") => void;
};
