/**
 * Everything that could be offered, in one list: the gateway's own tools, made once, and what upstreams offer right now.
 *
 * A name is found exactly as it is spelled; nothing is folded, trimmed or guessed. Who sees what of it is the
 * allowlist's affair: what a list shows and what a call finds both come from here and are asked there.
 */
import { z } from "zod";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import type { Scope } from "../../platform/scopes.ts";
import type { Tool } from "../../platform/tool.ts";
import type { ToolDefinition, Upstreams, UpstreamTool } from "../../platform/upstream.ts";
import type { Judge } from "./allowlist.ts";
import { type DeclaredHeader, declaredHeaders } from "./headers.ts";

export type Offered = {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly writes: boolean;
  readonly definition: ToolDefinition;
  /** Arguments that a header must repeat. */
  readonly headers: readonly DeclaredHeader[];
  /** Of the definition, as JSON. */
  readonly bytes: number;
  readonly isOffered?: Tool["isOffered"];
} & Source;

export type OwnTool = { readonly kind: "own"; readonly tool: Tool };
export type Source =
  | OwnTool
  | { readonly kind: "protocol"; readonly tool: ProtocolTool }
  | { readonly kind: "upstream"; readonly tool: UpstreamTool };

export class Catalogue {
  readonly hasProtocolTools: boolean;
  readonly #own: ReadonlyMap<string, Offered>;
  readonly #upstreams: Upstreams;
  readonly #theirs = new WeakMap<UpstreamTool, Offered>();
  #whole: { offered: unknown; list: readonly Offered[] } | null = null;
  /** What each judge sees, while neither it nor the list has changed. */
  readonly #seen = new WeakMap<Judge, { of: readonly Offered[]; list: readonly Offered[] }>();

  /** Throws when two have one name. */
  constructor(tools: readonly Tool[], protocolTools: readonly ProtocolTool[], upstreams: Upstreams) {
    const own = [...tools.map(offeredOwn), ...protocolTools.map(offeredProtocol)];
    this.#own = new Map(own.map((offered) => [offered.name, offered]));
    if (this.#own.size < own.length) throw new Error("two tools have one name");
    this.#upstreams = upstreams;
    this.hasProtocolTools = protocolTools.length > 0;
  }

  find(name: string): Offered | undefined {
    const own = this.#own.get(name);
    if (own !== undefined) return own;
    const upstream = this.#upstreams.offered().get(name);
    return upstream === undefined ? undefined : this.#offeredUpstream(upstream);
  }

  /** The gateway's own first, then the upstreams', both by name; the same array until something changes. */
  all(): readonly Offered[] {
    const offered = this.#upstreams.offered();
    if (this.#whole?.offered === offered) return this.#whole.list;
    const theirs = [...offered.values()].filter(({ name }) => !this.#own.has(name));
    const list = [
      ...[...this.#own.values()].sort(byName),
      ...theirs.map((tool) => this.#offeredUpstream(tool)).sort(byName),
    ];
    this.#whole = { offered, list };
    return list;
  }

  /** Exactly those that a call would find; the same array until something changes. */
  seenBy(judge: Judge): readonly Offered[] {
    const of = this.all();
    const known = this.#seen.get(judge);
    if (known?.of === of) return known.list;
    const list = of.filter((offered) => judge.sees(offered).isVisible);
    this.#seen.set(judge, { of, list });
    return list;
  }

  #offeredUpstream(tool: UpstreamTool): Offered {
    const known = this.#theirs.get(tool);
    if (known !== undefined) return known;
    const { name, definition, writes } = tool;
    const scopes: Scope[] = [writes ? "mcp:write" : "mcp:read"];
    const offered: Offered = { name, scopes, writes, kind: "upstream", tool, ...shown(definition) };
    this.#theirs.set(tool, offered);
    return offered;
  }
}

const byName = (one: Offered, other: Offered): number => (one.name < other.name ? -1 : 1);

/** The place of a tool in the list, which is in the order of these. */
export const rankOf = ({ kind, name }: Offered): string => `${kind === "upstream" ? 1 : 0}${name}`;

const shown = (definition: ToolDefinition): Pick<Offered, "definition" | "headers" | "bytes"> => ({
  definition,
  headers: declaredHeaders(definition.inputSchema),
  bytes: Buffer.byteLength(JSON.stringify(definition)),
});

function offeredOwn(declared: Tool): Offered {
  // A misspelled argument would silently do nothing.
  const tool: Tool = { ...declared, input: declared.input.strict() };
  const { name, title, description, scopes, writes, repeatable } = tool;
  const definition: ToolDefinition = {
    name,
    title,
    description,
    inputSchema: schemaOf(tool.input, "input"),
    outputSchema: withTruncated(schemaOf(tool.output, "output")),
    annotations: {
      title,
      readOnlyHint: !writes,
      destructiveHint: tool.destroys === true,
      idempotentHint: repeatable,
      openWorldHint: false,
    },
  };
  const isOffered = tool.isOffered === undefined ? {} : { isOffered: tool.isOffered };
  return { name, scopes, writes, kind: "own", tool, ...isOffered, ...shown(definition) };
}

function offeredProtocol(tool: ProtocolTool): Offered {
  const { name, scopes, writes, definition } = tool;
  return { name, scopes, writes, kind: "protocol", tool, ...shown(definition) };
}

function schemaOf(shape: z.ZodObject, io: "input" | "output"): Record<string, unknown> {
  // 2020-12 is what MCP takes where nothing is said; validators of older clients know no other name for it.
  const { $schema: _, ...schema } = z.toJSONSchema(shape, { io, unrepresentable: "any" });
  return schema as Record<string, unknown>;
}

/** Any answer may be cut, and then says so. */
function withTruncated(schema: Record<string, unknown>): Record<string, unknown> {
  const cut = z.toJSONSchema(z.object({ path: z.string(), bytes: z.int() }), { io: "output" });
  const { $schema: _, ...items } = cut;
  const truncated = {
    type: "array",
    description: "What was left out because the answer was too large: where, and how many bytes it had.",
    items,
  };
  return { ...schema, properties: { ...(schema.properties as object | undefined), truncated } };
}
