/**
 * Files of a project on the gateway's own disk, for tools: a directory that the configuration names, and in it the text
 * files of the extensions that it names. Nothing is open unless it is named.
 *
 * A write is decided under a lock and given its name by one rename, so that a reader sees the old content or the new. Its
 * audit row is committed before (`workspace.write_begun`), and the outcome's in the transaction that ends with the rename
 * (`workspace.file_written`): no kill leaves a written file without a row. One that has begun and never ended is in doubt.
 */
import type { Stats } from "node:fs";
import type { Actor } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import { requireOpenProject } from "../../db/open-session.ts";
import type { McpConfig, WorkspaceConfig } from "../../platform/config.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import type { Cursors } from "../../platform/page.ts";
import { type Holder, rightsIn } from "../../platform/scopes.ts";
import { asWorkspaceFailure, Directory, type Ground, readAtMost, walk } from "./beneath.ts";
import { isSpeakable, parseDirectoryPath, parsePath } from "./path.ts";
import { Rules } from "./rules.ts";
import { takeFile } from "./store.ts";
import { bytesOf, pieceOf, textOf, tooLarge } from "./text.ts";

const fileBytesMax = 1_048_576;

export type WorkspacesNeeds = {
  config: () => Pick<McpConfig, "workspaces">;
  /** How much an answer may hold. */
  answerBytesMax: () => number;
  changes: Changes;
  cursors: Cursors;
  ground: Ground;
};

export type Entry = {
  path: string;
  type: "file" | "directory";
  size_bytes: number | null;
  modified_at: string;
  readable: boolean;
  writable: boolean;
};

type Write = {
  readonly projectId: string;
  readonly actor: Actor;
  readonly path: string;
  readonly content: string;
  readonly expectedSha256: string | null;
  readonly createDirectories: boolean;
};

/** A write whose way and bytes are in order. */
type Ready = Write & Place & { readonly bytes: Uint8Array; readonly sha256: string };
type Place = { readonly segments: string[]; readonly workspace: WorkspaceConfig; readonly rules: Rules };

export class Workspaces {
  readonly #needs: WorkspacesNeeds;

  constructor(needs: WorkspacesNeeds) {
    this.#needs = needs;
  }

  /** Whether there is any workspace that this caller has a part in. */
  isOffered(holder: Holder): boolean {
    return Object.keys(this.#needs.config().workspaces).some((id) => rightsIn(holder, id) !== null);
  }

  /** One directory, sorted by name: directories, and the files that may be read or written. */
  list(projectId: string, asked: { path: string; limit: number; cursor?: string | undefined }) {
    return mapped(async () => {
      const { workspace, rules } = this.#workspaceOf(projectId);
      const segments = parseDirectoryPath(asked.path);
      rules.requireEntry(segments);
      const list = `workspace ${projectId} ${asked.path}`;
      const after = asked.cursor === undefined ? "" : (this.#needs.cursors.open(list, asked.cursor)[0] ?? "");
      await using directory = await this.#enter(workspace, segments);
      if (directory === null) throw notFound("There is no such directory.");
      const shown = (await directory.entries())
        .filter((entry) => isSpeakable(entry.name) && isShown(entry, [...segments, entry.name], rules))
        .map(({ name }) => name)
        .filter((name) => name > after)
        .sort();
      const page = shown.slice(0, asked.limit);
      const data = await Promise.all(page.map((name) => entryOf(directory, [...segments, name], rules)));
      const last = page.at(-1);
      const isEnd = shown.length <= asked.limit || last === undefined;
      return {
        data: data.filter((entry) => entry !== null),
        next_cursor: isEnd ? null : this.#needs.cursors.seal(list, [last]),
      };
    });
  }

  /** A piece of one text file, ended between two characters. */
  read(projectId: string, { path, offset, length }: { path: string; offset: number; length: number }) {
    return mapped(async () => {
      const { workspace, segments } = this.#fileOf(projectId, path, "read");
      await using directory = await this.#enter(workspace, segments.slice(0, -1));
      const bytes = directory === null ? null : await contentOf(directory, segments.at(-1) ?? "");
      if (bytes === null) throw notFound("There is no such file.");
      textOf(bytes);
      const answerBytesMax = this.#needs.answerBytesMax();
      const { content, next } = pieceOf(bytes, { offset, length, answerBytesMax });
      return {
        path,
        content,
        size_bytes: bytes.length,
        sha256: digest(bytes),
        next_offset_bytes: next,
      };
    });
  }

  /** The whole content, in place of what `expectedSha256` names or, with null, of nothing. Throws 409 `hash_mismatch`. */
  write(asked: Write) {
    return mapped(async () => {
      const bytes = bytesOf(asked.content, fileBytesMax);
      const ready = {
        ...asked,
        ...this.#fileOf(asked.projectId, asked.path, "write"),
        bytes,
        sha256: digest(bytes),
      };
      // What is refused anyway leaves no row of a change; decided again under the lock.
      await this.#inspect(ready);
      await this.#needs.changes.make(asked.actor, async (change) => {
        await requireOpenProject(change.tx, asked.projectId);
        await change.record(rowOf(ready, "workspace.write_begun"));
      });
      return this.#replace(ready);
    });
  }

