/** `specgate token`: one access token, for scripts: of a client, or of the person who is signed in. */
import type { Command } from "commander";
import { type LocalFlags, withLocal } from "./local.ts";
import { printable, printJson } from "./print.ts";
import { keptSignIn } from "./sign-in.ts";
import { gatewayUrl } from "./sign-in-gateway.ts";
import { parseWhole } from "./values.ts";
import type { World } from "./world.ts";

type IssueFlags = LocalFlags & {
  json?: boolean;
  client: string;
  project?: string;
  session?: string;
  scope?: string;
  ttlSeconds?: number;
};

export function addTokenCommands(program: Command, world: World): void {
  const token = program.command("token").description("access tokens");
  addIssue(token, world);
  addPrint(token, world);
}

function addIssue(token: Command, world: World): void {
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
    .action(async (flags: IssueFlags) => {
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
      show(world, flags, issued);
    });
}

type PrintFlags = { url?: string; json?: boolean };

function addPrint(token: Command, world: World): void {
  token
    .command("print")
    .description(
      "print the access token of the sign-in that specgate login keeps, renewed when it is nearly over",
    )
    .option("--url <url>", "the gateway")
    .option("--json", "print JSON")
    .addHelpText("after", `\n${printHelp}`)
    .action(async (flags: PrintFlags) => {
      const { credential } = await keptSignIn(world, gatewayUrl(world, flags));
      const { access_token, expires_at, scope } = credential;
      const expires_in = Math.floor((Date.parse(expires_at) - Date.now()) / 1000);
      show(world, flags, { access_token, token_type: "Bearer", expires_in, scope });
    });
}

const printHelp = `For calls that no command makes. It is your own sign-in and does what you may do; SPECGATE_TOKEN is not looked at.

Example:
  $ ADMIN=$(specgate token print)
  $ curl -H "authorization: Bearer $ADMIN" http://127.0.0.1:8080/api/v1/budgets
`;

type Shown = { access_token: string; token_type: "Bearer"; expires_in: number; scope: string };

function show(world: World, { json }: { json?: boolean }, token: Shown): void {
  if (json) {
    printJson(world, token);
    return;
  }
  world.stdout(`${token.access_token}\n`);
  world.stderr(`Good for ${token.expires_in} s, with ${printable(token.scope) || "no scope"}.\n`);
}
