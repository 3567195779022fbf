/**
 * The command line: every command in one list, and what an ending means.
 *
 * Data on stdout, words on stderr; exit 0 ok, 1 failed, 2 misused. `specgate` alone is `specgate serve`. Nothing that
 * goes wrong prints a stack or a secret; a mistyped command or option is answered with the nearest one.
 */
import { Command, CommanderError } from "commander";
import { clientVariables, type Variable, variables } from "../platform/config-variables.ts";
import { Failure } from "../platform/failure.ts";
import { addApprovalCommands } from "./approval.ts";
import { addArtifactCommands } from "./artifact.ts";
import { addAuditCommands } from "./audit.ts";
import { addCheckCommands } from "./check.ts";
import { addClientCommands } from "./client.ts";
import { addConfigCommands } from "./config.ts";
import { addConnectCommand } from "./connect.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addGateCommands } from "./gate.ts";
import { addIterationCommands } from "./iteration.ts";
import { addKeyCommands } from "./key.ts";
import { addLoginCommand } from "./login.ts";
import { addLogoutCommand } from "./logout.ts";
import { addMigrateCommand } from "./migrate.ts";
import { printable, printOne } from "./print.ts";
import { addProjectCommands } from "./project.ts";
import { addPurgeCommand } from "./purge.ts";
import { addReportCommands } from "./report.ts";
import { serve } from "./serve.ts";
import { addSessionCommands } from "./session.ts";
import { addSyncCommands } from "./sync.ts";
import { addTaskCommands } from "./task.ts";
import { addTokenCommands } from "./token.ts";
import { addUsageCommand } from "./usage.ts";
import { addUserCommands } from "./user.ts";
import { addWhoamiCommand } from "./whoami.ts";
import { Ended, type ExitCode, Misuse, type World } from "./world.ts";

/** `argv` without the program's own name. */
export async function run(argv: readonly string[], world: World): Promise<ExitCode> {
  try {
    await buildProgram(world).parseAsync(withServe(argv), { from: "user" });
    return 0;
  } catch (error) {
    return ending(error, world);
  }
}

/** Flags alone are `serve`'s, unless they ask about the program. */
function withServe(argv: readonly string[]): string[] {
  const [first] = argv;
  const asks = ["-h", "--help", "-V", "--version"];
  return first === undefined || (first.startsWith("-") && !asks.includes(first))
    ? ["serve", ...argv]
    : [...argv];
}

function buildProgram(world: World): Command {
  const program = new Command("specgate")
    .description("The gateway a spec-driven AI team runs itself.")
    .version(world.version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => world.stdout(text), writeErr: (text) => world.stderr(text) })
    .showHelpAfterError("(specgate help says more)");
  addServeCommand(program, world);
  addMigrateCommand(program, world);
  addDoctorCommand(program, world);
  addProjectCommands(program, world);
  addUserCommands(program, world);
  addClientCommands(program, world);
  addKeyCommands(program, world);
  addTokenCommands(program, world);
  addUsageCommand(program, world);
  addAuditCommands(program, world);
  addPurgeCommand(program, world);
  addSessionCommands(program, world);
  addIterationCommands(program, world);
  addTaskCommands(program, world);
  addSyncCommands(program, world);
  addReportCommands(program, world);
  addArtifactCommands(program, world);
  addCheckCommands(program, world);
  addGateCommands(program, world);
  addApprovalCommands(program, world);
  addLoginCommand(program, world);
  addLogoutCommand(program, world);
  addWhoamiCommand(program, world);
  addConnectCommand(program, world);
  addConfigCommands(program, world);
  addVersionCommand(program, world);
  return program.addHelpText("after", `\n${examples}\n${environmentHelp()}`);
}

type ServeFlags = { config?: string; dataDir?: string; host?: string; port?: string };

function addServeCommand(program: Command, world: World): void {
  program
    .command("serve")
    .description("run the gateway; SIGTERM drains it, SIGHUP reloads specgate.yaml")
    .option("--config <file>", "the YAML file; ./specgate.yaml if it is there")
    .option("--data-dir <dir>", "what it keeps on disk; ./specgate-data")
    .option("--host <host>", "the address to listen on; 127.0.0.1")
    .option("--port <port>", "the port to listen on; 8080")
    .addHelpText(
      "after",
      "\nExamples:\n  $ specgate\n  $ specgate serve --data-dir /var/lib/specgate --port 9000\n",
    )
    .action(async (flags: ServeFlags) => {
      const code = await serve(world, flags);
      if (code !== 0) throw new Ended(code);
    });
}

function addVersionCommand(program: Command, world: World): void {
  program
    .command("version")
    .description("print the version")
    .option("--json", "print JSON")
    .action((flags: { json?: boolean }) => {
      if (flags.json) printOne(world, true, { version: world.version });
      else world.stdout(`${world.version}\n`);
    });
}

const examples = `Examples:
  $ specgate                                                     serve on http://127.0.0.1:8080
  $ specgate client create --kind runner --scope "llm:chat usage:read"
  $ specgate token issue --client cli_… --ttl-seconds 600
  $ specgate usage --by day,model
  $ specgate login --url https://gate.example.com                sign in to a gateway elsewhere
  $ specgate session create "Invoices" --project prj_…           then, over HTTP, what a team works on
  $ specgate sync tasks tasks.md --session ses_…
  $ specgate artifact put build.zip --session ses_…
  $ specgate iteration pass itr_…                                if the project's gates say so
`;

function environmentHelp(): string {
  const all = Object.entries<Variable<unknown>>({ ...variables, ...clientVariables });
  const width = Math.max(...all.map(([name]) => name.length));
  const lines = all.map(([name, { meaning, default: standard }]) => {
    const shown = standard === null ? "" : ` (${standard})`;
    return `  ${name.padEnd(width)}  ${meaning}${shown}`;
  });
  return `Environment, with providers' keys in \`specgate config print --defaults\`:\n${lines.join("\n")}\n`;
}

function ending(error: unknown, world: World): ExitCode {
  if (error instanceof Ended) return error.code;
  // Help and version end this way too; everything else the library throws is a misuse that it has printed.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof Misuse) {
    for (const line of error.mistakes) world.stderr(`specgate: ${printable(line)}\n`);
    return 2;
  }
  world.stderr(`specgate: ${printable(reason(error))}\n`);
  const misused = error instanceof Failure && ["invalid", "unprocessable"].includes(error.kind);
  return misused ? 2 : 1;
}

/** A failed query's own message holds its parameters, password hashes among them; its cause says what went wrong. */
function reason(error: unknown): string {
  if (error instanceof Failure) return error.message;
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return `something unexpected went wrong: ${inner instanceof Error ? inner.message : String(inner)}`;
}
