import { Elysia } from "elysia";
import type { Guard } from "../../platform/guard.ts";
import type { Disk } from "./disk.ts";

/** Where the local store's signed URLs lead. A HEAD arrives at the door of GET, and has no signature of its own. */
export function blobRoutes({ guard, disk }: { guard: Guard; disk: Disk }) {
  const signed = { plane: "blobs", public: "The URL's signature is the proof." } as const;
  return new Elysia()
    .get(
      "/blobs/*",
      guard.open(signed, ({ call }) => disk.serve(call)),
    )
    .put(
      "/blobs/*",
      guard.open(signed, ({ call }) => disk.receive(call)),
    );
}
