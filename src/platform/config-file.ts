/**
 * specgate.yaml: who can answer, what callers ask for, what it costs, how much is allowed; artifacts and what is
 * kept how long are read by config-artifacts.ts.
 *
 * Unknown keys are mistakes with their line and the nearest key; keys of features that this version does not have are
 * refused, never ignored. Prices are taken from their decimal text, so that no float ever holds money.
 */

import {
  defaultArtifacts,
  defaultLimits,
  defaultRetention,
  defaultTimeouts,
  type GatewayConfig,
  type LimitsConfig,
  type ModelConfig,
  type PriceConfig,
  type ProviderConfig,
  type TimeoutsConfig,
} from "./config.ts";
import { parseBaseUrl } from "./config-address.ts";
import { readArtifacts, readRetention } from "./config-artifacts.ts";
import { type Parsed, parseToken } from "./config-values.ts";
import { type Entry, openPage, type Page } from "./config-yaml.ts";
import { hint } from "./nearest.ts";

export type FileReading = { gateway: GatewayConfig; mistakes: string[] };

/** `registered` are the providers of the environment; one of the same name in the file takes its place. */
export function readConfigFile(
  source: string,
  shown: string,
  lookup: (name: string) => Parsed<string> | null,
  registered: Record<string, ProviderConfig>,
): FileReading {
  const page = openPage(source, shown, lookup);
  const gateway = {
    ...emptyGateway(),
    providers: named(Object.entries(registered)),
  };
  if (page.root === null) return { gateway, mistakes: page.mistakes };
  const keys = ["providers", "models", "prices", "limits", "artifacts", "retention"] as const;
  const top = page.fields(page.root, keys, later.top);
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
  if (top.retention !== undefined) gateway.retention = readRetention(page, top.retention);
  return { gateway, mistakes: page.mistakes };
}

export const emptyGateway = (): GatewayConfig => ({
  providers: named([]),
  models: named([]),
  prices: named([]),
  limits: structuredClone(defaultLimits),
  artifacts: structuredClone(defaultArtifacts),
  retention: structuredClone(defaultRetention),
});

const later = {
  top: ["mcp"],
  provider: ["endpoints"],
  model: ["fallbacks", "retries"],
  target: ["weight"],
  timeouts: ["connect_ms", "first_byte_total_ms"],
};

/** Without a prototype: callers look names up that strangers chose, such as `constructor`. */
const named = <T>(entries: Iterable<readonly [string, T]>): Record<string, T> =>
  Object.assign(Object.create(null) as Record<string, T>, Object.fromEntries(entries));

const namesOf = (page: Page, entry: Entry): string[] =>
  page.isNull(entry) ? [] : page.entries(entry).map(([name]) => name);

const providerName = /^[a-z0-9][a-z0-9_.-]{0,31}$/;

function readProviders(page: Page, entry: Entry): Record<string, ProviderConfig> {
  const providers: Record<string, ProviderConfig> = {};
  if (page.isNull(entry)) return providers;
  for (const [name, provider] of page.entries(entry)) {
    if (!providerName.test(name))
      page.wrong(provider, "not a provider's name; would be up to 32 of a-z, 0-9, dot, dash and underscore");
    else if (name === "demo") page.wrong(provider, "the name of the built-in demo; would be another name");
    const found = readProvider(page, provider);
    if (found !== null) providers[name] = found;
  }
  return providers;
}

function readProvider(page: Page, entry: Entry): ProviderConfig | null {
  const keys = ["kind", "base_url", "api_key", "include_usage", "allow_private_network"] as const;
  const field = page.fields(entry, keys, later.provider);
  if (field.kind === undefined) page.wrong(entry, "has no kind; would be kind: openai");
  else readKind(page, field.kind);
  const allowPrivateNetwork = field.allow_private_network
    ? page.flag(field.allow_private_network) === true
    : false;
  const text = field.base_url ? page.text(field.base_url) : "https://api.openai.com/v1";
  const baseUrl = text === null ? { wrong: "" } : parseBaseUrl(text, allowPrivateNetwork);
  if (field.base_url && "wrong" in baseUrl && baseUrl.wrong !== "") page.wrong(field.base_url, baseUrl.wrong);
  const key = field.api_key ? page.text(field.api_key) : null;
  const apiKey = key === null ? { value: null } : parseToken(key);
  if (field.api_key && "wrong" in apiKey) page.wrong(field.api_key, apiKey.wrong);
  const includeUsage = field.include_usage ? page.flag(field.include_usage) !== false : true;
  if ("wrong" in baseUrl || "wrong" in apiKey) return null;
  return {
    kind: "openai",
    baseUrl: baseUrl.value,
    apiKey: apiKey.value,
    includeUsage,
    allowPrivateNetwork,
  };
}

