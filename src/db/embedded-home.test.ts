import { expect, test } from "bun:test";
import { chownSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { host, testDir } from "../testing/cluster.ts";
import { findHome } from "./embedded-home.ts";

test("root leaves the cluster of an ordinary user's gateway alone, and says who may use it", () => {
  const dir = testDir();
  const cluster = dir.file("postgres/cluster");
  mkdirSync(cluster, { recursive: true });
  if (host.uid === 0) chownSync(cluster, 1, 1);
  const { uid } = statSync(cluster);
  const before = [statSync(dir.path).mode, readdirSync(dir.path)];
  const enter = () => findHome(dir, { ...host, uid: 0 }, { postgresUid: null, remembered: null });
  expect(enter).toThrow(`belongs to user ${uid}. Run this as that user`);
  expect([statSync(dir.path).mode, readdirSync(dir.path)]).toEqual(before);
});
