/**
 * Which provider and model answer a name that a caller asked for.
 *
 * A configured model's name first, then `provider/model`, then a bare name that exactly one provider claims. With no
 * provider at all, `demo/echo`. One target for now; more find their place in the list that `targets` already is.
 */
import {
  defaultTimeouts,
  type GatewayConfig,
  type ProviderConfig,
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
  readonly timeouts: TimeoutsConfig;
};

const demoTarget: Target = {
  provider: demoProvider,
  model: demoModel,
  config: null,
  timeouts: defaultTimeouts,
};

/** Throws `model_not_found` with what would be right. */
export function findTarget(gateway: GatewayConfig, prices: Prices, name: string): Target {
  const target =
    configuredTarget(gateway, name) ?? qualifiedTarget(gateway, name) ?? claimedTarget(gateway, prices, name);
  if (target) return target;
  if (isDemo(gateway) && (name === `${demoProvider}/${demoModel}` || name === demoModel)) return demoTarget;
  throw new Failure(
    "missing",
    "model_not_found",
    `There is no model \`${name.slice(0, 200)}\`. ${hint(gateway)}`,
  );
}

export const isDemo = (gateway: GatewayConfig): boolean => Object.keys(gateway.providers).length === 0;

function configuredTarget(gateway: GatewayConfig, name: string): Target | null {
  const model = Object.hasOwn(gateway.models, name) ? gateway.models[name] : undefined;
  const target = model?.targets[0];
  const config = target && gateway.providers[target.provider];
  if (!model || !target || !config) return null;
  return { provider: target.provider, model: target.model, config, timeouts: model.timeouts };
}

/** Only the first slash separates: a provider's own names may hold more (`openrouter/anthropic/claude-…`). */
function qualifiedTarget(gateway: GatewayConfig, name: string): Target | null {
  const slash = name.indexOf("/");
  const provider = name.slice(0, slash);
  const config =
    slash > 0 && Object.hasOwn(gateway.providers, provider) ? gateway.providers[provider] : undefined;
  const model = name.slice(slash + 1);
  return config && model !== "" ? { provider, model, config, timeouts: defaultTimeouts } : null;
}

function claimedTarget(gateway: GatewayConfig, prices: Prices, name: string): Target | null {
  const claims = Object.entries(gateway.providers).filter(([provider]) => prices.claims(provider, name));
  const [only, second] = claims;
  if (only === undefined || second !== undefined) return null;
  return { provider: only[0], model: name, config: only[1], timeouts: defaultTimeouts };
}

function hint(gateway: GatewayConfig): string {
  if (isDemo(gateway)) return "No provider is configured yet, so only `demo/echo` answers.";
  return `Ask for \`provider/model\` with one of these providers: ${Object.keys(gateway.providers).join(", ")}. GET /v1/models lists them.`;
}
