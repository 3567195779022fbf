/** How stored bytes are judged, with stores that a real one cannot be made to be. */
import { describe, expect, test } from "bun:test";
import { sha256Of } from "../../testing/stores.ts";
import { type Announced, inspect } from "./inspect.ts";
import type { ObjectStore, StoredObject } from "./object-store.ts";

const bytes = new TextEncoder().encode("what was found out");
const announced = (more: Partial<Announced> = {}): Announced => ({
  owner: "prj_a",
  key: "a",
  contentType: "text/plain",
  sizeBytes: bytes.length,
  sha256: sha256Of(bytes),
  ...more,
});

/** One that knows a single object. */
function storeOf(
  found: Partial<StoredObject> | null,
  read: () => ReadableStream<Uint8Array> = streamOf,
): ObjectStore {
  const usual = { sizeBytes: bytes.length, contentType: null, sha256: null, etag: "e" };
  return {
    find: async () => (found === null ? null : { ...usual, ...found }),
    read: async () => read(),
  } as Partial<ObjectStore> as ObjectStore;
}

const streamOf = (): ReadableStream<Uint8Array> => new Blob([bytes]).stream();
const never = (): ReadableStream<Uint8Array> => new ReadableStream({ pull: () => new Promise(() => {}) });

describe("what is stored", () => {
  test("is judged by the store's checksum, by its bytes, or by its size, in that order", async () => {
    const large = 64 * 1_048_576 + 1;
    const rows: [Partial<StoredObject>, Partial<Announced>, string][] = [
      [{ sha256: sha256Of(bytes) }, {}, "store"],
      [{}, {}, "bytes"],
      [{ sizeBytes: large }, { sizeBytes: large }, "size"],
    ];
    for (const [found, asked, checkedBy] of rows)
      expect(await inspect(storeOf(found), announced(asked))).toMatchObject({ verdict: "match", checkedBy });
  });

  test("is no match when anything of it differs", async () => {
    const other = new TextEncoder().encode("What was found out");
    const rows: [Partial<StoredObject> | null, (() => ReadableStream<Uint8Array>) | undefined, string][] = [
      [null, undefined, "missing"],
      [{ sizeBytes: 1 }, undefined, "mismatch"],
      [{ contentType: "text/html" }, undefined, "mismatch"],
      [{ contentType: "TEXT/Plain" }, undefined, "match"],
      [{ sha256: sha256Of(other) }, undefined, "mismatch"],
      [{}, () => new Blob([other]).stream(), "mismatch"],
    ];
    for (const [found, read, verdict] of rows) {
      const judged: string = (await inspect(storeOf(found, read), announced())).verdict;
      expect([found, judged]).toEqual([found, verdict]);
    }
  });

  test("of one project does not keep another's waiting", async () => {
    for (let hanging = 0; hanging < 5; hanging++)
      void inspect(storeOf({}, never), announced({ owner: "prj_slow" }));
    await Bun.sleep(10);
    const other = await inspect(storeOf({}), announced({ owner: "prj_b" }));
    expect(other.verdict).toBe("match");
  });
});
