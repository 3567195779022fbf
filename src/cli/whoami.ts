/** `specgate whoami`: who a gateway takes this terminal for, and what they may do. */
import type { Command } from "commander";
import { z } from "zod";
import { printJson, printOne } from "./print.ts";
import { api } from "./sign-in-api.ts";
import { clientHelp, type GatewayFlags } from "./sign-in-gateway.ts";
import { strange } from "./sign-in-oauth.ts";
import type { World } from "./world.ts";

type Flags = GatewayFlags & { json?: boolean };

const meForm = z.object({
  principal: z.looseObject({ id: z.string() }),
  scopes: z.array(z.string()),
  memberships: z.array(z.object({ project_id: z.string(), name: z.string(), role: z.string() })).default([]),
});
type Me = z.infer<typeof meForm>;

export function addWhoamiCommand(program: Command, world: World): void {
  program
    .command("whoami")
    .description("show who a gateway takes you for, and what you may do")
    .option("--url <url>", "the gateway")
    .option("--token <token>", "a bearer to use instead of the sign-in; other processes can read it here")
    .option("--json", "print JSON, as GET /api/v1/me answers")
    .addHelpText("after", clientHelp(help))
    .action((flags: Flags) => whoami(world, flags));
}

const help = `Asks with --token, else with SPECGATE_TOKEN, else with the sign-in that specgate login keeps for the gateway.

Examples:
  $ specgate whoami
  $ specgate whoami --url https://gate.example.com --json
  $ SPECGATE_TOKEN=$(specgate token issue --client cli_…) specgate whoami
`;

async function whoami(world: World, flags: Flags): Promise<void> {
  const call = await api(world, flags);
  const answer: unknown = await (await call("/me")).json().catch(() => undefined);
  const parsed = meForm.safeParse(answer);
  if (!parsed.success) throw strange("The gateway did not say who you are");
  if (flags.json) printJson(world, answer);
  else printOne(world, false, shown(parsed.data));
}

const shown = ({ principal, scopes, memberships }: Me) => ({
  ...principal,
  scopes,
  projects: memberships.length === 0 ? null : memberships.map(membership).join(", "),
});

const membership = ({ project_id, name, role }: Me["memberships"][number]): string =>
  `${project_id} "${name}" as ${role}`;
