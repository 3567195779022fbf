/**
 * Tools about the caller and this door itself.
 */
import { z } from "zod";
import { readTool, type Tool } from "../../platform/tool.ts";

export function mcpTools(): Tool[] {
  return [
    readTool({
      name: "whoami",
      title: "Who am I",
      description: "Tells who the caller is and what it may do here.",
      scopes: ["mcp:read"],
      input: z.strictObject({}),
      output: z.object({ principal: z.string(), kind: z.string() }),
      run: async ({ principal }) => ({ principal: principal.id, kind: principal.kind }),
    }),
  ];
}
