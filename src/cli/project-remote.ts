/** `specgate project show`, `rename`, `archive`, `members` and `search`, which need a gateway. */
import type { Command } from "commander";
import type { MemberView, ProjectDetail } from "../features/projects/contract.ts";
import type { Page } from "../platform/page.ts";
import { openControl } from "./control-api.ts";
import { type ControlFlags, overGateway, parseProject } from "./gateway-options.ts";
import { printJson, printList } from "./print.ts";
import { printView } from "./print-view.ts";
import { parseWhole } from "./values.ts";
import type { World } from "./world.ts";

export function addRemoteProjectCommands(project: Command, world: World): void {
  addShow(project, world);
  addRename(project, world);
  addArchive(project, world);
  addMembers(project, world);
  addSearch(project, world);
}

const onOne = (project: Command, name: string, description: string): Command =>
  project.command(name).description(description).argument("<project>", "its id, prj_…", parseProject);

function addShow(project: Command, world: World): void {
  overGateway(onOne(project, "show", "one project, and your part in it; over HTTP"), {
    examples: ["specgate project show prj_…"],
  }).action(async (id: string, flags: ControlFlags) => {
    const control = await openControl(world, flags);
    printView(world, flags.json, await control.get<ProjectDetail>(`/projects/${id}`));
  });
}

function addRename(project: Command, world: World): void {
  const command = onOne(project, "rename", "give a project another name; over HTTP").argument(
    "<name>",
    "its name from now on",
  );
  overGateway(command, { examples: ['specgate project rename prj_… "Billing, second try"'] }).action(
    async (id: string, name: string, flags: ControlFlags) => {
      const control = await openControl(world, flags);
      printView(world, flags.json, await control.patch<ProjectDetail>(`/projects/${id}`, { name }));
    },
  );
}

function addArchive(project: Command, world: World): void {
  overGateway(onOne(project, "archive", "end a project: nothing in it changes any more; over HTTP"), {
    notes:
      "Credentials that are bound to it stop at once, and it cannot be undone. Only an owner who signed in archives, no key.",
    examples: ["specgate project archive prj_…"],
  }).action(async (id: string, flags: ControlFlags) => {
    const control = await openControl(world, flags);
    printView(world, flags.json, await control.delete<ProjectDetail>(`/projects/${id}`));
  });
}

function addMembers(project: Command, world: World): void {
  overGateway(onOne(project, "members", "who has which part in a project; over HTTP"), {
    examples: ["specgate project members prj_…"],
  }).action(async (id: string, flags: ControlFlags) => {
    const control = await openControl(world, flags);
    const rows = await control.all<MemberView>(`/projects/${id}/members`);
    printList(world, flags.json === true, rows, ["user_id", "email", "role", "created_at"]);
  });
}

/** Of what was found, whatever it is; an id says by its prefix whether it is a task or a report. */
type Found = { id: string; session_id: string; title: string };

function addSearch(project: Command, world: World): void {
  const command = onOne(project, "search", "find tasks and reports of a project by their words; over HTTP")
    .argument("<words...>", "what they say; the last word may be the beginning of one")
    .option("--limit <number>", "how many at most, the newest first", parseWhole);
  overGateway(command, {
    examples: ["specgate project search prj_… password reset", 'specgate project search prj_… "ออกใบแจ้งหนี้"'],
  }).action(async (id: string, words: string[], { limit, ...flags }: ControlFlags & { limit?: number }) => {
    const control = await openControl(world, flags);
    const query = { q: words.join(" "), limit };
    const page = await control.get<Page<Found>>(`/projects/${id}/search`, query);
    if (flags.json) printJson(world, page);
    else printList(world, false, page.data, ["id", "session_id", "title"]);
    if (page.next_cursor !== null && !flags.json) world.stderr("There is more; say it with more words.\n");
  });
}
