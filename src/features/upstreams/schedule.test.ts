import { expect, test } from "bun:test";
import { type Round, Schedule } from "./schedule.ts";

const terms = { everyMs: 400, retryMs: 20, retryMsMax: 80, hintMs: 10 };

/** Rounds that go as told, and when each began. */
function scheduleOf(goes: () => Promise<Round> | Round, more: Partial<typeof terms> = {}) {
  const begun: number[] = [];
  let running = 0;
  let most = 0;
  const schedule = new Schedule(
    async () => {
      begun.push(performance.now());
      most = Math.max(most, ++running);
      const round = await goes();
      running--;
      return round;
    },
    { ...terms, ...more },
  );
  return { schedule, begun, most: () => most };
}

test("however often a server hints, it is listed ever more seldom until the regular round, and one round at a time", async () => {
  const { schedule, begun, most } = scheduleOf(async (): Promise<Round> => {
    await Bun.sleep(1);
    return "same";
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

test("a server that shows something else each time is listed at its regular time alone, until it holds still", async () => {
  let round: Round = "other";
  const { schedule, begun } = scheduleOf((): Round => round, { everyMs: 100 });
  schedule.start();
  const hinting = setInterval(() => schedule.hint(), 1);
  await Bun.sleep(450);
  round = "same";
  const calmFrom = performance.now() + 150;
  await Bun.sleep(450);
  clearInterval(hinting);
  await schedule.stop();
  const pauses = begun.slice(1).map((at, before) => ({ at, ms: at - (begun[before] ?? 0) }));
  // 0, 10, 30, 70 ms, and each 100 from then on; later sooner again.
  const [busy, calm] = [pauses.slice(4, 6), pauses.filter(({ at }) => at > calmFrom)];
  expect(busy.filter(({ ms }) => ms < 75)).toEqual([]);
  expect(calm.some(({ ms }) => ms < 60)).toBe(true);
});

test("a dead server is asked ever more seldom, no sooner for a hint, and at once when its settings change", async () => {
  let isDead = true;
  const { schedule, begun } = scheduleOf(() => (isDead ? "failed" : "same"));
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
  const { promise, resolve } = Promise.withResolvers<Round>();
  const { schedule, begun } = scheduleOf(() => (begun.length === 1 ? promise : "same"));
  schedule.start();
  await Bun.sleep(5);
  schedule.hint();
  await Bun.sleep(30);
  expect(begun).toHaveLength(1);
  resolve("same");
  await Bun.sleep(30);
  expect(begun).toHaveLength(2);
  await schedule.stop();
  schedule.hint();
  schedule.start();
  await Bun.sleep(30);
  expect(begun).toHaveLength(2);
});
