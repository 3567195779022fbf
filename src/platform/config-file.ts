/**
 * specgate.yaml: who can answer, what callers ask for, what it costs, how much is allowed; artifacts and what is
 * kept how long are read by config-artifacts.ts.
 *
 * Unknown keys are mistakes with their line and the nearest key; keys of features that this version does not have are
 * refused, never ignored. Prices are taken from their decimal text, so that no float ever holds money.
 */

import {
  type AlertsConfig,
  defaultAlerts,
  defaultArtifacts,
  defaultLimits,
  defaultMcp,
  defaultRetention,
  type GatewayConfig,
  type LimitsConfig,
  type PriceConfig,
  type ProviderConfig,
} from "./config.ts";
import { readArtifacts, readRetention } from "./config-artifacts.ts";
import { readMcp } from "./config-mcp.ts";
import { named, readModels, readProviders } from "./config-models.ts";
import type { Parsed } from "./config-values.ts";
import { type Entry, openPage, type Page } from "./config-yaml.ts";

export type FileReading = {
  gateway: GatewayConfig;
  mistakes: string[];
  /** True when no key has a value; `{}` says that this is meant. */
  isBlank: boolean;
};

/**
 * `registered` are the providers of the environment; one of the same name in the file takes its place. `dataDir` is the
 * gateway's own, which nothing that the file names may lie in.
 */
export function readConfigFile(
  source: string,
  shown: string,
  lookup: (name: string) => Parsed<string> | null,
  registered: Record<string, ProviderConfig>,
  dataDir: string,
): FileReading {
  const page = openPage(source, shown, lookup);
  const gateway = {
    ...emptyGateway(),
    providers: named(Object.entries(registered)),
  };
  if (page.root === null) return { gateway, mistakes: page.mistakes, isBlank: true };
  const keys = [
    "providers",
    "models",
    "prices",
    "limits",
    "artifacts",
    "mcp",
    "alerts",
    "retention",
  ] as const;
  const top = page.fields(page.root, keys);
  const stated = top.providers === undefined ? [] : namesOf(page, top.providers);
  const own = top.providers === undefined ? {} : readProviders(page, top.providers);
  gateway.providers = named([
    ...Object.entries(own),
    ...Object.entries(registered).filter(([name]) => !stated.includes(name)),
  ]);
  const known = [...new Set([...stated, ...Object.keys(registered)])];
  if (top.models !== undefined) gateway.models = readModels(page, top.models, known);
  if (top.prices !== undefined) gateway.prices = readPrices(page, top.prices);
  if (top.limits !== undefined) gateway.limits = readLimits(page, top.limits);
  if (top.artifacts !== undefined) gateway.artifacts = readArtifacts(page, top.artifacts);
  if (top.mcp !== undefined) gateway.mcp = readMcp(page, top.mcp, dataDir);
  if (top.alerts !== undefined) gateway.alerts = readAlerts(page, top.alerts);
  if (top.retention !== undefined) gateway.retention = readRetention(page, top.retention);
  const stood = Object.values(top);
  const isBlank = stood.length > 0 && stood.every((entry) => page.isNull(entry));
  return { gateway, mistakes: page.mistakes, isBlank };
}

export const emptyGateway = (): GatewayConfig => ({
  providers: named([]),
  models: named([]),
  prices: named([]),
  limits: structuredClone(defaultLimits),
  artifacts: structuredClone(defaultArtifacts),
  mcp: { ...structuredClone(defaultMcp), workspaces: named([]), upstreams: named([]) },
  alerts: { ...defaultAlerts },
  retention: structuredClone(defaultRetention),
});

function readAlerts(page: Page, entry: Entry): AlertsConfig {
  const field = page.fields(entry, ["allow_private_network"]);
  const allowed = field.allow_private_network ? page.flag(field.allow_private_network) : null;
  return { allowPrivateNetwork: allowed === true };
}

const namesOf = (page: Page, entry: Entry): string[] =>
  page.isNull(entry) ? [] : page.entries(entry).map(([name]) => name);

/** `*` at the end of either part; the provider's part ends at the first slash. */
export const priceName = /^([^\s/*]+\*?|\*)\/([^\s*]+\*?|\*)$/;

function readPrices(page: Page, entry: Entry): Record<string, PriceConfig> {
  if (page.isNull(entry)) return named([]);
  const prices: [string, PriceConfig][] = [];
  for (const [name, price] of page.entries(entry)) {
    if (!priceName.test(name))
      page.wrong(price, "not a price's name; would be provider/model, with * at the end of either part");
    const field = page.fields(price, ["input", "cached_read", "cache_write", "output"]);
    if (field.input === undefined) page.wrong(price, "has no input; would be USD per million tokens");
    const input = field.input === undefined ? 0 : readRate(page, field.input);
    const rate = (at: Entry | undefined) => (at === undefined ? input : readRate(page, at));
    prices.push([
      name,
      {
        inputNanoPerMtok: input,
        cachedReadNanoPerMtok: rate(field.cached_read),
        cacheWriteNanoPerMtok: rate(field.cache_write),
        outputNanoPerMtok: rate(field.output),
      },
    ]);
  }
  return named(prices);
}

/** USD as decimal text to an integer of nano-USD, by moving the point nine places. */
function readRate(page: Page, entry: Entry): number {
  const text = page.decimalSource(entry) ?? "";
  const found = /^(\d{1,6})(?:\.(\d+))?$/.exec(text);
  const fraction = (found?.[2] ?? "").replace(/0+$/, "");
  if (found !== null && fraction.length <= 9) return Number(`${found[1]}${fraction.padEnd(9, "0")}`);
  const right = "would be USD per million tokens from 0 to 999999, such as 0.15";
  page.wrong(entry, found === null ? `not a price; ${right}` : `more than 9 decimals; ${right}`);
  return 0;
}

function readLimits(page: Page, entry: Entry): LimitsConfig {
  const limits = structuredClone(defaultLimits);
  if (page.isNull(entry)) return limits;
  const field = page.fields(entry, ["llm", "mcp", "control"]);
  if (field.llm !== undefined) limits.llm = readPlaneLimits(page, field.llm, limits.llm);
  if (field.mcp !== undefined) limits.mcp = readPlaneLimits(page, field.mcp, limits.mcp);
  if (field.control !== undefined) limits.control = readPlaneLimits(page, field.control, limits.control);
  return limits;
}

/** Every limit may be a number of 1 or more; those per minute and per project may also be null, which is none. */
function readPlaneLimits<L extends Record<string, number | null>>(page: Page, entry: Entry, standard: L): L {
  const keys = Object.keys(standard) as (keyof L & string)[];
  const field: Record<string, Entry | undefined> = page.fields(entry, keys.map(snakeCase));
  const read = { ...standard };
  for (const key of keys) {
    const at = field[snakeCase(key)];
    if (at === undefined) continue;
    const none = (key.endsWith("PerMinute") || key.endsWith("PerProject")) && page.isNull(at);
    const value = none ? null : (page.integer(at, 1, 1_000_000_000_000) ?? standard[key]);
    Object.assign(read, { [key]: value });
  }
  return read;
}

export const snakeCase = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
