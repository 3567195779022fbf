/**
 * What a configuration says of its routes that is not wrong and yet cannot be meant.
 */
import type { GatewayConfig, LlmEndpoint, TargetConfig } from "./config.ts";

/** A fallback is asked for what a target was asked for; who speaks nothing that a target speaks will never be. */
export function routeWarnings({ models, providers }: GatewayConfig): string[] {
  const spoken = ({ provider }: TargetConfig): readonly LlmEndpoint[] => providers[provider]?.endpoints ?? [];
  return Object.entries(models).flatMap(([name, { targets, fallbacks }]) => {
    const asked = new Set(targets.flatMap(spoken));
    return fallbacks
      .filter((fallback) => !spoken(fallback).some((endpoint) => asked.has(endpoint)))
      .map(
        (fallback) =>
          `models.${name}: the fallback ${fallback.provider}/${fallback.model} can never serve: it answers ${spoken(fallback).join(", ")}, and no target does; would be a provider that answers one of ${[...asked].join(", ")}`,
      );
  });
}
