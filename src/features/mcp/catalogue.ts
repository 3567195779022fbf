/**
 * Everything that could be offered, in one list: the gateway's own tools, made once, and what upstreams offer right now.
 */
import { z } from "zod";
import type { Scope } from "../../platform/scopes.ts";
import type { Tool } from "../../platform/tool.ts";
import type { ToolDefinition, Upstreams, UpstreamTool } from "../../platform/upstream.ts";

export type Offered = {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly writes: boolean;
  readonly definition: ToolDefinition;
} & (
  | { readonly own: Tool; readonly upstream: null }
  | { readonly own: null; readonly upstream: UpstreamTool }
);

export class Catalogue {
  readonly #own: ReadonlyMap<string, Offered>;
  readonly #upstreams: Upstreams;

  constructor(tools: readonly Tool[], upstreams: Upstreams) {
    this.#own = new Map(tools.map((tool) => [tool.name, offeredOwn(tool)]));
    this.#upstreams = upstreams;
  }

  /** Exactly this name; nothing is folded, trimmed or guessed. */
  find(name: string): Offered | undefined {
    const own = this.#own.get(name);
    if (own !== undefined) return own;
    const upstream = this.#upstreams.offered().get(name);
    return upstream === undefined ? undefined : offeredUpstream(upstream);
  }

  /** The gateway's own first, in the order of their slices, then the upstreams' by name. */
  all(): Offered[] {
    const theirs = [...this.#upstreams.offered().values()].map(offeredUpstream);
    return [...this.#own.values(), ...theirs.sort((one, other) => (one.name < other.name ? -1 : 1))];
  }
}

function offeredOwn(tool: Tool): Offered {
  const { name, title, description, scopes, writes, repeatable } = tool;
  const definition: ToolDefinition = {
    name,
    title,
    description,
    inputSchema: schemaOf(tool.input, "input"),
    outputSchema: schemaOf(tool.output, "output"),
    annotations: {
      title,
      readOnlyHint: !writes,
      destructiveHint: false,
      idempotentHint: repeatable,
      openWorldHint: false,
    },
  };
  return { name, scopes, writes, definition, own: tool, upstream: null };
}

const schemaOf = (shape: z.ZodObject, io: "input" | "output"): Record<string, unknown> =>
  z.toJSONSchema(shape, { io, unrepresentable: "any" }) as Record<string, unknown>;

function offeredUpstream(upstream: UpstreamTool): Offered {
  const { name, definition, writes } = upstream;
  return { name, scopes: [writes ? "mcp:write" : "mcp:read"], writes, definition, own: null, upstream };
}
