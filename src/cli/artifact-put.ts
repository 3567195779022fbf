/** `specgate artifact put`: one file into a session. */
import { basename } from "node:path";
import type { Command } from "commander";
import { bytesText, withMeter } from "./artifact-meter.ts";
import { sendArtifact } from "./artifact-send.ts";
import { withSource } from "./artifact-source.ts";
import { typeOfName } from "./artifact-types.ts";
import { openControl } from "./control-api.ts";
import { type ControlFlags, overGateway, parseIteration, parseSession } from "./gateway-options.ts";
import { printView } from "./print-view.ts";
import { Misuse, type World } from "./world.ts";

type Flags = ControlFlags & {
  session: string;
  name?: string;
  kind?: string;
  iteration?: string;
  contentType?: string;
};

export function addPut(artifact: Command, world: World): void {
  const command = artifact
    .command("put")
    .description("upload a file, check that it arrived, and print the artifact")
    .argument("<file>", "a file, or - for standard input")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .option("--name <name>", "what it is called; the file's own name when left out")
    .option("--kind <kind>", "a word of your own, such as report or build; file when left out")
    .option("--iteration <id>", "the iteration that it belongs to, itr_…", parseIteration)
    .option("--content-type <type>", "by the ending of its name when left out");
  overGateway(command, { notes, examples }).action((file: string, flags: Flags) => put(world, file, flags));
}

const notes = `The bytes go straight to the store, by a URL that is signed for exactly their size, type and SHA-256. What breaks on
the way is tried again, up to five times. After that, or when it was stopped, run the same command again: for a day it
goes on with the same artifact, and does not upload anew what is there already.`;

const examples = [
  "specgate artifact put build.zip --session ses_… --kind build",
  "specgate artifact put coverage.html --session ses_… --iteration itr_… --json | jq -r .id",
  "tar cz dist | specgate artifact put - --session ses_… --name dist.tgz",
];

async function put(world: World, file: string, flags: Flags): Promise<void> {
  const { session, kind, iteration } = flags;
  const name = flags.name ?? (file === "-" ? "" : basename(file));
  if (name === "") throw new Misuse(["--name is missing: standard input has no name"]);
  const control = await openControl(world, flags);
  const { artifact, wasThere } = await withMeter(world, (meter) =>
    withSource(world, file, meter, (source) =>
      sendArtifact(
        { world, control, meter, session, source },
        {
          name,
          kind,
          iteration_id: iteration,
          content_type: flags.contentType ?? typeOfName(name),
          size_bytes: source.sizeBytes,
          sha256: source.sha256,
        },
      ),
    ),
  );
  printView(world, flags.json, artifact);
  if (wasThere) world.stderr(`already there: ${bytesText(artifact.size_bytes)} in ${artifact.id}\n`);
}
