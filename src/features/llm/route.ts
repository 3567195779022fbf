/**
 * Which providers and models may answer a name that a caller asked for, and in which order they are tried.
 *
 * A configured model's name first, then `provider/model`, then a bare name that exactly one provider claims. With no
 * provider at all, `demo/echo`. No dialect is translated: who does not speak the request's endpoint is no candidate.
 */
import {
  defaultTimeouts,
  type GatewayConfig,
  type LlmEndpoint,
  llmEndpoints,
  type ProviderConfig,
  type TargetConfig,
  type TimeoutsConfig,
} from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import { demoModel, demoProvider } from "./demo.ts";
import type { Prices } from "./prices.ts";

export type Target = {
  readonly provider: string;
  /** The name the provider knows. */
  readonly model: string;
  /** Null for the demo, which needs no provider. */
  readonly config: ProviderConfig | null;
  readonly weight: number;
};

/** Longer ones name nothing, and are looked up nowhere: the price table's patterns take their time over each character. */
export const modelNameMax = 256;

export type Route = {
  /** At least one target or fallback. Of the targets each is chosen as often as its weight says. */
  readonly targets: readonly Target[];
  /** Asked in this order when no target answers. */
  readonly fallbacks: readonly Target[];
  /** How many more attempts at the targets may follow the first. */
  readonly retries: number;
  readonly timeouts: TimeoutsConfig;
};

/** Those who speak `endpoint`. Throws `model_not_found`, or `endpoint_not_supported` with the endpoints that would do. */
export function findRoute(
  gateway: GatewayConfig,
  prices: Prices,
  name: string,
  endpoint: LlmEndpoint,
): Route {
  const route = getRoute(gateway, prices, name);
  const speaks = (target: Target) => endpointsOf(target).includes(endpoint);
  if (route.targets.every(speaks) && route.fallbacks.every(speaks)) return route;
  const found = {
    ...route,
    targets: route.targets.filter(speaks),
    fallbacks: route.fallbacks.filter(speaks),
  };
  if (found.targets.length + found.fallbacks.length > 0) return found;
  throw new Failure(
    "invalid",
    "endpoint_not_supported",
    `The model \`${name.slice(0, 200)}\` does not answer ${endpoint}; it answers ${spokenBy(route).join(", ")}.`,
  );
}

/** Everyone behind a name, whatever they speak. Throws `model_not_found` with what would be right. */
export function getRoute(gateway: GatewayConfig, prices: Prices, name: string): Route {
  const route =
    name.length > modelNameMax
      ? null
      : (configuredRoute(gateway, name) ??
        qualifiedRoute(gateway, name) ??
        claimedRoute(gateway, prices, name));
  if (route) return route;
  if (isDemo(gateway) && (name === `${demoProvider}/${demoModel}` || name === demoModel)) return demoRoute;
  throw new Failure(
    "missing",
    "model_not_found",
    `There is no model \`${name.slice(0, 200)}\`. ${hint(gateway)}`,
  );
}

/** The endpoints that at least one of the route's candidates speaks. */
export function spokenBy(route: Route): LlmEndpoint[] {
  const candidates = [...route.targets, ...route.fallbacks];
  return llmEndpoints.filter((endpoint) =>
    candidates.some((target) => endpointsOf(target).includes(endpoint)),
  );
}

export const isDemo = (gateway: GatewayConfig): boolean => Object.keys(gateway.providers).length === 0;

const demoEndpoints: readonly LlmEndpoint[] = ["chat/completions"];

const endpointsOf = ({ config }: Target): readonly LlmEndpoint[] =>
  config === null ? demoEndpoints : config.endpoints;

const aloneTimeouts = { ...defaultTimeouts, firstTokenMs: defaultTimeouts.firstByteTotalMs };

const demoRoute = single(demoProvider, demoModel, null);

function configuredRoute(gateway: GatewayConfig, name: string): Route | null {
  const model = Object.hasOwn(gateway.models, name) ? gateway.models[name] : undefined;
  if (model === undefined) return null;
  const targetsOf = (list: readonly (TargetConfig & { weight?: number })[]) =>
    list.flatMap(({ provider, model, weight = 1 }) => {
      const config = gateway.providers[provider];
      return config === undefined ? [] : [{ provider, model, config, weight }];
    });
  const { retries, timeouts } = model;
  const route = {
    targets: targetsOf(model.targets),
    fallbacks: targetsOf(model.fallbacks),
    retries,
    timeouts,
  };
  return route.targets.length + route.fallbacks.length === 0 ? null : route;
}

/** Only the first slash separates: a provider's own names may hold more (`openrouter/anthropic/claude-…`). */
function qualifiedRoute(gateway: GatewayConfig, name: string): Route | null {
  const slash = name.indexOf("/");
  const provider = name.slice(0, slash);
  const config =
    slash > 0 && Object.hasOwn(gateway.providers, provider) ? gateway.providers[provider] : undefined;
  const model = name.slice(slash + 1);
  return config && model !== "" ? single(provider, model, config) : null;
}

function claimedRoute(gateway: GatewayConfig, prices: Prices, name: string): Route | null {
  const claims = Object.entries(gateway.providers).filter(([provider]) => prices.claims(provider, name));
  const [only, second] = claims;
  if (only === undefined || second !== undefined) return null;
  return single(only[0], name, only[1]);
}

/**
 * One provider's own name for a model: whoever asks so asks for it alone, and tries again himself. Giving up earlier than
 * must be would only lose an answer that is being paid for, and models that reason are silent for long.
 */
function single(provider: string, model: string, config: ProviderConfig | null): Route {
  const target = { provider, model, config, weight: 1 };
  return { targets: [target], fallbacks: [], retries: 0, timeouts: aloneTimeouts };
}

function hint(gateway: GatewayConfig): string {
  if (isDemo(gateway)) return "No provider is configured yet, so only `demo/echo` answers.";
  return `Ask for \`provider/model\` with one of these providers: ${Object.keys(gateway.providers).join(", ")}. GET /v1/models lists them.`;
}
