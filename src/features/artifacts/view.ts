/** Artifacts as they are shown, audited and told. */
import type { Change } from "../../db/changes.ts";
import type { ArtifactView } from "./contract.ts";
import type { ArtifactRow } from "./store.ts";

export const artifactView = (row: ArtifactRow): ArtifactView => ({
  id: row.id,
  project_id: projectOf(row),
  session_id: row.sessionId,
  iteration_id: row.iterationId,
  kind: row.kind,
  name: row.name,
  content_type: row.contentType,
  size_bytes: row.sizeBytes,
  sha256: row.sha256,
  status: row.status,
  sha256_verified: row.checkedBy === null ? null : row.checkedBy !== "size",
  etag: row.etag,
  created_by: row.createdBy,
  created_at: row.createdAt.toISOString(),
  completed_at: row.completedAt?.toISOString() ?? null,
  expires_at: row.expiresAt?.toISOString() ?? null,
  version: row.version,
});

const projectOf = ({ owner, sessionId }: ArtifactRow): string | null => (sessionId === null ? null : owner);

type Verb = "created" | "signed" | "completed" | "rejected" | "deleted" | "purged";
const eventTypes = {
  created: "created",
  completed: "updated",
  rejected: "deleted",
  deleted: "deleted",
} as const;

/** One audit entry, and one event where others see a difference. */
export async function follow(
  change: Change,
  verb: Verb,
  row: ArtifactRow,
  details: Record<string, unknown>,
): Promise<ArtifactView> {
  const view = artifactView(row);
  const { id, sessionId } = row;
  const projectId = projectOf(row);
  await change.record({ action: `artifact.${verb}`, subject: id, projectId, sessionId, details });
  if (verb === "signed" || verb === "purged" || projectId === null) return view;
  const { iteration_id, kind, name, status, size_bytes, version } = view;
  const payload = { id, session_id: sessionId, iteration_id, kind, name, status, size_bytes, version };
  await change.tell({ projectId, sessionId, type: `artifact.${eventTypes[verb]}`, payload });
  return view;
}
