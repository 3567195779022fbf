/**
 * The words of shared memory between the journal and its sync thread.
 *
 * The journal counts its flushes up in `flushed` after each write, and `segment` up when it goes on to another file;
 * before that it leaves in `untilOf` the last flush of the file it left. All counts wrap at 2^31: compare by difference.
 */
export const word = { flushed: 0, segment: 1, resumeAt: 2, stop: 3, waiting: 4 } as const;
/** Files that may wait for their sync at once. */
export const slots = 64;
export const controlBytes = 4 * (5 + 2 * slots);

export const descriptorOf = (segment: number): number => 5 + (segment % slots);
export const untilOf = (segment: number): number => 5 + slots + (segment % slots);

/** What the sync thread is started with, and what it says: the last flush that is on disk, or why a sync failed. */
export type SyncOrder = { role: "sync"; control: SharedArrayBuffer };
export type SyncWord = number | { failed: string; segment: number };

/** What the keeper thread is started with, is asked, and answers. */
export type KeeperOrder = { role: "keep" };
export type KeeperTask =
  | { make: string; bytes: number; from: string[] }
  | { expire: string; ms: number; bytes: number };
export type KeeperWord = { made: string } | { failed: string; code: string };
