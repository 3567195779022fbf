import type { Db } from "../../db/database.ts";
import { oauthRefusal } from "./form.ts";
import { isSessionOf } from "./store.ts";

/** A token is bound to a session that is there, in the project that it is bound to. Throws `invalid_request`. */
export async function requireSession(
  db: Db,
  { projectId, sessionId }: { projectId: string | null; sessionId: string | null },
): Promise<void> {
  if (sessionId === null) return;
  if (projectId !== null && (await isSessionOf(db, sessionId, projectId))) return;
  throw oauthRefusal("invalid_request", "session_id is no session of the project that this token acts in.");
}
