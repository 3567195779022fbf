/** `specgate artifact`: the files of a session, in and out of the store that the gateway keeps them in. */
import type { Command } from "commander";
import { type ArtifactState, type ArtifactView, artifactStates } from "../features/artifacts/contract.ts";
import { Failure } from "../platform/failure.ts";
import { addGet } from "./artifact-get.ts";
import { addPut } from "./artifact-put.ts";
import { openControl } from "./control-api.ts";
import {
  type ControlFlags,
  choice,
  overGateway,
  parseId,
  parseIteration,
  parseSession,
} from "./gateway-options.ts";
import { printable, printList } from "./print.ts";
import { printView } from "./print-view.ts";
import { Ended, type World } from "./world.ts";

type ListFlags = ControlFlags & {
  session: string;
  kind?: string;
  iteration?: string;
  status?: ArtifactState;
};

export function addArtifactCommands(program: Command, world: World): void {
  const artifact = program.command("artifact").description("files of a session, over HTTP");
  addPut(artifact, world);
  addGet(artifact, world);
  addList(artifact, world);
  addShow(artifact, world);
  addRemove(artifact, world);
}

function addList(artifact: Command, world: World): void {
  const command = artifact
    .command("list")
    .description("the artifacts of a session, newest first")
    .requiredOption("--session <id>", "the session, ses_…", parseSession)
    .option("--kind <kind>", "only those of this kind")
    .option("--iteration <id>", "only those of this iteration", parseIteration)
    .addOption(choice("--status <status>", "only those in this state", artifactStates));
  overGateway(command, {
    examples: [
      "specgate artifact list --session ses_… --status complete",
      'specgate artifact list --session ses_… --kind build --json | jq -r ".data[0].id"',
    ],
  }).action(async ({ session, kind, iteration, status, ...flags }: ListFlags) => {
    const control = await openControl(world, flags);
    const query = { kind, iteration, status };
    const rows = await control.all<ArtifactView>(`/sessions/${session}/artifacts`, query);
    const columns = ["id", "kind", "status", "size_bytes", "created_at", "name"] as const;
    printList(world, flags.json === true, rows, [...columns]);
  });
}

function addShow(artifact: Command, world: World): void {
  const command = artifact
    .command("show")
    .description("one artifact: what it is, who uploaded it, and how long it is kept")
    .argument("<artifact>", "its id, art_…", parseId("art"));
  overGateway(command, { examples: ["specgate artifact show art_…"] }).action(
    async (id: string, flags: ControlFlags) => {
      const control = await openControl(world, flags);
      printView(world, flags.json, await control.get<ArtifactView>(`/artifacts/${id}`));
    },
  );
}

const parseArtifact = parseId("art");

function addRemove(artifact: Command, world: World): void {
  const command = artifact
    .command("rm")
    .description("delete artifacts with their bytes; that they were there stays known")
    .argument("<artifact...>", "their ids, art_…", (id, ids: string[] = []) => [...ids, parseArtifact(id)]);
  overGateway(command, {
    notes: "One that cannot be deleted does not keep the others; the exit code is 1 then.",
    examples: ["specgate artifact rm art_…", "specgate artifact rm art_… art_… --json"],
  }).action(async (ids: string[], flags: ControlFlags) => {
    const control = await openControl(world, flags);
    const gone: ArtifactView[] = [];
    for (const id of new Set(ids)) {
      const view = await control.delete<ArtifactView>(`/artifacts/${id}`).catch((error: unknown) => {
        if (!(error instanceof Failure)) throw error;
        world.stderr(`specgate: ${id}: ${printable(error.message)}\n`);
        return null;
      });
      if (view !== null) gone.push(view);
    }
    printList(world, flags.json === true, gone, ["id", "status", "size_bytes", "name"]);
    if (gone.length < new Set(ids).size) throw new Ended(1);
  });
}