  async #inspect(ready: Ready): Promise<void> {
    await using directory = await this.#enter(ready.workspace, ready.segments.slice(0, -1));
    if (directory === null && !ready.createDirectories) throw noDirectory();
    await requireExpected(directory, ready);
  }

  async #replace(ready: Ready) {
    const { changes } = this.#needs;
    let isPublished = false;
    try {
      return await changes.make(ready.actor, async (change) => {
        const answer = await this.#publish(change, ready, () => {
          isPublished = true;
        });
        return answer;
      });
    } catch (error) {
      // The name was given, and then the database failed to say so. `write_begun` stands in any case.
      const row = isPublished
        ? rowOf(ready, "workspace.file_written")
        : { ...rowOf(ready, "workspace.file_written"), outcome: "failed" as const };
      await changes.make(ready.actor, (change) => change.record(row)).catch(() => undefined);
      throw error;
    }
  }

  async #publish(change: Change, ready: Ready, published: () => void) {
    const { workspace, segments, bytes, path, sha256 } = ready;
    const name = segments.at(-1) ?? "";
    await requireOpenProject(change.tx, ready.projectId);
    await takeFile(change.tx, `${workspace.root}/${path}`);
    await using directory = await this.#enter(workspace, segments.slice(0, -1), ready.createDirectories);
    if (directory === null) throw noDirectory();
    const replaced = await requireExpected(directory, ready);
    // One name for each file, so that what a kill leaves is cleared away by the next write. No list shows it.
    const partial = `.specgate-${digest(Buffer.from(name)).slice(0, 16)}.partial`;
    await directory.lay(partial, bytes, replaced);
    try {
      await change.record(rowOf(ready, "workspace.file_written"));
      await directory.publish(partial, name);
    } catch (error) {
      await directory.remove(partial);
      throw error;
    }
    published();
    return { path, size_bytes: bytes.length, sha256, created: replaced === null };
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

  async #enter({ root }: WorkspaceConfig, segments: string[], isMade = false): Promise<Directory | null> {
    const opened = await Directory.openRoot(root, this.#needs.ground);
    return walk(opened, segments, isMade ? (here, segment) => here.make(segment) : undefined);
  }
}

async function mapped<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw asWorkspaceFailure(error);
  }
}

const digest = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

const rowOf = ({ projectId, path, bytes, sha256, expectedSha256 }: Ready, action: string) => ({
  action,
  subject: path,
  projectId,
  details: { bytes: bytes.length, sha256, replaced_sha256: expectedSha256 },
});

function isShown(
  entry: { isFile(): boolean; isDirectory(): boolean },
  segments: string[],
  rules: Rules,
): boolean {
  if (entry.isDirectory()) return rules.mayEnter(segments);
  return entry.isFile() && (rules.may("read", segments) || rules.may("write", segments));
}

/** Null when it has gone, or become something else. */
async function entryOf(directory: Directory, segments: string[], rules: Rules): Promise<Entry | null> {
  const stats = await directory.find(segments.at(-1) ?? "");
  if (stats === null || !isShown(stats, segments, rules)) return null;
  const isFile = stats.isFile();
  return {
    path: segments.join("/"),
    type: isFile ? "file" : "directory",
    size_bytes: isFile ? stats.size : null,
    modified_at: stats.mtime.toISOString(),
    readable: isFile ? rules.may("read", segments) : true,
    writable: isFile && rules.may("write", segments),
  };
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

/** What stands there now, when it is what the caller knows of; null for nothing. */
async function requireExpected(
  directory: Directory | null,
  { segments, rules, expectedSha256 }: Ready,
): Promise<Stats | null> {
  const found = (await directory?.openFile(segments.at(-1) ?? "")) ?? null;
  if (found === null) {
    if (expectedSha256 === null) return null;
    throw mismatch("There is no such file; leave expected_sha256 out to make it.");
  }
  try {
    // Who may not read a file is not told its hash: short contents could be guessed by it.
    const isTold = rules.may("read", segments);
    if (expectedSha256 === null && !isTold) throw mismatch("The file is there already.");
    const bytes = await readAtMost(found.handle, fileBytesMax);
    if (bytes === null) throw tooLarge(found.stats.size, fileBytesMax);
    const current = digest(bytes);
    if (current === expectedSha256) return found.stats;
    throw mismatch(
      isTold
        ? `The file's content has the SHA-256 ${current} now; read it, then send that as expected_sha256.`
        : "The file's content is another one now.",
    );
  } finally {
    await found.handle.close();
  }
}

const mismatch = (message: string): Failure => new Failure("conflict", "hash_mismatch", message);

const noDirectory = (): Failure =>
  notFound("The directory is not there; send create_directories: true to make it.");
