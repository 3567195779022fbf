/** Whether the projects' directories are there and are nobody else's; nothing is written into them. */
import { statSync } from "node:fs";
import type { Config } from "../platform/config.ts";
import { groundTrouble, realOf } from "../platform/config-grounds.ts";
import type { Finding } from "./doctor.ts";

const name = "workspaces";

/** What the paths say has been looked at with the configuration; this asks the disk. */
export function checkWorkspaces({ gateway, dataDir }: Config): Finding[] {
  const taken = new Map([[identityOf(dataDir), "the gateway's own data dir"]]);
  return Object.entries(gateway.mcp.workspaces).map(([project, workspace]): Finding => {
    const wrong = groundTrouble(workspace);
    if (wrong !== null) return { name, status: "failure", message: `${project}: ${wrong}` };
    const identity = identityOf(workspace.root);
    const other = taken.get(identity);
    taken.set(identity, `the workspace of ${project}`);
    const { root, read, write } = workspace;
    const real = realOf(root);
    const where = real === root ? root : `${root} (${real})`;
    if (other !== undefined)
      return { name, status: "failure", message: `${project}: ${where} is ${other} by another name` };
    const open = `read: ${read.join(", ") || "nothing"}; write: ${write.join(", ") || "nothing"}`;
    return { name, status: "ok", message: `${project}: ${where}; ${open}` };
  });
}

/** What it is, however it is reached: a volume can be mounted twice. */
function identityOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? path : `${found.dev}:${found.ino}`;
}
