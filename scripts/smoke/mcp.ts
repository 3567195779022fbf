/**
 * The MCP door of the compiled binary, as the clients that people have meet it: the SDKs of both generations, the
 * inspector's command line, and a desktop app that is told nothing but the gateway's address. On a data dir of its own.
 */
import type { Provider } from "../../src/testing/provider.ts";
import type { Check } from "./checks.ts";
import { mcpClients } from "./mcp-clients.ts";
import { mcpDesktop } from "./mcp-desktop.ts";
import { mcpInspector } from "./mcp-inspector.ts";
import { McpPlace } from "./mcp-place.ts";

export async function mcp(check: Check, dir: string, provider: Provider): Promise<void> {
  let place: McpPlace | undefined;
  try {
    await check("a gateway with a project for MCP clients is ready", async () => {
      place = await McpPlace.open(dir, provider);
      return `${Math.round(place.gateway.readyMs)} ms`;
    });
    if (place === undefined) return;
    await mcpClients(check, place);
    await mcpInspector(check, place);
    await mcpDesktop(check, place);
  } finally {
    await place?.gateway.stop();
  }
}
