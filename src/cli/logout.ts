/** `specgate logout`: the sign-in ends here, and at the gateway if it can be reached. */
import type { Command } from "commander";
import { Failure } from "../platform/failure.ts";
import { type Kept, openCredentials } from "./credentials.ts";
import { printable } from "./print.ts";
import { clientHelp, gatewayUrl } from "./sign-in-gateway.ts";
import { discover, post, refusal, strange } from "./sign-in-oauth.ts";
import type { World } from "./world.ts";

type Flags = { url?: string };

export function addLogoutCommand(program: Command, world: World): void {
  program
    .command("logout")
    .description("end a sign-in, here and at the gateway")
    .option("--url <url>", "the gateway")
    .addHelpText("after", clientHelp(help))
    .action((flags: Flags) => logout(world, flags));
}

const help = `Revokes the sign-in at the gateway and forgets it here. A gateway that cannot be reached stops nothing: the
sign-in is forgotten all the same, and you are told. Nothing to end is no error.

Examples:
  $ specgate logout
  $ specgate logout --url https://gate.example.com
`;

async function logout(world: World, flags: Flags): Promise<void> {
  const url = gatewayUrl(world, flags);
  const credentials = openCredentials(world);
  const isKept = credentials.find(url) !== undefined;
  const ended = isKept && (await credentials.change((change) => end(world, change.find(url), change.remove)));
  world.stderr(ended ? `Signed out of ${url}.\n` : `You were not signed in to ${url}.\n`);
}

/** With the lock held, so that no other command renews meanwhile what is revoked here. */
async function end(world: World, kept: Kept | undefined, remove: (issuer: string) => void): Promise<boolean> {
  if (kept === undefined) return false;
  try {
    await revoke(kept);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    world.stderr(
      `warning: the gateway did not revoke it: ${printable(error.message)}\nWhoever copied it can use it until it runs out; end it in the gateway's console.\n`,
    );
  } finally {
    remove(kept.issuer);
  }
  return true;
}

async function revoke({ issuer, credential }: Kept): Promise<void> {
  const { revocation_endpoint: endpoint } = await discover(issuer);
  if (endpoint === undefined) throw strange(`${issuer} offers no revocation`);
  const { refresh_token, access_token, client_id } = credential;
  const answer = await post(endpoint, { token: refresh_token ?? access_token, client_id });
  if ("refused" in answer) throw refusal("It refused", answer);
}