function readKind(page: Page, entry: Entry): void {
  const kind = page.text(entry);
  if (kind === "anthropic") page.wrong(entry, "anthropic is not in this version; would be openai");
  else if (kind !== null && kind !== "openai") page.wrong(entry, "not a kind of provider; would be openai");
}

const modelName = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

function readModels(page: Page, entry: Entry, providers: string[]): Record<string, ModelConfig> {
  if (page.isNull(entry)) return named([]);
  const models: [string, ModelConfig][] = [];
  for (const [name, model] of page.entries(entry)) {
    if (!modelName.test(name))
      page.wrong(
        model,
        "not a model's name; would be up to 128 letters, digits, dots, colons, dashes and underscores",
      );
    const field = page.fields(model, ["targets", "timeouts"], later.model);
    const timeouts = field.timeouts === undefined ? defaultTimeouts : readTimeouts(page, field.timeouts);
    if (field.targets === undefined)
      page.wrong(model, "has no targets; would be [ { provider: …, model: … } ]");
    else models.push([name, { targets: readTargets(page, field.targets, providers), timeouts }]);
  }
  return named(models);
}

function readTargets(page: Page, entry: Entry, providers: string[]): ModelConfig["targets"] {
  const items = page.items(entry);
  if (items.length > 1) page.wrong(entry, "more than one target is not in this version; would name one");
  const targets: ModelConfig["targets"] = [];
  for (const item of items) {
    const field = page.fields(item, ["provider", "model"], later.target);
    const provider =
      field.provider === undefined ? missing(page, item, "provider") : page.text(field.provider);
    const model = field.model === undefined ? missing(page, item, "model") : page.text(field.model);
    if (field.provider !== undefined && provider !== null && !providers.includes(provider))
      page.wrong(field.provider, `no provider of that name is configured${hint(provider, providers)}`);
    if (field.model !== undefined && model !== null && !/^[\x21-\x7e]{1,256}$/.test(model))
      page.wrong(field.model, "not a provider's model; would be up to 256 signs without spaces");
    if (provider !== null && model !== null) targets.push({ provider, model });
  }
  return targets;
}

function missing(page: Page, entry: Entry, key: string): null {
  page.wrong(entry, `has no ${key}; would be { provider: …, model: … }`);
  return null;
}

const dayMs = 86_400_000;

function readTimeouts(page: Page, entry: Entry): TimeoutsConfig {
  const field = page.fields(entry, ["first_token_ms", "idle_ms", "total_ms"], later.timeouts);
  const read = (at: Entry | undefined, standard: number) =>
    at === undefined ? standard : (page.integer(at, 1, dayMs) ?? standard);
  return {
    firstTokenMs: read(field.first_token_ms, defaultTimeouts.firstTokenMs),
    idleMs: read(field.idle_ms, defaultTimeouts.idleMs),
    totalMs: read(field.total_ms, defaultTimeouts.totalMs),
  };
}

/** `*` at the end of either part; the provider's part ends at the first slash. */
const priceName = /^([^\s/*]+\*?|\*)\/([^\s*]+\*?|\*)$/;

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

/** Every limit may be a number of 1 or more; those per minute may also be null, which is none. */
function readPlaneLimits<L extends Record<string, number | null>>(page: Page, entry: Entry, standard: L): L {
  const keys = Object.keys(standard) as (keyof L & string)[];
  const field: Record<string, Entry | undefined> = page.fields(entry, keys.map(snakeCase));
  const read = { ...standard };
  for (const key of keys) {
    const at = field[snakeCase(key)];
    if (at === undefined) continue;
    const none = key.endsWith("PerMinute") && page.isNull(at);
    const value = none ? null : (page.integer(at, 1, 1_000_000_000_000) ?? standard[key]);
    Object.assign(read, { [key]: value });
  }
  return read;
}

export const snakeCase = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
