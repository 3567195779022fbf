/**
 * One write of a file: laid beside it and synced first, then given its name in one step, so that a reader sees the old
 * content or the new.
 *
 * Its audit row is committed before (`workspace.write_begun`), and the outcome's in the transaction that ends with the
 * name (`workspace.file_written`): no kill leaves a written file without a row. One that has begun and never ended is in
 * doubt. In that transaction the disk is asked for two names and nothing else, and not for long: what takes its time on a
 * disk must hold no connection to the database.
 */
import type { Stats } from "node:fs";
import type { Actor } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { requireOpenProject } from "../../db/open-session.ts";
import type { WorkspaceConfig } from "../../platform/config.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { Turns } from "../../platform/turns.ts";
import { type Directory, partialStart, readAtMost } from "./beneath.ts";
import { within } from "./disk-turns.ts";
import type { Rules } from "./rules.ts";
import { takeFile } from "./store.ts";
import { digest, fileBytesMax, tooLarge } from "./text.ts";

/** What its caller asks, with its way and its bytes in order. */
export type Ready = {
  readonly projectId: string;
  readonly actor: Actor;
  readonly path: string;
  readonly segments: readonly string[];
  readonly workspace: WorkspaceConfig;
  readonly rules: Rules;
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly expectedSha256: string | null;
  readonly createDirectories: boolean;
};

export type Written = { path: string; size_bytes: number; sha256: string; created: boolean };

export type WritingNeeds = {
  changes: Changes;
  /** Of this gateway, so that two of them never lay the same file. */
  instance: string;
  /** The directory that the file lies in, made when that is asked for; null when it is not there. */
  enter: (ready: Ready, isMade: boolean) => Promise<Directory | null>;
};

/** Of the connections that there are, how many may have a write in them. */
const namingAtOnce = 3;
const namingMs = 3_000;

export class Writing {
  readonly #needs: WritingNeeds;
  readonly #underWay = new Set<string>();
  readonly #naming = new Turns({ atOnce: namingAtOnce });
  readonly #mark: string;

  constructor(needs: WritingNeeds) {
    this.#needs = needs;
    this.#mark = digest(Buffer.from(needs.instance)).slice(0, 8);
  }

  /** Throws 409 `hash_mismatch` and `busy`. */
  async write(ready: Ready): Promise<Written> {
    const key = keyOf(ready);
    if (this.#underWay.has(key)) throw busy();
    this.#underWay.add(key);
    try {
      return await this.#write(ready);
    } finally {
      this.#underWay.delete(key);
    }
  }

  async #write(ready: Ready): Promise<Written> {
    const { changes, enter } = this.#needs;
    {
      // What is refused anyway leaves no row of a change.
      await using directory = await enter(ready, false);
      if (directory === null && !ready.createDirectories) throw noDirectory();
      await requireExpected(directory, ready);
    }
    await changes.make(ready.actor, async (change) => {
      await requireOpenProject(change.tx, ready.projectId);
      await change.record(rowOf(ready, "workspace.write_begun"));
    });
    try {
      return await this.#replace(ready);
    } catch (error) {
      if (!(error instanceof NamedAndUnsaid)) await this.#record(ready, "failed").catch(() => undefined);
      throw error instanceof NamedAndUnsaid ? error.cause : error;
    }
  }

  async #replace(ready: Ready): Promise<Written> {
    const { path, segments, bytes, sha256 } = ready;
    await using directory = await this.#needs.enter(ready, ready.createDirectories);
    if (directory === null) throw noDirectory();
    const name = segments.at(-1) ?? "";
    const replaced = await requireExpected(directory, ready);
    // One name for each file, so that what a kill leaves is cleared away by the next write. No list shows it.
    const partial = `${partialStart(name)}-${this.#mark}.partial`;
    await directory.lay(partial, bytes, replaced);
    const isNamed = await this.#name(ready, () => directory.publish(partial, name, replaced)).catch(
      async (error: unknown) => {
        await directory.remove(partial);
        throw error;
      },
    );
    if (!isNamed) {
      await directory.remove(partial);
      await requireExpected(directory, ready);
      // The same content, in a file that is another one or has been touched.
      throw busy();
    }
    await directory.sync();
    return { path, size_bytes: bytes.length, sha256, created: replaced === null };
  }

  /** Whether the file has its name now, and a row that says so. */
  async #name(ready: Ready, publish: () => Promise<boolean>): Promise<boolean> {
    const asked: { published: Promise<boolean> | null } = { published: null };
    try {
      return await this.#naming.run("", () =>
        this.#needs.changes.make(ready.actor, async (change) => {
          if (!(await takeFile(change.tx, keyOf(ready)))) throw busy();
          await requireOpenProject(change.tx, ready.projectId);
          await change.record(rowOf(ready, "workspace.file_written"));
          asked.published = publish();
          if (await within(namingMs, asked.published)) return true;
          throw new Elsewise();
        }),
      );
    } catch (error) {
      if (error instanceof Elsewise) return false;
      // The disk was late, or the name was given and then the database failed to say so.
      if ((await asked.published?.catch(() => false)) !== true) throw error;
      await this.#record(ready, "ok").catch(() => {
        throw new NamedAndUnsaid(error);
      });
      return true;
    }
  }

  #record(ready: Ready, outcome: "ok" | "failed"): Promise<void> {
    const row = { ...rowOf(ready, "workspace.file_written"), ...(outcome === "ok" ? {} : { outcome }) };
    return this.#needs.changes.make(ready.actor, (change) => change.record(row));
  }
}

/** Something else stands there: nothing of the transaction may stay. */
class Elsewise extends Error {}

/** The file is written, and the database has not heard of it: a row that says `failed` would be wrong. */
class NamedAndUnsaid extends Error {
  constructor(cause: unknown) {
    super("named, and not recorded", { cause });
  }
}

const keyOf = ({ workspace, path }: Ready): string => `${workspace.root}/${path}`;

const rowOf = ({ projectId, path, bytes, sha256, expectedSha256 }: Ready, action: string) => ({
  action,
  subject: path,
  projectId,
  details: { bytes: bytes.length, sha256, replaced_sha256: expectedSha256 },
});

/** What stands there now, when it is what the caller knows of and may be replaced; null for nothing. */
async function requireExpected(
  directory: Directory | null,
  { segments, rules, expectedSha256 }: Ready,
): Promise<Stats | null> {
  const name = segments.at(-1) ?? "";
  const found = (await directory?.openFile(name)) ?? null;
  if (directory === null || found === null) {
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
    if (current !== expectedSha256)
      throw mismatch(
        isTold
          ? `The file's content has the SHA-256 ${current} now; read it, then send that as expected_sha256.`
          : "The file's content is another one now.",
      );
    await directory.requireWritable(name, found.stats);
    return found.stats;
  } finally {
    await found.handle.close();
  }
}

const busy = (): Failure =>
  new Failure("conflict", "busy", "Something else is writing this file. Read it again, then try again.", {
    retryAfterSeconds: 1,
  });

const mismatch = (message: string): Failure => new Failure("conflict", "hash_mismatch", message);

const noDirectory = (): Failure =>
  notFound("The directory is not there; send create_directories: true to make it.");
