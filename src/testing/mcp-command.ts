/**
 * A scripted MCP server as a command, for tests of upstreams: `legacy` or `modern`, then how it misbehaves. Its tools do
 * what they are called.
 */
import { spawn } from "node:child_process";
import { flood } from "./mcp-flood.ts";

const [, , era = "legacy", ...words] = process.argv;
const is = (word: string): boolean => words.includes(word);

const tools = [
  "echo",
  "add",
  "hang",
  "die",
  "huge",
  "endless",
  "garbage",
  "complain",
  "env",
  "family",
  "ask",
  "late",
  "flood",
].map((name) => ({ name, description: name, inputSchema: { type: "object" } }));

if (is("stubborn")) for (const name of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(name, () => {});
if (is("family")) spawn("/bin/sleep", ["1000"], { stdio: "ignore" });
if (is("endless")) setInterval(() => {}, 1_000);

const write = (message: object): void => void process.stdout.write(`${JSON.stringify(message)}\n`);
const answer = (id: unknown, result: object): void =>
  write({ result: era === "modern" ? { resultType: "complete", ...result } : result, jsonrpc: "2.0", id });
const text = (words: string) => ({ content: [{ type: "text", text: words }] });

async function act(id: unknown, name: string, args: Record<string, unknown>): Promise<void> {
  switch (name) {
    case "echo":
      return answer(id, text(JSON.stringify(args)));
    case "add":
      return answer(id, text(String(Number(args.a) + Number(args.b))));
    case "late":
      await Bun.sleep(Number(args.ms));
      return answer(id, text("late"));
    case "die":
      return process.exit(3);
    case "huge":
      return answer(id, text("x".repeat(Number(args.bytes))));
    case "endless": {
      const piece = "x".repeat(1 << 20);
      process.stdout.write('{"junk":"');
      for (let n = 0; n < Number(args.mebibytes); n++)
        if (!process.stdout.write(piece))
          await new Promise((resolve) => process.stdout.once("drain", resolve));
      return;
    }
    case "garbage":
      for (let n = 0; n < Number(args.lines); n++) process.stdout.write("this is no message\n");
      return answer(id, text("after garbage"));
    case "flood":
      await flood(args);
      return answer(id, text("flooded"));
    case "complain":
      process.stderr.write(`${String(args.text)}\n`);
      return answer(id, text("complained"));
    case "env":
      return answer(
        id,
        text(JSON.stringify({ ...process.env, cwd: process.cwd(), uid: process.getuid?.() })),
      );
    case "family":
      return answer(id, text(String(spawn("/bin/sleep", ["1000"], { stdio: "ignore" }).pid)));
    case "ask":
      asking = id;
      return write({ jsonrpc: "2.0", id: "mine", method: "sampling/createMessage", params: {} });
    default:
  }
}

let asking: unknown = null;
let greeted = era === "modern";

async function take(line: string): Promise<void> {
  const { id, method, params = {}, error } = JSON.parse(line);
  if (id === "mine") return answer(asking, text(`refused with ${error?.code}`));
  if (method === "initialize") {
    greeted = true;
    return answer(id, {
      protocolVersion: "2025-11-25",
      capabilities: { tools: {} },
      serverInfo: { name: "c", version: "1" },
    });
  }
  // As servers are known to do.
  if (!greeted && is("leaves")) process.exit(1);
  if (!greeted && is("silent")) return;
  if (method === "server/discover" && era === "modern")
    return answer(id, {
      supportedVersions: ["2026-07-28"],
      capabilities: { tools: {} },
      serverInfo: { name: "c", version: "1" },
    });
  if (id === undefined) return;
  if (method === "tools/list") return answer(id, { tools });
  if (method === "tools/call") return await act(id, params.name, params.arguments ?? {});
  write({ jsonrpc: "2.0", id, error: { code: -32_601, message: "Method not found" } });
}

let rest = "";
for await (const chunk of process.stdin) {
  const lines = (rest + String(chunk)).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) if (line !== "") void take(line);
}
