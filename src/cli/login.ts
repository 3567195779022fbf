/** `specgate login`: a person signs in, in a browser here or elsewhere; no password ever passes the terminal. */
import type { Command } from "commander";
import { openCredentials } from "./credentials.ts";
import { printable } from "./print.ts";
import { signInByBrowser } from "./sign-in-browser.ts";
import { signInByDevice } from "./sign-in-device.ts";
import { clientHelp, gatewayUrl } from "./sign-in-gateway.ts";
import { credentialOf, discover } from "./sign-in-oauth.ts";
import type { World } from "./world.ts";

type Flags = { url?: string; device?: boolean; scope?: string };

export function addLoginCommand(program: Command, world: World): void {
  program
    .command("login")
    .description("sign in to a gateway as a person, in a browser")
    .option("--url <url>", "the gateway; https unless it is on this machine")
    .option("--device", "show a code to enter in a browser on any other machine")
    .option("--scope <scopes>", "what to ask for, separated by spaces; all that is offered when left out")
    .addHelpText("after", clientHelp(help))
    .action((flags: Flags) => login(world, flags));
}

const help = `Opens the gateway's sign-in page in your browser and waits up to 5 minutes for you to come back. Where there
is no browser, over ssh say, use --device. Later commands then act as you, with what you ticked and no more.

The sign-in is kept for each gateway in specgate/credentials.json below $XDG_CONFIG_HOME or ~/.config, readable by
you alone, and renewed as you use it. specgate logout ends it; specgate whoami shows it, and
specgate token print gives its bearer to scripts.

Examples:
  $ specgate login
  $ specgate login --url https://gate.example.com
  $ specgate login --url https://gate.example.com --device --scope "control:read usage:read"
`;

async function login(world: World, flags: Flags): Promise<void> {
  const url = gatewayUrl(world, flags);
  const credentials = openCredentials(world);
  // Before anybody is sent to a browser: a file that cannot be read could not keep what comes of it.
  credentials.list();
  const server = await discover(url);
  const signIn = flags.device ? signInByDevice : signInByBrowser;
  const credential = credentialOf(await signIn(world, server, flags.scope), flags.scope);
  await credentials.change(async ({ keep }) => keep(server.issuer, credential));
  world.stderr(`Signed in to ${server.issuer}, with ${printable(credential.scope) || "no scope"}.\n`);
  if (world.env.SPECGATE_TOKEN !== undefined || world.env.SPECGATE_TOKEN_FILE !== undefined)
    world.stderr("warning: SPECGATE_TOKEN is set and is used instead of this sign-in\n");
}
