/**
 * Artifacts: files of a session, and what a person attaches to a chat. The gateway hands out signed URLs and keeps the
 * books; the bytes go between the caller and the store.
 *
 * An artifact is complete only when the store has been asked: what is there has the size, the type and the checksum that
 * were announced. What differs is rejected for good and its object removed. Objects are written once. A row outlives its
 * object, so that it can always be told what there was.
 */

import type { Actor } from "../../db/audit-entry.ts";
import type { Change, Changes } from "../../db/changes.ts";
import type { Database, Db } from "../../db/database.ts";
import { requireIterationOf, requireOpenSession } from "../../db/open-session.ts";
import type { ArtifactsConfig } from "../../platform/config.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { type Cursors, type Page, pageOf } from "../../platform/page.ts";
import { createShared } from "../../platform/turns.ts";
import { requireVersion } from "../../platform/versions.ts";
import { type Offered, requireAcceptable, requireTtl } from "./acceptance.ts";
import {
  type ArtifactsQuery,
  type ArtifactView,
  chatKind,
  type DownloadView,
  type NewArtifact,
  type NewArtifactView,
  type NewAttachment,
  type UploadView,
} from "./contract.ts";
import { type Announced, type Inspection, inspect } from "./inspect.ts";
import { artifactKey, attachmentKey } from "./key.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Purge } from "./purge.ts";
import {
  type ArtifactRow,
  completeArtifact,
  endArtifact,
  findArtifact,
  insertArtifact,
  keepUploadUntil,
  listArtifacts,
  lockArtifact,
  numberOf,
  takeRoom,
} from "./store.ts";
import { artifactView, follow } from "./view.ts";

export type ArtifactsNeeds = {
  database: Database;
  changes: Changes;
  cursors: Cursors;
  objects: ObjectStore;
  purge: Purge;
  /** As the configuration says right now. */
  allowed: () => ArtifactsConfig;
};

export class Artifacts {
  readonly #needs: ArtifactsNeeds;
  readonly #inspections = createShared<Inspection>();

  constructor(needs: ArtifactsNeeds) {
    this.#needs = needs;
  }

