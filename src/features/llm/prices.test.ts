import { describe, expect, test } from "bun:test";
import type { PriceSnapshot } from "../../db/ledger.ts";
import { type GatewayConfig, type PriceConfig, spokenEndpoints } from "../../platform/config.ts";
import { emptyGateway } from "../../platform/config-file.ts";
import { createPrices, noOverrides, type PriceOverrides } from "./prices.ts";

const provider = (baseUrl: string): GatewayConfig["providers"][string] => ({
  kind: "openai",
  baseUrl,
  apiKey: null,
  endpoints: spokenEndpoints.openai,
  includeUsage: true,
  allowPrivateNetwork: false,
});

function pricesAt(time: string, file: Record<string, number> = {}, overrides: PriceOverrides = noOverrides) {
  const config: GatewayConfig = {
    ...emptyGateway(),
    providers: {
      openai: provider("https://api.openai.com/v1"),
      claude: { ...provider("https://api.anthropic.com"), kind: "anthropic" },
      deepseek: provider("https://api.deepseek.com"),
      house: provider("http://127.0.0.1:1"),
    },
    prices: Object.fromEntries(Object.entries(file).map(([name, usd]) => [name, flatConfig(usd)])),
  };
  let now = Date.parse(time);
  const prices = createPrices({ gateway: () => config, clock: { now: () => now }, overrides });
  return { ...prices, move: (ms: number) => (now += ms) };
}

const flatConfig = (usd: number): PriceConfig => ({
  inputNanoPerMtok: usd * 1e9,
  cachedReadNanoPerMtok: usd * 1e9,
  cacheWriteNanoPerMtok: usd * 1e9,
  outputNanoPerMtok: usd * 1e9,
});
const flat = (usd: number): PriceSnapshot => ({
  input: usd * 1e9,
  cached_read: usd * 1e9,
  cache_write: usd * 1e9,
  output: usd * 1e9,
});
const set = (usd: Record<string, number>, sinceMs = 1): ReturnType<PriceOverrides["at"]> =>
  new Map(Object.entries(usd).map(([name, value]) => [name, { prices: flat(value), sinceMs }]));

describe("the built-in table", () => {
  test("knows the usual parts, those kept for an hour and audio among them", () => {
    const { find } = pricesAt("2026-11-01T00:00:00Z");
    expect(find("openai", "gpt-4o-mini")).toEqual({
      input: 150_000_000,
      cached_read: 75_000_000,
      cache_write: 150_000_000,
      output: 600_000_000,
    });
    expect(find("claude", "claude-opus-4-5")?.cache_write_long).toBe(10_000_000_000);
    expect(find("openai", "gpt-audio")).toMatchObject({
      audio_input: 32_000_000_000,
      audio_output: 64_000_000_000,
    });
  });

  test("knows what grows with the input, and how much a model reads", () => {
    const prices = pricesAt("2026-11-01T00:00:00Z");
    const [tier, ...more] = prices.find("claude", "claude-sonnet-4-5")?.tiers ?? [];
    expect(tier).toMatchObject({ above: 200_000, input: 6_000_000_000, output: 22_500_000_000 });
    expect(more).toEqual([]);
    expect(prices.contextTokens("claude", "claude-sonnet-4-5")).toBeGreaterThanOrEqual(200_000);
    expect(prices.contextTokens("house", "x")).toBeNull();
  });

  test("counts by the price of the day", () => {
    const prices = pricesAt("2025-06-09T23:59:59Z");
    const before = prices.find("openai", "o3")?.input ?? 0;
    prices.move(2_000);
    expect([before, prices.find("openai", "o3")?.input]).toEqual([10_000_000_000, 2_000_000_000]);
    expect(prices.explain("openai", "o3")).toMatchObject({
      source: "table",
      sinceMs: Date.parse("2025-06-10T00:00:00Z"),
    });
  });

  test("counts by the price of the hour", () => {
    const prices = pricesAt("2026-11-01T00:29:59Z");
    const night = prices.find("deepseek", "deepseek-chat")?.input ?? 0;
    prices.move(2_000);
    const day = prices.find("deepseek", "deepseek-chat")?.input ?? 0;
    prices.move(16 * 3_600_000);
    expect(night).not.toBe(day);
    expect(prices.find("deepseek", "deepseek-chat")?.input).toBe(night);
  });

  test("says when it knows nothing", () => {
    const prices = pricesAt("2026-11-01T00:00:00Z");
    expect([prices.find("house", "x"), prices.claims("house", "x")]).toEqual([null, false]);
    expect(prices.explain("house", "x").source).toBeNull();
    expect(prices.find("nobody", "gpt-4o-mini")).toBeNull();
  });
});

describe("what the operator wrote", () => {
  const file = {
    "openai/*": 1,
    "openai/gpt-4o*": 2,
    "openai/gpt-4o-mini": 3,
    "*/llama*": 4,
    "ho*/*": 5,
    "*/*": 6,
  };
  test.each([
    ["openai", "o3", 1],
    ["openai", "gpt-4o", 2],
    ["openai", "gpt-4o-mini", 3],
    ["house", "llama-3", 4],
    ["house", "qwen", 5],
    ["house", "org/llama-3", 5],
    ["claude", "anything", 6],
  ] as const)("%s/%s costs what the most exact name for it says", (provider, model, usd) => {
    const { find } = pricesAt("2026-11-01T00:00:00Z", file);
    expect(find(provider, model)).toEqual(flat(usd));
  });

  test("stands over the table, and what was set by the API stands over both", () => {
    const overrides = { at: () => table };
    let table = set({});
    const prices = pricesAt("2026-11-01T00:00:00Z", { "openai/gpt-4o-mini": 3 }, overrides);
    expect(prices.explain("openai", "gpt-4o-mini")).toMatchObject({ source: "file", prices: flat(3) });
    table = set({ "openai/*": 9 }, 77);
    expect(prices.explain("openai", "gpt-4o-mini")).toMatchObject({
      source: "override",
      pattern: "openai/*",
      prices: flat(9),
      sinceMs: 77,
    });
    table = set({});
    expect(prices.find("openai", "gpt-4o-mini")).toEqual(flat(3));
  });

  test("by its full name lets a bare name find its provider", () => {
    const prices = pricesAt("2026-11-01T00:00:00Z", { "house/x": 1, "house/*": 2 });
    expect([prices.claims("house", "x"), prices.claims("house", "y")]).toEqual([true, false]);
  });

  test("leaves what only the table can say in its proportion to what was set", () => {
    const table = pricesAt("2026-11-01T00:00:00Z");
    const listed = table.find("claude", "claude-sonnet-4-5");
    const rates = { input: 3e9, cached_read: 0.3e9, cache_write: 3.75e9, output: 15e9 };
    const setTo = (prices: PriceSnapshot) =>
      pricesAt(
        "2026-11-01T00:00:00Z",
        {},
        {
          at: () => new Map([["*/*", { prices, sinceMs: 1 }]]),
        },
      );
    expect(setTo(rates).find("claude", "claude-sonnet-4-5")).toEqual(listed);
    expect(setTo(rates).find("house", "x")).toEqual(rates);
    expect(setTo(flat(0)).find("claude", "claude-sonnet-4-5")).toMatchObject({
      cache_write_long: 0,
      tiers: [{ above: 200_000, ...flat(0) }],
    });
    const halved = pricesAt("2026-11-01T00:00:00Z", { "openai/gpt-audio": 1.25 });
    expect(halved.find("openai", "gpt-audio")).toMatchObject({ ...flat(1.25), audio_input: 16e9 });
  });
});
