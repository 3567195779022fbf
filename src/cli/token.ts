/** `specgate token`: one access token, for scripts. */
import type { Command } from "commander";
import { type LocalFlags, withLocal } from "./local.ts";
import { printJson } from "./print.ts";
import { parseWhole } from "./values.ts";
import type { World } from "./world.ts";

type Flags = LocalFlags & {
  json?: boolean;
  client: string;
  project?: string;
  session?: string;
  scope?: string;
  ttlSeconds?: number;
};

export function addTokenCommands(program: Command, world: World): void {
  const token = program.command("token").description("access tokens");
  token
    .command("issue")
    .description("sign one access token for a client and print it")
    .requiredOption("--client <id>", "the client it acts as, cli_…")
    .option("--project <id>", "the client's project")
    .option("--session <id>", "narrow it to one session")
    .option("--scope <scopes>", "what it may do, separated by spaces; all of the client's when left out")
    .option("--ttl-seconds <seconds>", "60 to 3600; 900 when left out", parseWhole)
    .option("--data-dir <dir>", "the gateway's data dir")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `\nExample:\n  $ export OPENAI_API_KEY=$(specgate token issue --client cli_… --scope llm:chat)\n`,
    )
    .action(async (flags: Flags) => {
      const asked = {
        scope: flags.scope ?? null,
        projectId: flags.project ?? null,
        sessionId: flags.session ?? null,
        ttlSeconds: flags.ttlSeconds ?? null,
        resources: [],
      };
      const issued = await withLocal(world, flags, async (local) =>
        (await local.tokens()).issue(local.actor, flags.client, asked),
      );
      if (flags.json) {
        printJson(world, issued);
        return;
      }
      world.stdout(`${issued.access_token}\n`);
      world.stderr(`Good for ${issued.expires_in} s, with ${issued.scope}.\n`);
    });
}
