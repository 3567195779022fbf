/**
 * The MCP door: every slice's tools, the allowlist over them, other servers behind them, and the record of each decision.
 */
import type { McpRecords } from "./db/mcp-decision.ts";
import { approvalTools } from "./features/approvals/tools.ts";
import { artifactTools } from "./features/artifacts/tools.ts";
import { budgetTools } from "./features/budgets/tools.ts";
import { gateTools } from "./features/gates/tools.ts";
import { modelTools } from "./features/llm/tools.ts";
import { Allowlist } from "./features/mcp/allowlist.ts";
import { Doorway, type DoorwayNeeds } from "./features/mcp/doorway.ts";
import { KnownPolicies } from "./features/mcp/known-policies.ts";
import { PolicyBook } from "./features/mcp/policies.ts";
import { mcpPrompts } from "./features/mcp/prompts.ts";
import { findPolicies } from "./features/mcp/store.ts";
import { createVisibleTools, mcpTools } from "./features/mcp/tools.ts";
import { projectTools } from "./features/projects/tools.ts";
import { reportResources } from "./features/reports/resources.ts";
import { reportTools } from "./features/reports/tools.ts";
import { sessionTools } from "./features/sessions/tools.ts";
import { taskResources } from "./features/tasks/resources.ts";
import { taskTools } from "./features/tasks/tools.ts";
import { resourceMetadataUrl } from "./features/tokens/metadata.ts";
import { wasRevokedSince } from "./features/tokens/store.ts";
import type { Ledger } from "./features/usage/ledger.ts";
import { usageTools } from "./features/usage/tools.ts";
import { descriptorsHere } from "./features/workspaces/ground.ts";
import { workspaceTools } from "./features/workspaces/tools.ts";
import { Workspaces } from "./features/workspaces/workspaces.ts";
import { createCounter } from "./platform/counter.ts";
import type { Locate } from "./platform/guard.ts";
import type { PromptSource, ResourceSource } from "./platform/mcp-sources.ts";
import type { Cursors } from "./platform/page.ts";
import type { Tool } from "./platform/tool.ts";
import type { Upstreams } from "./platform/upstream.ts";
import type { WiringInput } from "./wiring.ts";
import type { Work } from "./wiring-control.ts";
import type { Identity } from "./wiring-identity.ts";
import type { Throttle } from "./wiring-limits.ts";
import type { Calls } from "./wiring-llm.ts";
import type { Spending } from "./wiring-usage.ts";

export type WireMcpNeeds = {
  records: McpRecords;
  upstreams: Upstreams;
  locate: Locate;
  identity: Identity;
  work: Work;
  calls: Calls;
  spending: Spending;
  ledger: Ledger;
  throttle: Throttle;
  cursors: Cursors;
};

export function wireMcp(input: WiringInput, needs: WireMcpNeeds) {
  const { gateway, version, log } = input;
  const { records, locate, cursors, upstreams } = needs;
  const { allowlist, policies, forgetting } = allowlistOf(input, needs);
  const offered = () => mcp.offered();
  const offers = offersOf(input, needs, mcpTools({ gateway, allowlist, offered }));
  const shared = { gateway, version, upstreams, allowlist, records, locate, cursors, log };
  const mcp = new Doorway({ ...shared, ...offers, ...seamsOf(input, needs) });
  return {
    mcp,
    policies,
    visibleTools: createVisibleTools({ allowlist, offered }),
    async close() {
      forgetting();
      await mcp.close();
    },
  };
}

/** The decision over all tools, and the policies that it goes by. */
function allowlistOf({ gateway, database, clock }: WiringInput, { identity, work, cursors }: WireMcpNeeds) {
  const known = new KnownPolicies({ read: (ids) => findPolicies(database.db, ids), clock });
  // Before anyone else hears of it: whoever then asks what is visible is told how it is now.
  const forgetting = identity.feed.onRevoked((subject) => known.forget(subject));
  const revoke = identity.revocations.record;
  const policies = new PolicyBook({ db: database.db, changes: work.changes, cursors, revoke });
  return { allowlist: new Allowlist({ gateway, known }), policies, forgetting };
}

