/** What was written down about requests at /mcp: the lines of the gateway's own file, newest last. */
import { readdirSync, readFileSync } from "node:fs";
import type { TestGateway } from "./gateway.ts";

export type DecisionLine = Readonly<Record<string, unknown>>;

/** Those of one request, by the id that its answer carries. */
export async function linesOf(gateway: Pick<TestGateway, "dir">, requestId: string): Promise<DecisionLine[]> {
  const folder = gateway.dir.file("audit");
  for (let tries = 0; tries < 50; tries++) {
    const lines = readdirSync(folder)
      .filter((name) => name.startsWith("mcp-"))
      .sort()
      // What stands behind the last newline is being written.
      .flatMap((name) => readFileSync(`${folder}/${name}`, "utf8").split("\n").slice(0, -1))
      .filter((line) => line.includes(requestId))
      .map((line) => JSON.parse(line) as DecisionLine);
    if (lines.length > 0) return lines;
    await Bun.sleep(20);
  }
  return [];
}
