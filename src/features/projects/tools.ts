/**
 * Projects, offered to MCP clients.
 */
import { z } from "zod";
import type { Cursors } from "../../platform/page.ts";
import { readTool, type Tool } from "../../platform/tool.ts";
import { toolPage, toolPageOf } from "../../platform/tool-page.ts";
import { projectShape } from "./contract.ts";
import type { Projects } from "./projects.ts";

export type ProjectToolsNeeds = { projects: Projects; cursors: Cursors };

export function projectTools({ projects, cursors }: ProjectToolsNeeds): Tool[] {
  return [
    readTool({
      name: "project_list",
      title: "List projects",
      description:
        "Lists the projects that you have a part in, with your role in each. Start here: most other tools need a project's or a session's id.",
      scopes: ["mcp:read"],
      input: z.strictObject(toolPage),
      output: toolPageOf(projectShape),
      run: ({ principal, asked }) => projects.page(principal, cursors, asked),
    }),
  ];
}
