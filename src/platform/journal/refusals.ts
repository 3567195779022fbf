/** The two ways in which the journal refuses a record, and how it refuses to open. */
import { Failure } from "../failure.ts";

export const unavailable = (reason: string): Failure =>
  new Failure(
    "unavailable",
    "journal_unavailable",
    "The gateway's journal cannot be written, so no call can be recorded. It takes a look at its disk and a restart.",
    { cause: reason },
  );

export const noRoom = (): Failure =>
  new Failure(
    "no_room",
    "no_room",
    "The disk under the gateway's journal has no room left for another call. Free some and try again.",
    { retryAfterSeconds: 5 },
  );

export const noSegment = (wanted: { dir: string; segmentBytes: number }, reason: string): Failure =>
  new Failure(
    "no_room",
    "no_room",
    `The journal in ${wanted.dir} cannot be opened: ${reason}. Give it ${wanted.segmentBytes / 2 ** 20} MiB of room and the right to write there.`,
  );
