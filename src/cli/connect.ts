/** `specgate connect`: a gateway's MCP server for desktop apps that can only start a program and talk to it. */
import type { Command } from "commander";
import { mcpScopes } from "../platform/scopes.ts";
import { linesOf } from "./connect-lines.ts";
import { givenToken } from "./sign-in.ts";
import { clientHelp, gatewayUrl } from "./sign-in-gateway.ts";
import { Ended, type World } from "./world.ts";

type Flags = { url?: string; scope: string };

export function addConnectCommand(program: Command, world: World): void {
  program
    .command("connect")
    .description("speak MCP on standard input and output, for apps that start programs")
    .option("--url <url>", "the gateway")
    .option("--scope <scopes>", "what the tool sign_in asks for, separated by spaces", mcpScopes.join(" "))
    .addHelpText("after", clientHelp(help))
    .action((flags: Flags) => connect(world, flags));
}

const help = `Passes each message on to the gateway's /mcp and each answer back. It acts as whoever specgate login signed in to
that gateway, and renews the sign-in by itself. Where nobody is signed in it offers one tool, sign_in, that answers with
a link; once that has been opened the gateway's own tools take its place. Where the sign-in lets it do less than --scope
names, or less than a call needs, sign_in stands beside them and asks for the rest. An app may start while the gateway is
away: each call fails until it is back.

In an app's configuration:
  { "mcpServers": { "specgate": { "command": "specgate", "args": ["connect", "--url", "https://gate.example.com"] } } }

Try it:
  $ echo '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' | specgate connect
`;

async function connect(world: World, flags: Flags): Promise<void> {
  // Said at once, and not with the first message.
  gatewayUrl(world, flags);
  givenToken(world, flags);
  // Here and not above: no other command has a use for the protocol's library, which is not small.
  const { Bridge } = await import("./connect-bridge.ts");
  const bridge = new Bridge({ world, flags, scope: flags.scope });
  const ended = Promise.withResolvers<void>();
  const unhear = world.onSignal(() => ended.resolve());
  const read = async () => {
    for await (const line of linesOf(world.stdinBytes())) bridge.take(line);
    await bridge.finish();
  };
  let dropped: number;
  try {
    await Promise.race([read(), ended.promise]);
  } finally {
    unhear();
    dropped = await bridge.close();
  }
  if (dropped > 0) throw new Ended(1);
}
