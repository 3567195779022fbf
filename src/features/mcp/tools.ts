/**
 * Tools about the caller and this door itself.
 *
 * `whoami` shows a caller the rules that it is under, as they are written, and how many tools they hide. Which ones those
 * are it tells only a person's own signed-in app, and administrators. A rule that names a tool is read by whoever is under
 * it all the same: what must stay unknown is hidden by what is allowed, not by a denial with its name in it.
 */
import { z } from "zod";
import { rfc3339 } from "../../platform/clock.ts";
import type { GatewayConfig } from "../../platform/config.ts";
import type { Principal } from "../../platform/principal.ts";
import { isAdmin, type ProjectRole, projectRoles, scopes } from "../../platform/scopes.ts";
import { readTool, type Tool } from "../../platform/tool.ts";
import type { Allowlist, Judge, Judged } from "./allowlist.ts";

export type McpToolsNeeds = {
  gateway: () => GatewayConfig;
  allowlist: Allowlist;
  /** Everything that could be offered right now. */
  offered: () => readonly Judged[];
};

const scopeShape = z.enum(scopes);
const output = z.object({
  principal: z.string().describe("Who acts: a person's or a client's id."),
  kind: z.enum(["user", "client"]),
  role: z.enum(["admin", "user", "runner"]),
  client_id: z.string().nullable().describe("The app or client that it acts through."),
  key_id: z.string().nullable(),
  project_id: z
    .string()
    .nullable()
    .describe("The only project that this credential works in, if it is bound to one."),
  session_id: z.string().nullable(),
  scopes: z.array(scopeShape),
  could_ask_for: z
    .array(scopeShape)
    .describe("Scopes that a new token of the same registration could hold besides."),
  memberships: z.array(z.object({ project_id: z.string(), role: z.enum(projectRoles) })),
  expires_at: z.string(),
  limits: z.object({
    requests_per_minute: z.int().nullable(),
    body_bytes_max: z.int(),
    result_bytes_max: z.int(),
  }),
  rules: z.object({
    ceiling: z.object({ allow: z.array(z.string()), deny: z.array(z.string()) }),
    policies: z
      .array(
        z.object({
          principal: z.string(),
          revision: z.int(),
          rules: z.array(z.record(z.string(), z.unknown())),
        }),
      )
      .describe("Each of them must allow a tool, and so must the ceiling."),
  }),
  tools: z.object({
    visible: z.int(),
    hidden: z.int(),
    hidden_tools: z
      .array(z.object({ tool: z.string(), why: z.string() }))
      .nullable()
      .describe("Null unless a person's own app or an administrator asks."),
  }),
});

export function mcpTools({ gateway, allowlist, offered }: McpToolsNeeds): Tool[] {
  return [
    readTool({
      name: "whoami",
      title: "Who am I",
      description:
        "Tells who the caller is and what it may do here: scopes, project, limits, the rules about tools that it is " +
        "under, and how many tools it sees. Ask it when a tool is missing or refuses.",
      scopes: ["mcp:read"],
      input: z.strictObject({}),
      output,
      run: async ({ principal }) => {
        const judge = await allowlist.for(principal);
        const { ceiling, policies } = await allowlist.rulesFor(principal);
        return {
          ...callerOf(principal),
          limits: limitsOf(gateway()),
          rules: {
            ceiling: { allow: [...ceiling.allow], deny: [...ceiling.deny] },
            policies: policies.map(({ rules, ...policy }) => ({ ...policy, rules: [...rules] })),
          },
          tools: toolsOf(principal, judge, offered()),
        };
      },
    }),
  ];
}

function callerOf(principal: Principal) {
  const { scopes: held, reach, memberships } = principal;
  return {
    principal: principal.id,
    kind: principal.kind,
    role: principal.role,
    client_id: principal.clientId,
    key_id: principal.keyId,
    project_id: principal.projectId,
    session_id: principal.sessionId,
    scopes: [...held],
    could_ask_for: [...reach].filter((scope) => !held.has(scope)),
    memberships: [...memberships].map(([project_id, role]: [string, ProjectRole]) => ({ project_id, role })),
    expires_at: rfc3339(principal.expiresAt),
  };
}

function limitsOf({ limits: { mcp } }: GatewayConfig) {
  return {
    requests_per_minute: mcp.requestsPerMinute,
    body_bytes_max: mcp.bodyBytesMax,
    result_bytes_max: mcp.resultBytesMax,
  };
}

function toolsOf(principal: Principal, judge: Judge, offered: readonly Judged[]) {
  const hidden = offered.flatMap((tool) => {
    const { isVisible, rule } = judge.sees(tool);
    return isVisible ? [] : [{ tool: tool.name, why: rule ?? "" }];
  });
  const isOwner = principal.signInId !== null || isAdmin(principal);
  return {
    visible: offered.length - hidden.length,
    hidden: hidden.length,
    hidden_tools: isOwner ? hidden : null,
  };
}

/** What a caller's `tools/list` names; nothing for a credential that is not let in at `/mcp` at all. */
export function createVisibleTools({ allowlist, offered }: Pick<McpToolsNeeds, "allowlist" | "offered">) {
  return async (principal: Principal): Promise<string[]> => {
    if (!principal.scopes.has("mcp:read")) return [];
    const judge = await allowlist.for(principal);
    return offered()
      .filter((tool) => judge.sees(tool).isVisible)
      .map(({ name }) => name);
  };
}
