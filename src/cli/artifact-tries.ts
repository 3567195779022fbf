/**
 * When a transfer is tried again: after a broken line, a store in trouble, or a URL whose time is over. What the store
 * says no to for good is not asked for again.
 */
import type { Failure } from "../platform/failure.ts";
import type { Meter } from "./artifact-meter.ts";
import { StoreLost, StoreRefusal } from "./artifact-store.ts";
import type { World } from "./world.ts";

const triesMax = 5;
const pauseSecondsMax = 10;

/** `once` is told how many tries came before, and says when its own has gained something: then they are forgotten. */
export async function trying<T>(
  world: World,
  meter: Meter,
  once: (before: number, gained: () => void) => Promise<T>,
): Promise<T> {
  let wasOld = false;
  let before = 0;
  for (let failed = 0; ; before += 1) {
    try {
      return await once(before, () => {
        failed = 0;
      });
    } catch (error) {
      if (!isOfOldUrl(error) && !isPassing(error)) throw error;
      const isOld = isOfOldUrl(error);
      // Each try has a URL of its own: a second one that is refused was not too old.
      if (isOld && wasOld) throw error;
      failed += 1;
      if (failed >= triesMax) throw error;
      wasOld = isOld;
      meter.say(`${error.message}; trying again (${failed + 1} of ${triesMax})`);
      if (!isOld) await world.sleep(1_000 * pauseSeconds(error, failed));
    }
  }
}

function pauseSeconds({ retryAfterSeconds }: Failure, failed: number): number {
  return Math.min(pauseSecondsMax, Math.max(retryAfterSeconds ?? 0, 2 ** (failed - 1)));
}

/** Some stores say no more of a URL that is over than that they refuse it. */
const isOfOldUrl = (error: unknown): error is StoreRefusal =>
  error instanceof StoreRefusal &&
  error.httpStatus === 403 &&
  (["url_expired", "AccessDenied", "ExpiredToken"].includes(error.storeCode) ||
    /expired/i.test(error.message));

/** What left was what was announced, so a checksum that differs is damage on the way. */
const passingCodes = [
  "body_incomplete",
  "checksum_mismatch",
  "upload_too_slow",
  "BadDigest",
  "ConditionalRequestConflict",
  "RequestTimeout",
];

const isPassing = (error: unknown): error is StoreLost | StoreRefusal =>
  error instanceof StoreLost ||
  (error instanceof StoreRefusal &&
    error.storeCode !== "no_room" &&
    (error.httpStatus >= 500 ||
      [408, 429].includes(error.httpStatus) ||
      passingCodes.includes(error.storeCode)));
