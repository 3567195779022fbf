/** `specgate artifact get`: one artifact out of its store, checked before anybody sees it. */
import type { Command } from "commander";
import type { ArtifactView } from "../features/artifacts/contract.ts";
import { type Fetching, fetchArtifact } from "./artifact-fetch.ts";
import { withMeter } from "./artifact-meter.ts";
import { bytesOf, withSpool } from "./artifact-spool.ts";
import { findTarget, saveAs } from "./artifact-target.ts";
import { type Control, openControl } from "./control-api.ts";
import { type ControlFlags, overGateway, parseId } from "./gateway-options.ts";
import { printJson } from "./print.ts";
import { Misuse, type World } from "./world.ts";

type Flags = ControlFlags & { output?: string; force?: boolean };

export function addGet(artifact: Command, world: World): void {
  const command = artifact
    .command("get")
    .description("download an artifact, check its SHA-256, and print the file's name")
    .argument("<artifact>", "its id, art_…", parseId("art"))
    .option("-o, --output <file>", "where to; the artifact's own name when left out, - for standard output")
    .option("--force", "replace a file that is there");
  overGateway(command, { notes, examples }).action((id: string, flags: Flags) => get(world, id, flags));
}

const notes = `A file has its name only when all of it is there and its SHA-256 is right; with -o - nothing is printed before that. A
download that breaks goes on where it broke. With --json the artifact is printed, with "file" beside its fields.`;

const examples = [
  "specgate artifact get art_…",
  "specgate artifact get art_… -o build.zip --force",
  "specgate artifact get art_… -o - | tar xz",
];

async function get(world: World, id: string, flags: Flags): Promise<void> {
  if (flags.output === "-" && flags.json)
    throw new Misuse(["-o - and --json both print; would be one of them"]);
  const control = await openControl(world, flags);
  const artifact = await control.get<ArtifactView>(`/artifacts/${id}`);
  if (flags.output === "-") await print(world, control, artifact);
  else await save(world, control, artifact, flags);
}

async function save(world: World, control: Control, artifact: ArtifactView, flags: Flags): Promise<void> {
  const target = await findTarget(world, artifact.name, flags);
  await fetching(world, control, (context) =>
    saveAs(world, target, (file) => fetchArtifact(context, artifact, file)),
  );
  const file = flags.output ?? artifact.name;
  if (flags.json) printJson(world, { ...artifact, file });
  else world.stdout(`${file}\n`);
}

const print = (world: World, control: Control, artifact: ArtifactView): Promise<void> =>
  withSpool(world, async (file) => {
    await fetching(world, control, (context) => fetchArtifact(context, artifact, file));
    for await (const piece of bytesOf(file)) world.stdout(piece);
  });

const fetching = (
  world: World,
  control: Control,
  work: (context: Fetching) => Promise<void>,
): Promise<void> => withMeter(world, (meter) => work({ world, control, meter }));
