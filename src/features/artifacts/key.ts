/**
 * Where an object is in its store. Keys are the gateway's own: of the caller's name only plain letters, digits, dots,
 * dashes and underscores come through, so that no store and no file system reads anything into it. The name as it was
 * given stays on the row.
 */

export type Home = {
  readonly projectId: string;
  readonly sessionId: string;
  /** 0 where it belongs to no iteration. */
  readonly iteration: number;
};

export const artifactKey = ({ projectId, sessionId, iteration }: Home, id: string, name: string): string =>
  `projects/${projectId}/sessions/${sessionId}/iterations/${iteration}/${id}/${safeName(name)}`;

export const attachmentKey = (userId: string, id: string, name: string): string =>
  `chat/uploads/${userId}/${id}/${safeName(name)}`;

/** What lies below these prefixes is the gateway's. */
export const keyPrefixes = ["projects/", "chat/uploads/"] as const;

/** Whose object it is, or null for a key that is none of ours. */
export function partsOf(key: string): { owner: string; id: string } | null {
  const found =
    /^projects\/(prj_[0-9a-f]{32})\/sessions\/ses_[0-9a-f]{32}\/iterations\/\d+\/(art_[0-9a-f]{32})\/[^/]+$/.exec(
      key,
    ) ?? /^chat\/uploads\/(usr_[0-9a-f]{32})\/(art_[0-9a-f]{32})\/[^/]+$/.exec(key);
  return found === null ? null : { owner: found[1] ?? "", id: found[2] ?? "" };
}

const charactersMax = 100;
const endingMax = 16;

/** At most 100 characters of ASCII, its ending kept, no dot in front; `file` when nothing is left. */
function safeName(name: string): string {
  const plain = name
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[.-]+|[.-]+$/g, "");
  if (plain.length <= charactersMax) return plain || "file";
  const [ending = ""] = /\.[^.]*$/.exec(plain) ?? [];
  const kept = ending.length <= endingMax ? ending : "";
  return plain.slice(0, charactersMax - kept.length) + kept;
}
