/**
 * The part of specgate.yaml that says who can answer and what callers ask for: `providers` and `models`.
 */
import {
  defaultRetries,
  defaultTimeouts,
  type LlmEndpoint,
  type ModelConfig,
  type ProviderConfig,
  type ProviderKind,
  providerKinds,
  spokenEndpoints,
  type TargetConfig,
  type TimeoutsConfig,
} from "./config.ts";
import { parseBaseUrl } from "./config-address.ts";
import { parseToken } from "./config-values.ts";
import type { Entry, Page } from "./config-yaml.ts";
import { hint } from "./nearest.ts";

/** Without a prototype: callers look names up that strangers chose, such as `constructor`. */
export const named = <T>(entries: Iterable<readonly [string, T]>): Record<string, T> =>
  Object.assign(Object.create(null) as Record<string, T>, Object.fromEntries(entries));

const providerName = /^[a-z0-9][a-z0-9_.-]{0,31}$/;

export function readProviders(page: Page, entry: Entry): Record<string, ProviderConfig> {
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
  const keys = [
    "kind",
    "base_url",
    "api_key",
    "endpoints",
    "include_usage",
    "allow_private_network",
  ] as const;
  const field = page.fields(entry, keys);
  if (field.kind === undefined)
    page.wrong(entry, "has no kind; would be kind: openai, or kind: anthropic for Anthropic's own API");
  const kind = (field.kind === undefined ? null : readKind(page, field.kind)) ?? "openai";
  const allowPrivateNetwork = field.allow_private_network
    ? page.flag(field.allow_private_network) === true
    : false;
  const text = field.base_url ? page.text(field.base_url) : ownAddresses[kind];
  const baseUrl = text === null ? { wrong: "" } : parseBaseUrl(text, allowPrivateNetwork);
  if (field.base_url && "wrong" in baseUrl && baseUrl.wrong !== "") page.wrong(field.base_url, baseUrl.wrong);
  const key = field.api_key ? page.text(field.api_key) : null;
  const apiKey = key === null ? { value: null } : parseToken(key);
  if (field.api_key && "wrong" in apiKey) page.wrong(field.api_key, apiKey.wrong);
  const endpoints = field.endpoints ? readEndpoints(page, field.endpoints, kind) : spokenEndpoints[kind];
  const includeUsage = field.include_usage ? page.flag(field.include_usage) !== false : true;
  if ("wrong" in baseUrl || "wrong" in apiKey) return null;
  return {
    kind,
    baseUrl: baseUrl.value,
    apiKey: apiKey.value,
    endpoints,
    includeUsage,
    allowPrivateNetwork,
  };
}

const ownAddresses: Record<ProviderKind, string> = {
  openai: "https://api.openai.com/v1",
  anthropic: "https://api.anthropic.com",
};

function readKind(page: Page, entry: Entry): ProviderKind | null {
  const kind = page.text(entry);
  const found = providerKinds.find((known) => known === kind) ?? null;
  if (kind !== null && found === null)
    page.wrong(entry, "not a kind of provider; would be openai or anthropic");
  return found;
}

function readEndpoints(page: Page, entry: Entry, kind: ProviderKind): LlmEndpoint[] {
  const spoken = spokenEndpoints[kind];
  const endpoints: LlmEndpoint[] = [];
  for (const item of page.items(entry)) {
    const name = page.text(item);
    const found = spoken.find((endpoint) => endpoint === name);
    if (found !== undefined) endpoints.push(found);
    else if (name !== null)
      page.wrong(
        item,
        `not an endpoint of the kind ${kind}${hint(name, spoken)}; would be ${spoken.join(", ")}`,
      );
  }
  return endpoints;
}

const modelName = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

export function readModels(page: Page, entry: Entry, providers: string[]): Record<string, ModelConfig> {
  if (page.isNull(entry)) return named([]);
  const models: [string, ModelConfig][] = [];
  for (const [name, model] of page.entries(entry)) {
    if (!modelName.test(name))
      page.wrong(
        model,
        "not a model's name; would be up to 128 letters, digits, dots, colons, dashes and underscores",
      );
    const field = page.fields(model, ["targets", "fallbacks", "retries", "timeouts"]);
    const timeouts = field.timeouts === undefined ? defaultTimeouts : readTimeouts(page, field.timeouts);
    const retries = field.retries === undefined ? defaultRetries : page.integer(field.retries, 0, 10);
    const fallbacks = field.fallbacks === undefined ? [] : readFallbacks(page, field.fallbacks, providers);
    if (field.targets === undefined)
      page.wrong(model, "has no targets; would be [ { provider: …, model: … } ]");
    else {
      const targets = readTargets(page, field.targets, providers);
      models.push([name, { targets, fallbacks, retries: retries ?? defaultRetries, timeouts }]);
    }
  }
  return named(models);
}

function readTargets(page: Page, entry: Entry, providers: string[]): ModelConfig["targets"] {
  return page.items(entry).flatMap((item) => {
    const field = page.fields(item, ["provider", "model", "weight"]);
    const weight = field.weight === undefined ? 1 : (page.integer(field.weight, 1, 1_000) ?? 1);
    const target = readTarget(page, item, field, providers);
    return target === null ? [] : [{ ...target, weight }];
  });
}

function readFallbacks(page: Page, entry: Entry, providers: string[]): TargetConfig[] {
  return page.items(entry).flatMap((item) => {
    const target = readTarget(page, item, page.fields(item, ["provider", "model"]), providers);
    return target === null ? [] : [target];
  });
}

function readTarget(
  page: Page,
  item: Entry,
  field: { provider?: Entry; model?: Entry },
  providers: string[],
): TargetConfig | null {
  const provider = field.provider === undefined ? missing(page, item, "provider") : page.text(field.provider);
  const model = field.model === undefined ? missing(page, item, "model") : page.text(field.model);
  if (field.provider !== undefined && provider !== null && !providers.includes(provider))
    page.wrong(field.provider, `no provider of that name is configured${hint(provider, providers)}`);
  if (field.model !== undefined && model !== null && !/^[\x21-\x7e]{1,256}$/.test(model))
    page.wrong(field.model, "not a provider's model; would be up to 256 signs without spaces");
  return provider === null || model === null ? null : { provider, model };
}

function missing(page: Page, entry: Entry, key: string): null {
  page.wrong(entry, `has no ${key}; would be { provider: …, model: … }`);
  return null;
}

const dayMs = 86_400_000;

function readTimeouts(page: Page, entry: Entry): TimeoutsConfig {
  const keys = ["connect_ms", "first_token_ms", "first_byte_total_ms", "idle_ms", "total_ms"] as const;
  const field = page.fields(entry, keys);
  const read = (at: Entry | undefined, standard: number) =>
    at === undefined ? standard : (page.integer(at, 1, dayMs) ?? standard);
  return {
    connectMs: read(field.connect_ms, defaultTimeouts.connectMs),
    firstTokenMs: read(field.first_token_ms, defaultTimeouts.firstTokenMs),
    firstByteTotalMs: read(field.first_byte_total_ms, defaultTimeouts.firstByteTotalMs),
    idleMs: read(field.idle_ms, defaultTimeouts.idleMs),
    totalMs: read(field.total_ms, defaultTimeouts.totalMs),
  };
}
