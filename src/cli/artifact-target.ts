/**
 * Where `specgate artifact get` puts what it fetches. The file gets its name only when all of its bytes are there and
 * right; nothing that was there before is lost without `--force`, and a name that a stranger gave is taken only when it
 * is harmless.
 */
import { type FileHandle, link, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { onDisk } from "./artifact-spool.ts";
import { printable } from "./print.ts";
import { Ended, Misuse, type World } from "./world.ts";

export type Target = { readonly path: string; readonly isForced: boolean };

/** `file` is what the person said, else it is called what the artifact is called. */
export async function findTarget(
  world: World,
  artifactName: string,
  { output, force = false }: { output?: string; force?: boolean },
): Promise<Target> {
  if (output === undefined) requireHarmless(artifactName);
  const path = resolve(world.cwd, output ?? artifactName);
  await requireFree(path, output ?? artifactName, force);
  return { path, isForced: force };
}

/** Names that hide a file, leave the directory, look like an option, or mean a device where they are read. */
function requireHarmless(name: string): void {
  const isHarmless =
    !/^[.-]|[/\\:\p{C}]|[. ]$/u.test(name) &&
    !/^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(name) &&
    name.trim() !== "";
  if (isHarmless) return;
  throw new Misuse([`"${printable(name)}" is no name to save a file by; would be one of yours: -o FILE`]);
}

async function requireFree(path: string, name: string, isForced: boolean): Promise<void> {
  const there = await stat(path).catch(() => null);
  if (there === null) return;
  if (!there.isFile())
    throw new Misuse([`${name} is there, and not a file that could be replaced; would be a file's name`]);
  if (!isForced) throw taken(name);
}

const taken = (name: string): Misuse => new Misuse([`${name} is there already; --force replaces it`]);

/** `fill` writes all of it; when it throws, or a signal comes, nothing is left. */
export async function saveAs(
  world: World,
  { path, isForced }: Target,
  fill: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const partial = join(dirname(path), `.specgate-${crypto.randomUUID()}.part`);
  const work = async (): Promise<void> => {
    const file = await onDisk(path, () => open(partial, "wx"));
    try {
      await fill(file);
      await onDisk(path, () => file.sync());
    } finally {
      await file.close();
    }
    await name(partial, path, isForced);
  };
  try {
    await untilSignal(world, work);
  } finally {
    await rm(partial, { force: true });
  }
}

async function name(partial: string, path: string, isForced: boolean): Promise<void> {
  if (isForced) return onDisk(path, () => rename(partial, path));
  try {
    // Unlike a rename, it fails when somebody else has made a file of this name meanwhile.
    await link(partial, path);
  } catch (error) {
    if ((error as { code?: unknown }).code === "EEXIST") throw taken(path);
    // Some file systems have no second names.
    await requireFree(path, path, false);
    await onDisk(path, () => rename(partial, path));
  }
}

async function untilSignal<T>(world: World, work: () => Promise<T>): Promise<T> {
  const stopped = Promise.withResolvers<never>();
  const off = world.onSignal(() => stopped.reject(new Ended(1)));
  try {
    return await Promise.race([work(), stopped.promise]);
  } finally {
    off();
  }
}
