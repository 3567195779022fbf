/** Objects going from their store, some at once; what the store does not let go is counted and stays. */
import type { ObjectStore } from "./object-store.ts";

const atOnce = 8;

export type Removal<Thing> = {
  readonly removed: Thing[];
  readonly failed: Thing[];
  /** Why the last of those stayed. */
  readonly error: unknown;
};

export async function removeObjects<Thing extends { key: string }>(
  objects: Pick<ObjectStore, "remove">,
  things: readonly Thing[],
  signal?: AbortSignal,
): Promise<Removal<Thing>> {
  const waiting = [...things];
  const removed: Thing[] = [];
  const failed: Thing[] = [];
  let error: unknown = null;
  const work = async () => {
    for (
      let thing = waiting.pop();
      thing !== undefined;
      thing = signal?.aborted ? undefined : waiting.pop()
    ) {
      try {
        await objects.remove(thing.key);
        removed.push(thing);
      } catch (reason) {
        failed.push(thing);
        error = reason;
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return { removed, failed, error };
}
