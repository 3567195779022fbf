import { expect, test } from "bun:test";
import { Turns } from "./turns.ts";

test("so many work at once for each name, in the order in which they came, also after a failure", async () => {
  const turns = new Turns({ atOnce: 2 });
  const began: string[] = [];
  let most = 0;
  let now = 0;
  const work = (name: string) => async () => {
    began.push(name);
    most = Math.max(most, ++now);
    await Bun.sleep(2);
    now--;
    if (name === "a1") throw new Error("failed");
    return name;
  };
  const names = Array.from({ length: 9 }, (_, at) => `a${at}`);
  const done = await Promise.allSettled(names.map((name) => turns.run("a", work(name))));
  expect([began, most]).toEqual([names, 2]);
  expect(done.map(({ status }) => status)).toEqual(
    names.map((name) => (name === "a1" ? "rejected" : "fulfilled")),
  );
  most = 0;
  await Promise.all(["x", "y", "z"].map((name) => turns.run(name, work(name))));
  expect(most).toBe(3);
});
