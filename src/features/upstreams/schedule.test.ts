import { expect, test } from "bun:test";
import { Schedule } from "./schedule.ts";

const terms = { everyMs: 400, retryMs: 20, retryMsMax: 80, hintMs: 10 };

/** Rounds that go as told, and when each began. */
function scheduleOf(goes: () => Promise<boolean> | boolean, more: Partial<typeof terms> = {}) {
  const begun: number[] = [];
  let running = 0;
  let most = 0;
  const schedule = new Schedule(
    async () => {
      begun.push(performance.now());
      most = Math.max(most, ++running);
      const wentWell = await goes();
      running--;
      return wentWell;
    },
    { ...terms, ...more },
  );
  return { schedule, begun, most: () => most };
}

test("however often a server hints, it is listed ever more seldom until the regular round, and one round at a time", async () => {
  const { schedule, begun, most } = scheduleOf(async () => {
    await Bun.sleep(1);
    return true;
  });
  schedule.start();
  const hinting = setInterval(() => schedule.hint(), 1);
  await Bun.sleep(350);
  clearInterval(hinting);
  await schedule.stop();
  // 0, 10, 30, 70, 150, 310 ms, and then the regular one.
  expect(begun.length).toBeGreaterThanOrEqual(4);
  expect(begun.length).toBeLessThanOrEqual(6);
  expect(most()).toBe(1);
});

test("a dead server is asked ever more seldom, no sooner for a hint, and at once when its settings change", async () => {
  let isDead = true;
  const { schedule, begun } = scheduleOf(() => !isDead);
  schedule.start();
  const hinting = setInterval(() => schedule.hint(), 1);
  await Bun.sleep(400);
  clearInterval(hinting);
  // 0, 20, 60, 140 ms, and every 80 ms from then on, give or take a tenth.
  expect(begun.length).toBeGreaterThanOrEqual(5);
  expect(begun.length).toBeLessThanOrEqual(9);
  isDead = false;
  const before = begun.length;
  schedule.start();
  await Bun.sleep(10);
  expect(begun.length).toBe(before + 1);
  await schedule.stop();
});

test("a hint during a round is heeded after it, and nothing begins after the stop, which waits for the round", async () => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const { schedule, begun } = scheduleOf(() => (begun.length === 1 ? promise : true));
  schedule.start();
  await Bun.sleep(5);
  schedule.hint();
  await Bun.sleep(30);
  expect(begun).toHaveLength(1);
  resolve(true);
  await Bun.sleep(30);
  expect(begun).toHaveLength(2);
  await schedule.stop();
  schedule.hint();
  schedule.start();
  await Bun.sleep(30);
  expect(begun).toHaveLength(2);
});
