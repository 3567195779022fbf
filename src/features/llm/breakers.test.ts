import { expect, test } from "bun:test";
import type { Alarm } from "../../db/alarms.ts";
import { systemClock } from "../../platform/clock.ts";
import type { ProviderConfig } from "../../platform/config.ts";
import { Secret } from "../../platform/secret.ts";
import { Breakers, type Pass } from "./breakers.ts";

const openMs = 60;
const at = (baseUrl: string, key = "sk"): ProviderConfig => ({
  kind: "openai",
  baseUrl,
  apiKey: new Secret(key),
  endpoints: [],
  includeUsage: true,
  allowPrivateNetwork: false,
});
function breakersTold() {
  const told: Alarm[] = [];
  const file: { providers: Record<string, ProviderConfig> } = { providers: { openai: at("http://wrong") } };
  const breakers = new Breakers({
    raise: (alarm) => told.push(alarm),
    clock: systemClock(),
    providers: () => file.providers,
    openMs,
  });
  return { breakers, told, file };
}
const target = { provider: "openai", model: "m" };
const settle = () => Bun.sleep(1);

async function calls(breakers: Breakers, count: number, say: keyof Pass, who = target): Promise<void> {
  for (let n = 0; n < count; n++) {
    breakers.enter(who)?.[say]();
    await settle();
  }
}

test("nine failures are bad luck, ten are a target that is down", async () => {
  const { breakers, told } = breakersTold();
  await calls(breakers, 9, "failed");
  expect(breakers.waitMs(target)).toBe(0);
  await calls(breakers, 1, "failed");
  expect(breakers.waitMs(target)).toBeGreaterThan(0);
  expect(breakers.enter(target)).toBeNull();
  expect(breakers.waitMs({ ...target, model: "other" })).toBe(0);
  expect(told).toMatchObject([{ type: "provider.down", payload: { provider: "openai" } }]);
  expect(told[0]?.once).toMatch(/^provider\.down:openai:\d{4}-\d\d-\d\dT\d\d:\d\dZ$/);
});

test("as long as most calls succeed a target is asked", async () => {
  const { breakers } = breakersTold();
  for (let n = 0; n < 30; n++) {
    await calls(breakers, 1, "failed");
    await calls(breakers, 2, "succeeded");
  }
  expect(breakers.waitMs(target)).toBe(0);
});

test("one call tries it again; the others go elsewhere until it has said how it went", async () => {
  const { breakers, told } = breakersTold();
  await calls(breakers, 10, "failed");
  await Bun.sleep(openMs + 5);
  expect(breakers.waitMs(target)).toBe(0);
  const probe = breakers.enter(target);
  expect(probe).not.toBeNull();
  expect(breakers.enter(target)).toBeNull();
  expect(breakers.states()).toMatchObject([{ state: "half_open" }]);
  probe?.failed();
  await settle();
  // What the call comes to afterwards says nothing more.
  probe?.abandoned();
  // Twice as long as before.
  expect(breakers.waitMs(target)).toBeGreaterThan(openMs);
  await Bun.sleep(2 * openMs + 5);
  // Whoever leaves has found out nothing, so the next call may try at once.
  breakers.enter(target)?.abandoned();
  await settle();
  expect(breakers.waitMs(target)).toBeLessThan(5);
  await Bun.sleep(5);
  breakers.enter(target)?.failed();
  await settle();
  expect(breakers.waitMs(target)).toBeGreaterThan(2 * openMs);
  await Bun.sleep(4 * openMs + 5);
  breakers.enter(target)?.succeeded();
  await settle();
  expect(breakers.states()).toMatchObject([{ state: "closed" }]);
  expect(breakers.waitMs(target)).toBe(0);
  expect(told.map(({ type }) => type)).toEqual(["provider.down", "provider.up"]);
});

test("a call that tries it and takes its time does not keep everybody out", async () => {
  const { breakers } = breakersTold();
  await calls(breakers, 10, "failed");
  await Bun.sleep(openMs + 5);
  const slow = breakers.enter(target);
  expect(breakers.enter(target)).toBeNull();
  await Bun.sleep(3_010);
  expect(breakers.waitMs(target)).toBe(0);
  const second = breakers.enter(target);
  // One in three seconds.
  expect(breakers.enter(target)).toBeNull();
  second?.began();
  await settle();
  expect(breakers.states()).toMatchObject([{ state: "closed" }]);
  slow?.failed();
  await settle();
  expect(breakers.waitMs(target)).toBe(0);
});

test("what began before it opened says nothing of a target that is left alone", async () => {
  const { breakers } = breakersTold();
  await calls(breakers, 1, "failed");
  const early = breakers.enter(target);
  await calls(breakers, 9, "failed");
  await Bun.sleep(openMs + 5);
  early?.succeeded();
  await settle();
  expect(breakers.states()).toMatchObject([{ state: "open" }]);
});

test("a provider is down from the first of its targets to the last", async () => {
  const { breakers, told } = breakersTold();
  const other = { ...target, model: "other" };
  await calls(breakers, 10, "failed");
  await calls(breakers, 10, "failed", other);
  await Bun.sleep(openMs + 5);
  await calls(breakers, 1, "succeeded");
  expect(told.map(({ type }) => type)).toEqual(["provider.down"]);
  await calls(breakers, 1, "succeeded", other);
  expect(told.map(({ type }) => type)).toEqual(["provider.down", "provider.up"]);
});

test("a provider whose configuration changed or went is a stranger, and not down any more", async () => {
  for (const providers of [{ openai: at("http://right") }, { openai: at("http://wrong", "sk-2") }, {}]) {
    const { breakers, told, file } = breakersTold();
    const late = breakers.enter(target);
    await calls(breakers, 10, "failed");
    const probed = breakers.enter({ ...target, model: "other" });
    file.providers = { openai: at("http://wrong") };
    breakers.forgetChanged();
    expect(breakers.waitMs(target)).toBeGreaterThan(0);
    await Bun.sleep(openMs + 5);
    const probe = breakers.enter(target);
    file.providers = providers;
    breakers.forgetChanged();
    expect(breakers.waitMs(target)).toBe(0);
    // What the old one comes to is no news of the new one.
    for (const old of [late, probed, probe]) old?.failed();
    await settle();
    expect(breakers.states()).toEqual([]);
    expect(told.map(({ type }) => type)).toEqual(["provider.down", "provider.up"]);
  }
});

test("names that strangers make up do not fill the memory, and what is open is not forgotten for them", async () => {
  const { breakers } = breakersTold();
  await calls(breakers, 10, "failed");
  for (let n = 0; n < 3_000; n++) breakers.enter({ provider: "p", model: `made up ${n}` })?.failed();
  expect(breakers.states().length).toBeLessThanOrEqual(1_000);
  expect(breakers.states()).toContainEqual(expect.objectContaining({ ...target, state: "open" }));
});