/** What this gateway itself offers: each slice's own, and what a test adds. */
function offersOf(input: WiringInput, needs: WireMcpNeeds, aboutCaller: Tool[]) {
  const { mcpExtras = {} } = input;
  const tools: Tool[] = [
    ...aboutCaller,
    ...controlTools(needs),
    ...moneyTools(input, needs),
    ...fileTools(input, needs),
    ...(mcpExtras.own ?? []),
  ];
  const resources: ResourceSource[] = [...controlResources(input, needs), ...(mcpExtras.resources ?? [])];
  const prompts: PromptSource[] = [...controlPrompts(needs), ...(mcpExtras.prompts ?? [])];
  return { tools, resources, prompts, protocolTools: mcpExtras.tools ?? [], prepare: mcpExtras.prepare };
}

/** What a team works on. */
function controlTools({ identity, work, cursors }: WireMcpNeeds): Tool[] {
  const needs = { ...work.control, changes: work.changes };
  return [
    ...projectTools({ projects: identity.projects, cursors }),
    ...sessionTools(needs),
    ...taskTools(needs),
    ...reportTools(needs),
    ...gateTools(needs),
    ...approvalTools(needs),
  ];
}

function controlResources({ database }: WiringInput, { work, locate, cursors }: WireMcpNeeds) {
  const needs = { ...work.control, database, locate, cursors };
  // A policy about the tools holds for what shows the same.
  return [
    { ...taskResources(needs), tools: { list: "task_list", read: "task_get", argument: "task_id" } },
    { ...reportResources(needs), tools: { list: "report_list", read: "report_get", argument: "report_id" } },
  ];
}

function controlPrompts({ work, locate }: WireMcpNeeds): PromptSource[] {
  const { sessions, tasks, reports } = work.control;
  const prompts = mcpPrompts({
    locate,
    session: (id) => sessions.get(id),
    iterations: async (id, limit) => (await sessions.iterations(id, { limit })).data,
    async tasks(id, limit) {
      const page = await tasks.page(id, { limit });
      return { tasks: page.data, isAll: page.next_cursor === null };
    },
    async reports(id, limit) {
      const { data } = await reports.page(id, { limit });
      return Promise.all(data.map((line) => reports.get(line.id)));
    },
    sessions: (principal, limit) => sessions.newest(principal, limit),
  });
  // What stands in them is what these show.
  const tools = ["session_list", "task_list", "report_list", "report_get"];
  return prompts.map((prompt) => ({ ...prompt, tools }));
}

/** Files, money and models. */
function moneyTools({ gateway }: WiringInput, needs: WireMcpNeeds): Tool[] {
  const { work, calls, spending, throttle, cursors } = needs;
  const { budgets, prices } = calls.parts;
  const ofProject = () => {
    const { projectRequestsPerMinute, projectTokensPerMinute } = gateway().limits.llm;
    return { requestsPerMinute: projectRequestsPerMinute, tokensPerMinute: projectTokensPerMinute };
  };
  return [
    ...artifactTools({ changes: work.changes, artifacts: work.control.artifacts }),
    ...usageTools({ usage: spending.usage }),
    ...budgetTools({ budgets, left: (principal) => throttle.limits.left(principal), ofProject }),
    ...modelTools({ gateway, prices, cursors }),
  ];
}

/** Files of projects, where the configuration names any. */
function fileTools({ gateway, config, dir }: WiringInput, { work, cursors }: WireMcpNeeds): Tool[] {
  const { file, secretFiles } = config;
  const own = [dir.path, ...(file === null ? [] : [file]), ...secretFiles];
  const ground = { descriptors: descriptorsHere(), own };
  const shared = { config: () => gateway().mcp, changes: work.changes, cursors, instance: dir.instance };
  return workspaceTools({ workspaces: new Workspaces({ ...shared, ground }) });
}

/** What the door needs of its siblings, each as small as it can be. */
function seamsOf(
  { database, clock, addresses }: WiringInput,
  { identity, work, throttle }: WireMcpNeeds,
): Pick<DoorwayNeeds, "clock" | "onRevoked" | "isEnded" | "onEvents" | "rates" | "resourceMetadata"> {
  return {
    clock,
    onRevoked: (listener) => identity.feed.onRevoked(listener),
    isEnded: (principal, since) => wasRevokedSince(database.db, principal, since),
    onEvents: (listener) => work.feed.listen(listener),
    rates: createCounter("requests:mcp-rules", throttle.redis),
    resourceMetadata: (asked) => resourceMetadataUrl(asked, "mcp", addresses()),
  };
}
