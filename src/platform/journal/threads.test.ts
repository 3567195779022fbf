import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../log.ts";
import { Shelf, threadAt } from "./threads.ts";

test("a journal that cannot have its first segment says where, why and what it needs", async () => {
  const room = mkdtempSync(join(tmpdir(), "specgate-threads-"));
  const dir = join(room, "gone");
  const keepDrained = { ms: 0, bytes: 0 };
  const options = { dir, epoch: 1, segmentBytes: 2 ** 24, leftovers: [], keepDrained, log: silentLog };
  const shelf = new Shelf(threadAt(undefined), options);
  const why = await shelf.first.then(String, (error: Error) => error.message);
  expect(why).toStartWith(`The journal in ${dir} cannot be opened: Error: ENOENT`);
  expect(why).toEndWith("Give it 16 MiB of room and the right to write there.");
  await shelf.close();
  rmSync(room, { recursive: true });
});
