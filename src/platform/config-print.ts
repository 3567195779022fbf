/**
 * The configuration as a person reads it: what is in force, or every setting with its meaning and default.
 * Secrets print as `[redacted]`, because they are `Secret` and nothing here reveals them.
 */
import { stringify } from "yaml";
import {
  type Config,
  defaultAlerts,
  defaultArtifacts,
  defaultLimits,
  defaultMcp,
  defaultRetention,
  defaultTimeouts,
  type PriceConfig,
} from "./config.ts";
import { snakeCase } from "./config-file.ts";
import { providerVariables, type Variable, variables } from "./config-variables.ts";
import { formatUsd } from "./money.ts";

/** YAML. With `defaults`, what would be in force if nothing were set, and what each variable is for. */
export function printConfig(config: Config | null, options: { defaults: boolean }): string {
  if (options.defaults || config === null) return defaultsPage();
  return stringify(configValues(config), { lineWidth: 0 });
}

/** The same as plain values, for `--json`. */
export function configValues(config: Config): Record<string, unknown> {
  const { gateway, file, ...environment } = config;
  const { prices, ...rest } = gateway;
  const shownPrices = Object.entries(prices).map(([name, price]) => [name, inUsd(price)]);
  const shown = plain({ file, ...environment, ...rest }) as Record<string, unknown>;
  return { ...shown, prices: Object.fromEntries(shownPrices) };
}

const inUsd = (price: PriceConfig): Record<string, string> => ({
  input: formatUsd(price.inputNanoPerMtok),
  cached_read: formatUsd(price.cachedReadNanoPerMtok),
  cache_write: formatUsd(price.cacheWriteNanoPerMtok),
  output: formatUsd(price.outputNanoPerMtok),
});

const namedKeys = new Set(["providers", "models", "workspaces", "upstreams", "env"]);

/** Keys of ours to snake_case; names that people chose (providers, models) stay as they are. */
function plain(value: unknown, named = false): unknown {
  if (Array.isArray(value)) return value.map((item) => plain(item));
  if (value === null || typeof value !== "object") return value;
  if ("toJSON" in value) return String(value);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      named ? key : snakeCase(key),
      plain(inner, namedKeys.has(key)),
    ]),
  );
}

function defaultsPage(): string {
  const all: [string, Variable<unknown>][] = [
    ...Object.entries<Variable<unknown>>(variables),
    ...Object.entries(providerVariables),
  ];
  const lines = all.map(([name, variable]) => {
    const file = variable.secret ? `; or ${name}_FILE` : "";
    return `# ${variable.meaning}${file}\n#${name}=${variable.default ?? ""}\n`;
  });
  const inFile = {
    limits: defaultLimits,
    artifacts: defaultArtifacts,
    mcp: defaultMcp,
    alerts: defaultAlerts,
    retention: defaultRetention,
    timeouts: defaultTimeouts,
  };
  const page = stringify(plain(inFile), { lineWidth: 0 });
  const shown = page.trimEnd().split("\n").join("\n#   ");
  return `${lines.join("\n")}\n# In specgate.yaml (timeouts are per model):\n#\n#   ${shown}\n`;
}
