/**
 * Upstream servers and their tools on the wire: what an administrator sees and decides, and what a server may say of a tool.
 */
import { z } from "zod";
import { pageQuery } from "../../platform/page.ts";
import type { ToolDefinition } from "../../platform/upstream.ts";
import type { Difference } from "./difference.ts";

/** Some clients take no `true` for one. */
const schemas = z.record(z.string(), z.looseObject({})).optional();

/**
 * What a definition must be for clients to take the list that it stands in: one that is wrong spoils the whole list for
 * some of them. Everything else in it passes as it is.
 */
export const definitionForm = z.looseObject({
  name: z.string(),
  title: z.string().optional(),
  description: z.string().optional(),
  inputSchema: z.looseObject({
    type: z.literal("object"),
    properties: schemas,
    required: z.array(z.string()).optional(),
  }),
  outputSchema: z.looseObject({ $schema: z.string().optional(), properties: schemas }).optional(),
  annotations: z
    .looseObject({
      title: z.string().optional(),
      readOnlyHint: z.boolean().optional(),
      destructiveHint: z.boolean().optional(),
      idempotentHint: z.boolean().optional(),
      openWorldHint: z.boolean().optional(),
    })
    .optional(),
  icons: z
    .array(
      z.looseObject({
        src: z.string(),
        mimeType: z.string().optional(),
        sizes: z.array(z.string()).optional(),
        theme: z.enum(["light", "dark"]).optional(),
      }),
    )
    .optional(),
  execution: z
    .looseObject({ taskSupport: z.enum(["required", "optional", "forbidden"]).optional() })
    .optional(),
  _meta: z.record(z.string(), z.unknown()).optional(),
});

export const toolsQuery = z.strictObject(pageQuery);
export type ToolsQuery = z.infer<typeof toolsQuery>;

export const approvalForm = z.strictObject({
  decision: z.enum(["approve", "reject"], { error: "Give approve or reject." }),
  /** The hash that the administrator looked at. */
  pin: z
    .string()
    .regex(
      /^[0-9a-f]{64}$/,
      "Give the seen_pin of the definition that you looked at: 64 hexadecimal digits.",
    ),
});
export type ApprovalAsked = z.infer<typeof approvalForm>;

/** `rejected` stays so until somebody approves it, whatever it looks like meanwhile. */
const pinStatuses = ["visible", "pending", "quarantined", "rejected"] as const;
export type PinStatus = (typeof pinStatuses)[number];

export type UpstreamView = {
  alias: string;
  kind: "http" | "stdio";
  /** Without query; null for a command. */
  url: string | null;
  /** The program alone, without its arguments; null for a URL. */
  command: string | null;
  pin_mode: "first_use" | "approve";
  era: "modern" | "legacy" | null;
  state: "up" | "down" | "unknown";
  /** Why it is down, or why its list cannot be taken. */
  reason: string | null;
  since: string | null;
  /** When this instance last had its list. */
  listed_at: string | null;
  /** `offered`: what clients may see right now, on this instance. `gone`: its list does not have it any more. */
  tools: Record<PinStatus | "gone" | "offered", number>;
  /** Tools that cannot be offered, with why; the first hundred of `refused_count`. */
  refused: { tool: string; reason: string }[];
  refused_count: number;
};

export type ToolView = {
  /** The upstream's own. */
  name: string;
  /** What clients call it by. */
  offered_as: string;
  status: PinStatus;
  is_offered: boolean;
  /** What `allow` and `deny` of the upstream's configuration say. */
  is_allowed: boolean;
  writes: boolean;
  pin: string | null;
  seen_pin: string;
  /** As pinned, which is what clients see; null: never approved. */
  definition: ToolDefinition | null;
  /** As it was seen last. */
  seen_definition: ToolDefinition;
  /** From the pinned to the seen; empty while nothing is pinned. */
  difference: Difference[];
  first_seen_at: string;
  changed_at: string;
  gone_at: string | null;
  decided_by: string | null;
  decided_at: string | null;
  version: number;
};
