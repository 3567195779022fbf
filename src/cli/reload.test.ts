import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../platform/config-load.ts";
import { silentLog } from "../platform/log.ts";
import { createReload } from "./reload.ts";

const cwd = mkdtempSync(join(tmpdir(), "specgate-reload-"));
const file = join(cwd, "specgate.yaml");
afterAll(() => rmSync(cwd, { recursive: true, force: true }));

const lookMs = 40;
function started(took?: (file: string | null) => void) {
  const source = { env: {}, cwd, flags: {}, terminal: false };
  const loaded = loadConfig(source);
  if (!loaded.ok) throw new Error(loaded.mistakes.join("\n"));
  return createReload(loaded.config, source, silentLog, took, lookMs);
}

const limited = (perMinute: number) => `limits: { llm: { requests_per_minute: ${perMinute} } }\n`;

test("a file that breaks or goes away leaves the old settings in force and a warning, until it is mended", () => {
  writeFileSync(file, limited(7));
  const reload = started();
  const perMinute = () => reload.gateway().limits.llm.requestsPerMinute;
  const steps: [() => void, number, number][] = [
    [() => writeFileSync(file, "limts: {}\n"), 7, 1],
    [() => writeFileSync(file, limited(8)), 8, 0],
    [() => renameSync(file, `${file}.away`), 8, 1],
    [() => renameSync(`${file}.away`, file), 8, 0],
    // Cut short by a full disk, or by a slip of `>`.
    [() => writeFileSync(file, ""), 8, 1],
    [() => writeFileSync(file, "# ours\nlimits:\n"), 8, 1],
    // Nothing, and meant so.
    [() => writeFileSync(file, "{}\n"), 600, 0],
    [() => writeFileSync(file, ""), 600, 0],
  ];
  for (const [change, limit, warnings] of steps) {
    change();
    reload.now();
    expect([perMinute(), reload.warnings().length]).toEqual([limit, warnings]);
  }
  reload.close();
});

test("a file that was not there at the start is taken at a signal, and whoever keeps note of it is told", () => {
  rmSync(file, { force: true });
  const taken: (string | null)[] = [];
  const reload = started((path) => taken.push(path));
  reload.now();
  writeFileSync(file, limited(9));
  reload.now();
  expect([reload.gateway().limits.llm.requestsPerMinute, taken]).toEqual([9, [null, file]]);
  writeFileSync(file, "limts: {}\n");
  reload.now();
  expect(taken).toHaveLength(2);
  reload.close();
});

test("a file that is still being written is not read", async () => {
  writeFileSync(file, limited(7));
  const taken: unknown[] = [];
  const reload = started(() => taken.push(reload.gateway().limits.llm.requestsPerMinute));
  for (let lines = 1; lines < 20; lines++) {
    writeFileSync(file, `${limited(8)}${"#\n".repeat(lines)}`);
    await Bun.sleep(lookMs / 2);
  }
  expect(taken).toEqual([]);
  writeFileSync(file, limited(9));
  while (taken.length === 0) await Bun.sleep(lookMs);
  expect(taken).toEqual([9]);
  reload.close();
});

test("a file that came after the start is followed from then on, and missed when it goes", () => {
  rmSync(file, { force: true });
  const reload = started();
  writeFileSync(file, limited(9));
  reload.now();
  rmSync(file);
  reload.now();
  expect([reload.gateway().limits.llm.requestsPerMinute, reload.warnings().length]).toEqual([9, 1]);
  reload.close();
});
