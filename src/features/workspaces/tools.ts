/**
 * A project's files, for MCP clients alone: there is no HTTP route beside these. Not listed where the configuration names
 * no workspace that the caller has a part in.
 */
import { actorOf } from "../../db/audit-entry.ts";
import type { Principal } from "../../platform/principal.ts";
import { readTool, type Tool, writeTool } from "../../platform/tool.ts";
import { listAnswer, listForm, readAnswer, readForm, writeAnswer, writeForm } from "./contract.ts";
import type { Workspaces } from "./workspaces.ts";

export function workspaceTools({ workspaces }: { workspaces: Workspaces }): Tool[] {
  const isOffered = (principal: Principal): boolean => workspaces.isOffered(principal);
  return [
    readTool({
      name: "workspace_list",
      title: "List files",
      description:
        "Lists one directory of the project's workspace: its directories, and the files that may be read or written. Dotfiles and whatever is not open are left out.",
      scopes: ["mcp:read"],
      place: { least: "viewer", at: "project", argument: "project_id" },
      isOffered,
      waits: true,
      input: listForm,
      output: listAnswer,
      run: ({ asked }) => workspaces.list(asked.project_id, asked),
    }),
    readTool({
      name: "workspace_read_file",
      title: "Read a file",
      description:
        "Reads a text file of the project's workspace, with its SHA-256. A long one comes in pieces: go on at next_offset_bytes until it is null.",
      scopes: ["mcp:read"],
      place: { least: "viewer", at: "project", argument: "project_id" },
      isOffered,
      waits: true,
      input: readForm,
      output: readAnswer,
      run: ({ asked, resultBytesMax }) =>
        workspaces.read(asked.project_id, {
          bytesMax: resultBytesMax,
          path: asked.path,
          offset: asked.offset_bytes,
          length: asked.length_bytes,
        }),
    }),
    writeTool({
      name: "workspace_write_file",
      title: "Write a file",
      destroys: true,
      description:
        "Writes a whole text file of the project's workspace. To replace one, send the SHA-256 of what you have read; it is refused when the file has changed since. Leave it out for a new file. The request around the content has a limit of its own (limits.mcp.body_bytes_max, 1 MiB unless told), in which each line break and quote counts twice.",
      scopes: ["mcp:write"],
      place: { least: "editor", at: "project", argument: "project_id" },
      repeatable: true,
      isOffered,
      waits: true,
      input: writeForm,
      output: writeAnswer,
      run: ({ asked, principal, call }) =>
        workspaces.write({
          projectId: asked.project_id,
          actor: actorOf(principal, call),
          path: asked.path,
          content: asked.content,
          expectedSha256: asked.expected_sha256,
          createDirectories: asked.create_directories,
        }),
    }),
  ];
}
