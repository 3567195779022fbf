import { expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { scratchDir } from "../testing/cluster.ts";
import { bootId, openDataDir } from "./data-dir.ts";
import { findHolder, lockDataDir } from "./data-dir-lock.ts";

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

test("a data dir is made only when asked for, and then closed to others", () => {
  const path = `${scratchDir()}/deep/data`;
  expect(() => openDataDir(path, { create: false })).toThrow(`no SpecGate data dir at ${path}`);
  const dir = openDataDir(path, { create: true });
  expect(modeOf(path)).toBe("700");
  expect(dir.instance).toMatch(/^[0-9a-f-]{36}$/);
  expect(openDataDir(path, { create: false }).instance).toBe(dir.instance);
});

test("an empty directory is no data dir", () => {
  expect(() => openDataDir(scratchDir(), { create: false })).toThrow("no SpecGate data dir");
});

test("the epoch rises with each boot, and its nonce is new each time", () => {
  const dir = openDataDir(scratchDir(), { create: true });
  const boots = [1, 2, 3].map(() => dir.nextEpoch());
  expect(boots.map(({ epoch }) => epoch)).toEqual([1, 2, 3]);
  expect(new Set(boots.map(({ nonce }) => nonce)).size).toBe(3);
  writeFileSync(dir.file("epoch"), "many");
  expect(() => dir.nextEpoch()).toThrow("damaged");
});

test("a secret is made once, and read by its owner alone", () => {
  const dir = openDataDir(scratchDir(), { create: true });
  const secret = dir.secretFile("jwt-secret", 32);
  expect(secret).toHaveLength(32);
  expect([...dir.secretFile("jwt-secret", 32)]).toEqual([...secret]);
  expect([...readFileSync(dir.file("jwt-secret"))]).toEqual([...secret]);
  expect(modeOf(dir.file("jwt-secret"))).toBe("600");
  expect(() => dir.secretFile("jwt-secret", 64)).toThrow("damaged");
});

test("a second opener is told who is there and since when", async () => {
  const dir = openDataDir(scratchDir(), { create: true });
  expect(findHolder(dir)).toBeNull();
  const lock = await lockDataDir(dir, { pid: 4711, command: "serve", waitMs: 0 });
  const holder = findHolder(dir);
  expect(holder).toMatchObject({ pid: 4711, command: "serve" });
  const second = lockDataDir(dir, { pid: 1, command: "user create", waitMs: 100 });
  expect(second).rejects.toThrow(`in use by \`specgate serve\` (process 4711, since ${holder?.started_at}`);
  await Bun.sleep(200);
  lock.release();
  expect(findHolder(dir)).toBeNull();
});

test("an opener that waits gets in when the first one leaves", async () => {
  const dir = openDataDir(scratchDir(), { create: true });
  const first = await lockDataDir(dir, { pid: 1, command: "user create", waitMs: 0 });
  const second = lockDataDir(dir, { pid: 2, command: "serve", waitMs: 5_000 });
  await Bun.sleep(100);
  first.release();
  (await second).release();
});

test("the lock ends with its process, however that ends", async () => {
  const dir = openDataDir(scratchDir(), { create: true });
  const source = `
    import { openDataDir } from "${import.meta.dir}/data-dir.ts";
    import { lockDataDir } from "${import.meta.dir}/data-dir-lock.ts";
    await lockDataDir(openDataDir("${dir.path}", { create: false }), { pid: 1, command: "serve", waitMs: 0 });
    console.log("locked");
    setInterval(() => {}, 1000);`;
  const other = Bun.spawn({ cmd: [process.execPath, "-e", source], stdout: "pipe" });
  await other.stdout.getReader().read();
  expect(findHolder(dir)).toMatchObject({ command: "serve" });
  other.kill("SIGKILL");
  await other.exited;
  expect(findHolder(dir)).toBeNull();
  const lock = await lockDataDir(dir, { pid: 2, command: "serve", waitMs: 0 });
  lock.release();
});

test("the boot id names this run of the kernel", () => {
  expect(bootId("linux")).toBe(bootId("linux"));
  expect(bootId("linux")).toMatch(/^[0-9a-f-]{36}$/);
});
