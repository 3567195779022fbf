/**
 * Where on this machine the workspaces lie, and what must not lie there: the gateway's own data, another project's files,
 * and whatever a configured command is run from. Whoever may write into a workspace would otherwise write programs.
 *
 * Compared by real paths, so that a link makes no difference. What is not there yet is where it would be made.
 */
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import type { McpConfig, UpstreamConfig, UpstreamLink, WorkspaceConfig } from "./config.ts";

const isWithin = (path: string, directory: string): boolean =>
  directory === "/" || `${path}/`.startsWith(`${directory}/`);

/** The real path of what is there, and the rest as it is spelled. */
export function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path === dirname(path) ? path : join(realOf(dirname(path)), basename(path));
  }
}

/** As `realOf`, for a gateway that is running. */
async function realNow(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return path === dirname(path) ? path : join(await realNow(dirname(path)), basename(path));
  }
}

/** A place that a command is run from: nothing of it may lie in a workspace, nor a workspace in it where it is a folder. */
type RunPlace = { readonly path: string; readonly isFolder: boolean };

type Stdio = Extract<UpstreamLink, { kind: "stdio" }>;

/** Variables by which interpreters and shells find what they run. */
const searched =
  /PATH$|^(?:LD|DYLD)_|^(?:NODE|BUN|PYTHON|PERL5?|RUBY|JAVA_TOOL|JDK_JAVA|BASH|LUA|PHP|DENO)_?[A-Z_]*$|^ENV$/;

/** `--require=/srv/a.js`, `file:///srv/a.js` and `/srv/a:/srv/b` name files as well. */
const pathsIn = (text: string): string[] =>
  [...text.matchAll(/(?:^|[=:,;\s"'@])(\/[^:,;"'\s]*)/g)].map(([, path]) => resolve(path ?? "/"));

function runPlaces({ command, env, cwd }: Stdio): RunPlace[] {
  const folders = cwd === null ? [] : [resolve(cwd)];
  const named = command.flatMap((word) => [...(isAbsolute(word) ? [resolve(word)] : []), ...pathsIn(word)]);
  const variables = Object.entries(env).filter(([name]) => searched.test(name));
  const found = variables.flatMap(([, value]) => pathsIn(value.reveal()));
  const beside = command.filter((word) => !isAbsolute(word) && !word.startsWith("-"));
  return [
    // Everything lies below the root of all, which says nothing about any of it.
    ...[...folders, ...named, ...found]
      .filter((path) => path !== "/")
      .map((path) => ({ path, isFolder: true })),
    ...beside.map((word) => ({ path: resolve(cwd ?? "/", word), isFolder: false })),
  ];
}

const meets = (root: string, { path, isFolder }: RunPlace): boolean =>
  isWithin(path, root) || (isFolder && isWithin(root, path));

const commandsOf = (upstreams: Readonly<Record<string, UpstreamConfig>>): [string, RunPlace][] =>
  Object.entries(upstreams).flatMap(([alias, upstream]) =>
    upstream.kind === "stdio" ? runPlaces(upstream).map((place): [string, RunPlace] => [alias, place]) : [],
  );

/** The upstreams whose commands are run from there, by what the disk says now. */
export async function commandsAt(
  root: string,
  upstreams: Readonly<Record<string, UpstreamConfig>>,
): Promise<string[]> {
  const commands = commandsOf(upstreams);
  if (commands.length === 0) return [];
  const real = await realNow(root);
  const met = await Promise.all(
    commands.map(async ([alias, place]) => {
      if (meets(root, place) || meets(real, { ...place, path: await realNow(place.path) })) return [alias];
      return [];
    }),
  );
  return met.flat();
}

/** What stands against each workspace where it lies, by its project. */
export function groundMistakes(
  { workspaces, upstreams }: Pick<McpConfig, "workspaces" | "upstreams">,
  dataDir: string,
): [string, string][] {
  const commands = commandsOf(upstreams);
  const seen: { project: string; real: string }[] = [];
  const mistakes: [string, string][] = [];
  for (const [project, { root, write }] of Object.entries(workspaces)) {
    const real = realOf(root);
    const system = systemPlaceOf(root) ?? systemPlaceOf(real);
    if (system !== null) mistakes.push([project, `${system} is the system's; ${ofItsOwn}`]);
    else if (isWithin(real, realOf(dataDir)))
      mistakes.push([project, `lies in the gateway's own data dir; ${ofItsOwn}`]);
    const other = seen.find(({ real: taken }) => isWithin(real, taken) || isWithin(taken, real));
    if (other !== undefined)
      mistakes.push([project, `shares its directory with ${other.project}; would have one of its own`]);
    seen.push({ project, real });
    if (write.length > 0 && isWithin(realOf(ownProgram), real))
      mistakes.push([project, `may be written, and the gateway's own program lies in it; ${ofItsOwn}`]);
    const run = commands.find(
      ([, place]) => meets(root, place) || meets(real, { ...place, path: realOf(place.path) }),
    );
    if (write.length > 0 && run !== undefined)
      mistakes.push([
        project,
        `may be written, and mcp.upstreams.${run[0]} runs what lies in ${run[1].path}: whoever writes here could run programs; would be apart from it, or have no write`,
      ]);
  }
  return mistakes;
}

/** What may come right without the configuration being touched. */
export function groundWarnings(workspaces: McpConfig["workspaces"]): string[] {
  return Object.entries(workspaces).flatMap(([project, workspace]) => {
    const wrong = groundTrouble(workspace);
    return wrong === null ? [] : [`mcp.workspaces.${project}: ${wrong}`];
  });
}

/** Why a workspace cannot be used as it is meant, or null. */
export function groundTrouble({ root, write }: WorkspaceConfig): string | null {
  try {
    if (!statSync(root).isDirectory()) return `${root} is no directory`;
  } catch {
    return `there is no directory ${root}`;
  }
  const isFor = (mode: number): boolean => {
    try {
      accessSync(root, mode);
      return true;
    } catch {
      return false;
    }
  };
  if (!isFor(constants.R_OK | constants.X_OK)) return `this user may not read ${root}`;
  return write.length > 0 && !isFor(constants.W_OK) ? `this user may not write in ${root}` : null;
}

/** Linux leads from here to the file that this process was started from; elsewhere it is nothing. */
const ownProgram = "/proc/self/exe";

const ofItsOwn = "would be a directory of its own, such as /srv/workspaces/one";

/** Where a file can be a device, or what the machine runs by, or a secret of it. */
const systemTrees = [
  "/proc",
  "/sys",
  "/dev",
  "/etc",
  "/boot",
  "/run",
  "/var/run",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/usr",
];
/** Whole trees of others' directories, where one of them would do. */
const systemHomes = ["/", "/root", "/home", "/Users", "/var", "/var/lib", "/opt"];

function systemPlaceOf(root: string): string | null {
  const isSystem = systemHomes.includes(root) || systemTrees.some((tree) => isWithin(root, tree));
  return isSystem ? root : null;
}
