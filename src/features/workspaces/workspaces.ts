/**
 * Files of a project on the gateway's own disk, for tools: a directory that the configuration names, and in it the text
 * files of the extensions that it names. Nothing is open unless it is named.
 *
 * Where a path leads is decided in path.ts and rules.ts, how the disk is asked in beneath.ts, how a file is written in
 * writing.ts. Each workspace's disk has its own turns, so that one that hangs holds up nobody but its own callers.
 */
import type { Changes } from "../../db/changes.ts";
import type { McpConfig, WorkspaceConfig } from "../../platform/config.ts";
import { commandsAt } from "../../platform/config-grounds.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import type { Cursors } from "../../platform/page.ts";
import { type Holder, rightsIn } from "../../platform/scopes.ts";
import { pieceOf } from "../../platform/text-piece.ts";
import { asWorkspaceFailure, Directory, readAtMost, walk } from "./beneath.ts";
import { DiskTurns } from "./disk-turns.ts";
import type { Ground } from "./ground.ts";
import { pageOf } from "./listing.ts";
import { parseDirectoryPath, parsePath } from "./path.ts";
import { Rules } from "./rules.ts";
import { bytesOf, digest, fileBytesMax, textOf, tooLarge } from "./text.ts";
import { type Ready, Writing } from "./writing.ts";

export type WorkspacesNeeds = {
  config: () => Pick<McpConfig, "workspaces" | "upstreams">;
  changes: Changes;
  cursors: Cursors;
  ground: Ground;
  /** Of this gateway. */
  instance: string;
};

type Asked = Pick<Ready, "projectId" | "actor" | "path" | "expectedSha256" | "createDirectories"> & {
  readonly content: string;
};
type Place = Pick<Ready, "segments" | "workspace" | "rules">;

export class Workspaces {
  readonly #needs: WorkspacesNeeds;
  readonly #writing: Writing;
  readonly #reads = new DiskTurns({ atOnce: 16, waitMs: 5_000, deedMs: 10_000 });
  readonly #writes = new DiskTurns({ atOnce: 4, waitMs: 5_000, deedMs: 15_000 });

  constructor(needs: WorkspacesNeeds) {
    this.#needs = needs;
    const { changes, instance } = needs;
    const enter = (ready: Ready, isMade: boolean) => this.#enterToWrite(ready, isMade);
    this.#writing = new Writing({ changes, instance, enter });
  }

  /** Whether there is any workspace that this caller has a part in. */
  isOffered(holder: Holder): boolean {
    return Object.keys(this.#needs.config().workspaces).some((id) => rightsIn(holder, id) !== null);
  }

  /** One directory, sorted by name: directories, and the files that may be read or written. */
  async list(projectId: string, asked: { path: string; limit: number; cursor?: string | undefined }) {
    const { workspace, rules } = this.#workspaceOf(projectId);
    const segments = parseDirectoryPath(asked.path);
    rules.requireEntry(segments);
    const { cursors } = this.#needs;
    const list = `workspace ${projectId} ${asked.path}`;
    const after = asked.cursor === undefined ? "" : (cursors.open(list, asked.cursor)[0] ?? "");
    return mapped(this.#reads, workspace, async () => {
      await using directory = await this.#enter(workspace, segments);
      if (directory === null) throw notFound("There is no such directory.");
      const { entries, last } = await pageOf(directory, { segments, rules, after, limit: asked.limit });
      return { data: entries, next_cursor: last === null ? null : cursors.seal(list, [last]) };
    });
  }

  /** A piece of one text file, ended between two characters; no more of it than `bytesMax` of an answer carry. */
  async read(projectId: string, asked: { path: string; offset: number; length: number; bytesMax: number }) {
    const { path, offset, length, bytesMax } = asked;
    const { workspace, segments } = this.#fileOf(projectId, path, "read");
    return mapped(this.#reads, workspace, async () => {
      await using directory = await this.#enter(workspace, segments.slice(0, -1));
      const bytes = directory === null ? null : await contentOf(directory, segments.at(-1) ?? "");
      if (bytes === null) throw notFound("There is no such file.");
      textOf(bytes);
      const sha256 = digest(bytes);
      const say = (content: string, next: number | null) => ({
        path,
        content,
        size_bytes: bytes.length,
        sha256,
        next_offset_bytes: next,
      });
      return pieceOf(bytes, { offset, length }, { say, bytesMax });
    });
  }

  /** The whole content, in place of what `expectedSha256` names or, with null, of nothing. Throws 409 `hash_mismatch`. */
  async write(asked: Asked) {
    const bytes = bytesOf(asked.content, fileBytesMax);
    const place = this.#fileOf(asked.projectId, asked.path, "write");
    const ready: Ready = { ...asked, ...place, bytes, sha256: digest(bytes) };
    return mapped(this.#writes, place.workspace, () => this.#writing.write(ready));
  }

  #fileOf(projectId: string, path: string, deed: "read" | "write"): Place {
    const { workspace, rules } = this.#workspaceOf(projectId);
    const segments = parsePath(path);
    rules.require(deed, segments);
    return { segments, workspace, rules };
  }

  #workspaceOf(projectId: string): { workspace: WorkspaceConfig; rules: Rules } {
    const { workspaces } = this.#needs.config();
    const workspace = Object.hasOwn(workspaces, projectId) ? workspaces[projectId] : undefined;
    if (workspace === undefined) throw notFound("This project has no workspace on this gateway.");
    return { workspace, rules: new Rules(workspace) };
  }

  async #enter({ root }: WorkspaceConfig, segments: readonly string[], isMade = false) {
    const opened = await Directory.openRoot(root, this.#needs.ground);
    return walk(opened, segments, isMade ? (here, segment) => here.make(segment) : undefined);
  }

  /** Asked of the disk as it is now: since the configuration was read, a link may lead a command in here. */
  async #enterToWrite({ workspace, segments }: Ready, isMade: boolean) {
    const [run] = await commandsAt(workspace.root, this.#needs.config().upstreams);
    if (run !== undefined) throw runsHere();
    return this.#enter(workspace, segments.slice(0, -1), isMade);
  }
}

async function mapped<Result>(
  turns: DiskTurns,
  { root }: WorkspaceConfig,
  run: () => Promise<Result>,
): Promise<Result> {
  try {
    return await turns.take(root, run);
  } catch (error) {
    throw asWorkspaceFailure(error);
  }
}

/** All bytes of a file, or null when there is none. */
async function contentOf(directory: Directory, name: string): Promise<Uint8Array | null> {
  const found = await directory.openFile(name);
  if (found === null) return null;
  try {
    const bytes = await readAtMost(found.handle, fileBytesMax);
    if (bytes === null) throw tooLarge(found.stats.size, fileBytesMax);
    return bytes;
  } finally {
    await found.handle.close();
  }
}

const runsHere = (): Failure =>
  new Failure(
    "unavailable",
    "workspace_unavailable",
    "This workspace cannot be written: a command that the gateway runs lies there. An operator has to look.",
  );
