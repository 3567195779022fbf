/** All that the suite expects to find on a server, as the gateway's own wiring takes it. */
import type { Server } from "@modelcontextprotocol/server";
import type { McpExtras } from "../../platform/mcp-sources.ts";
import { askingTools } from "./asking-tools.ts";
import { fixtureTool, said } from "./contents.ts";
import { fixturePrompts, fixtureResources } from "./sources.ts";
import { plainTools } from "./tools.ts";

/** The tool that `changeTools` lets come and go. */
export const comingAndGoing = "test_comes_and_goes";

export function fixtures(changeTools: () => void): McpExtras {
  const guest = fixtureTool({
    name: comingAndGoing,
    description: "Comes and goes.",
    answer: () => said("Here."),
  });
  return {
    tools: [...plainTools(changeTools), ...askingTools, guest],
    resources: [fixtureResources],
    prompts: fixturePrompts,
    prepare,
  };
}

/**
 * Methods of 2025-11-25 that the gateway refuses, since it has no sessions: accepted here, and forgotten with the request,
 * so that their scenarios run at all. `expected.ts` names them, and the verdict counts them apart.
 */
function prepare(server: Server, era: "modern" | "legacy"): void {
  if (era !== "legacy") return;
  server.registerCapabilities({ resources: { subscribe: true } });
  server.setRequestHandler("resources/subscribe", () => ({}));
  server.setRequestHandler("resources/unsubscribe", () => ({}));
}
