/**
 * Upstream MCP servers and their tools, below `/api/v1`: for administrators.
 */
import { Elysia } from "elysia";
import type { Changes } from "../../db/changes.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { approvalForm, toolsQuery } from "./contract.ts";
import type { Pins } from "./pins.ts";
import type { PinRow } from "./store.ts";
import type { UpstreamServers } from "./upstreams.ts";
import { toolView } from "./view.ts";

const administers = { plane: "control", scope: "admin" } as const satisfies ClosedPolicy;

export type UpstreamRoutesNeeds = { guard: Guard; changes: Changes; upstreams: UpstreamServers; pins: Pins };

export function upstreamRoutes({ guard, changes, upstreams, pins }: UpstreamRoutesNeeds) {
  const view = (row: PinRow) =>
    toolView(upstreams.withoutSecrets(row), {
      offered: upstreams.isOffered(row),
      allowed: upstreams.isAllowed(row),
    });
  return new Elysia({ prefix: "/api/v1/mcp/upstreams" })
    .get(
      "",
      guard.closed(administers, async () => ({ data: await upstreams.list() })),
    )
    .get(
      "/:upstream/tools",
      guard.closed(administers, async ({ call, params }) => {
        const alias = params.upstream ?? "";
        upstreams.requireConfigured(alias);
        const page = await pins.page(alias, parseQuery(toolsQuery, call.url.searchParams));
        await upstreams.refresh();
        return { ...page, data: page.data.map(view) };
      }),
    )
    .post(
      "/:upstream/tools/:tool/approval",
      guard.closed(administers, async (opened) => {
        const { upstream = "", tool = "" } = opened.params;
        const before = async () => upstreams.requireConfigured(upstream);
        const answer = await changes.answer(
          opened,
          { form: approvalForm, status: 200, before },
          async (change, asked) => view(await pins.decide(change, { alias: upstream, tool }, asked)),
        );
        await upstreams.refresh();
        return answer;
      }),
      { parse: "none" },
    );
}