  /**
   * Throws 422 `artifact_name_refused`, `artifact_type_refused`, `artifact_empty`, `artifact_too_large`, `ttl_too_long`,
   * 409 `artifact_quota_exceeded` and `closed`, and 422 for an iteration of another session.
   */
  async create(change: Change, sessionId: string, asked: NewArtifact): Promise<NewArtifactView> {
    requireAcceptable(asked, this.#needs.allowed());
    const { projectId } = await requireOpenSession(change.tx, sessionId);
    const { kind, iteration_id: iterationId = null } = asked;
    await requireIterationOf(change.tx, sessionId, iterationId);
    const iteration = iterationId === null ? 0 : await numberOf(change.tx, iterationId);
    const id = newId("art");
    const key = artifactKey({ projectId, sessionId, iteration }, id, asked.name);
    return this.#keep(change, { id, owner: projectId, sessionId, iterationId, kind, key }, asked);
  }

  /** Of a person's own, in no project. Throws as `create` does. */
  async attach(change: Change, userId: string, asked: NewAttachment): Promise<NewArtifactView> {
    requireAcceptable(asked, this.#needs.allowed());
    const id = newId("art");
    const key = attachmentKey(userId, id, asked.name);
    const home = { id, owner: userId, sessionId: null, iterationId: null };
    return this.#keep(change, { ...home, kind: chatKind, key }, asked);
  }

  /** Another URL for what is still to come. Throws 409 `artifact_complete`, `artifact_expired`, `artifact_gone`. */
  async signAgain(change: Change, id: string, ttlSeconds: number | undefined): Promise<NewArtifactView> {
    requireTtl(ttlSeconds, this.#needs.allowed().putTtlSeconds);
    const row = await this.#lock(change.tx, found(await findArtifact(change.tx, id)));
    if (row.status === "complete") throw conflict("artifact_complete", "This artifact is complete already.");
    requirePending(row);
    const upload = await this.#sign(row, ttlSeconds);
    const until = await keepUploadUntil(change.tx, id, new Date(upload.expires_at));
    return { artifact: await follow(change, "signed", until, {}), upload };
  }

  async get(id: string): Promise<ArtifactView> {
    return artifactView(found(await findArtifact(this.#needs.database.db, id)));
  }

  /** Newest first. */
  async page(sessionId: string, query: ArtifactsQuery): Promise<Page<ArtifactView>> {
    const { cursors, database } = this.#needs;
    const list = `artifacts ${sessionId}`;
    const { limit, cursor, kind, iteration: iterationId, status } = query;
    const [after = null] = cursor === undefined ? [] : cursors.open(list, cursor);
    const asked = { sessionId, after, kind, iterationId, status, rowsMax: limit + 1 };
    const rows = await listArtifacts(database.db, asked);
    const page = pageOf(rows, limit, ({ id }) => cursors.seal(list, [id]));
    return { ...page, data: page.data.map(artifactView) };
  }

  /**
   * What the store has of a pending artifact: asked before the change begins, so that no transaction waits for a store.
   * What is not as announced is rejected here and now. Throws 409 `closed`.
   */
  async inspect(actor: Actor, id: string): Promise<Inspection | null> {
    const row = found(await findArtifact(this.#needs.database.db, id));
    if (row.status !== "pending") return null;
    this.#requireHere(row);
    if (row.sessionId !== null) await requireOpenSession(this.#needs.database.db, row.sessionId);
    const seen = await this.#inspections.ask(row.id, () => inspect(this.#needs.objects, row));
    if (seen.verdict === "mismatch") await this.#reject(actor, row, seen.reason);
    return seen;
  }

  /** `seen` is what `inspect` said. Throws 409 `artifact_missing`, `artifact_mismatch`, `artifact_gone`, `closed`. */
  async complete(change: Change, id: string, seen: Inspection | null): Promise<ArtifactView> {
    const known = found(await findArtifact(change.tx, id));
    // Whoever lost the answer gets it again, whatever has become of the session.
    if (known.status === "complete") return artifactView(known);
    const row = await this.#lock(change.tx, known);
    if (row.status === "complete") return artifactView(row);
    if (row.status === "rejected" || seen?.verdict === "mismatch") throw mismatch(seen);
    requirePending(row);
    if (seen?.verdict !== "match") throw missing();
    const { etag, checkedBy } = seen;
    const { retentionDays } = this.#needs.allowed();
    const complete = await completeArtifact(change.tx, id, { etag, checkedBy }, retentionDays);
    return follow(change, "completed", complete, { sha256: row.sha256, checked_by: checkedBy });
  }

  /** Throws 409 `artifact_pending`, `artifact_expired`, `artifact_gone`. */
  async download(id: string, ttlSeconds: number | undefined): Promise<DownloadView> {
    const { getTtlSeconds } = this.#needs.allowed();
    requireTtl(ttlSeconds, getTtlSeconds);
    const row = found(await findArtifact(this.#needs.database.db, id));
    if (row.status === "pending") throw pending();
    if (row.status !== "complete") throw gone(row);
    requireNotExpired(row);
    this.#requireHere(row);
    const { key, name, contentType } = row;
    const terms = { key, name, contentType, ttlSeconds: ttlSeconds ?? getTtlSeconds };
    const { url, expiresAt } = await this.#needs.objects.presignGet(terms);
    return { url, expires_at: expiresAt.toISOString() };
  }

  /**
   * Also in a session that is over: what should never have been uploaded must always go. Its object goes at once where
   * the store answers, else with the next purge. Throws 412 `stale_version`, 409 `artifact_elsewhere`.
   */
  async delete(actor: Actor, id: string, seen: number | null): Promise<ArtifactView> {
    const { changes, purge } = this.#needs;
    const deleted = await changes.make(actor, async (change) => {
      const row = found(await lockArtifact(change.tx, id));
      requireVersion(row, seen);
      if (row.status !== "pending" && row.status !== "complete") return row;
      this.#requireHere(row);
      const ended = await endArtifact(change.tx, id, "deleted", actor.id);
      await follow(change, "deleted", ended, { size_bytes: row.sizeBytes });
      return ended;
    });
    const [buried = deleted] = await purge.bury([deleted]);
    return artifactView(buried);
  }

  /** The row, its audit entry, and the signed URL that goes with it. */
  async #keep(
    change: Change,
    home: Pick<ArtifactRow, "id" | "owner" | "sessionId" | "iterationId" | "kind" | "key">,
    asked: Offered & { sha256: string },
  ): Promise<NewArtifactView> {
    const { objects, allowed } = this.#needs;
    const { name, content_type: contentType, size_bytes: sizeBytes, sha256 } = asked;
    const told = { name, contentType, sizeBytes, sha256 };
    const upload = await this.#sign({ ...told, key: home.key }, asked.ttl_seconds);
    const row = await insertArtifact(change.tx, {
      ...home,
      ...told,
      place: objects.place,
      status: "pending",
      createdBy: change.actor.id,
      uploadUntil: new Date(upload.expires_at),
    });
    const details = { size_bytes: sizeBytes, sha256, content_type: contentType };
    const artifact = await follow(change, "created", row, details);
    // Last: until the transaction ends, others of the same owner wait here.
    const { quotaBytes } = allowed();
    const room = await takeRoom(change.tx, home.owner, sizeBytes, quotaBytes);
    if (!room.ok) throw overQuota(sizeBytes, room.takenBytes, quotaBytes ?? 0);
    return { artifact, upload };
  }

  async #sign(
    { key, contentType, sizeBytes, sha256 }: Omit<Announced, "owner">,
    ttl?: number,
  ): Promise<UploadView> {
    const { objects, allowed } = this.#needs;
    const ttlSeconds = ttl ?? allowed().putTtlSeconds;
    const signed = await objects.presignPut({ key, contentType, sizeBytes, sha256, ttlSeconds });
    const { method, url, headers, expiresAt } = signed;
    return { method, url, headers, expires_at: expiresAt.toISOString() };
  }

  async #reject(actor: Actor, { id, sessionId }: ArtifactRow, reason: string): Promise<void> {
    const { changes, purge } = this.#needs;
    const rejected = await changes.make(actor, async (change) => {
      if (sessionId !== null) await requireOpenSession(change.tx, sessionId);
      const { status } = found(await lockArtifact(change.tx, id));
      if (status !== "pending") return null;
      const ended = await endArtifact(change.tx, id, "rejected", actor.id);
      await follow(change, "rejected", ended, { reason });
      return ended;
    });
    if (rejected !== null) await purge.bury([rejected]);
  }

  /** In a session that is open, or of a person's own. */
  async #lock(tx: Db, { id, sessionId }: ArtifactRow): Promise<ArtifactRow> {
    if (sessionId !== null) await requireOpenSession(tx, sessionId);
    const row = found(await lockArtifact(tx, id));
    this.#requireHere(row);
    return row;
  }

  #requireHere({ place }: ArtifactRow): void {
    if (place === this.#needs.objects.place) return;
    const message = `Its bytes are in another store (${place}) than the one this gateway is set to.`;
    throw conflict("artifact_elsewhere", message);
  }
}

const found = (row: ArtifactRow | undefined): ArtifactRow => {
  if (row === undefined) throw notFound();
  return row;
};

function requirePending(row: ArtifactRow): void {
  if (row.status !== "pending") throw gone(row);
  requireNotExpired(row);
}

function requireNotExpired({ expiresAt }: ArtifactRow): void {
  if (expiresAt === null || expiresAt.getTime() > Date.now()) return;
  throw conflict("artifact_expired", `This artifact was kept until ${expiresAt.toISOString()}.`);
}

const conflict = (code: string, message: string, members?: Record<string, unknown>): Failure =>
  new Failure("conflict", code, message, members === undefined ? {} : { members });

const pending = (): Failure =>
  conflict(
    "artifact_pending",
    "This artifact is not complete yet: upload its bytes, then POST its completion.",
  );

const missing = (): Failure =>
  conflict("artifact_missing", "The store has no object for this artifact yet: PUT its bytes first.");

const gone = ({ status }: ArtifactRow): Failure =>
  conflict("artifact_gone", `This artifact is ${status}; its bytes are not kept any more.`);

function mismatch(seen: Inspection | null): Failure {
  const why = seen?.verdict === "mismatch" ? ` (${seen.reason})` : "";
  const message = `What was uploaded is not what was announced${why}. It is removed; create the artifact again.`;
  return conflict("artifact_mismatch", message);
}

const overQuota = (bytes: number, takenBytes: number, quotaBytes: number): Failure =>
  conflict(
    "artifact_quota_exceeded",
    `There is no room for ${bytes} bytes: ${takenBytes} of ${quotaBytes} are taken. Delete artifacts, which makes room once nothing can be uploaded in their name any more, or have artifacts.quota_bytes raised.`,
    { taken_bytes: takenBytes, quota_bytes: quotaBytes },
  );
