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
  // The files of secrets are no setting: they are whatever variables end in _FILE, other programs' too.
  const { gateway, file, secretFiles: _, ...environment } = config;
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
  const named = namedInFile.trimEnd().split("\n").join("\n#   ");
  return `${lines.join("\n")}
# In specgate.yaml (timeouts are per model):
#
#   ${shown}
#
# Names are yours:
#
#   ${named}
`;
}

/** Each key once; where one may be left out, with what holds then. */
const namedInFile = `providers:
  claude:
    kind: anthropic
    api_key: "\${ANTHROPIC_API_KEY}"
    base_url: https://api.anthropic.com
    endpoints: [ messages, messages/count_tokens, chat/completions ]
    include_usage: true            # false where stream_options is refused
    allow_private_network: false   # true for an address of your own network
models:
  fast:
    targets: [ { provider: claude, model: claude-haiku-4-5, weight: 1 } ]
    fallbacks: [ { provider: claude, model: claude-sonnet-4-5 } ]
    retries: 2
prices:                            # USD per million tokens; left out: that of input
  "claude/*": { input: 1, cached_read: 0.1, cache_write: 1.25, output: 5 }
mcp:
  workspaces:
    prj_0192a3b4c5d67e8f90a1b2c3d4e5f607: { root: /srv/workspaces/one, read: [ .md ], write: [ .md ], deny: [] }
  upstreams:
    github:
      url: https://mcp.example.com/mcp
      bearer: "\${GITHUB_MCP_TOKEN}"
      allow: [ "**" ]
      deny: []
      pin: approve                 # or first_use
      timeout_ms: 60000
      result_bytes_max: 1048576    # left out: no more than limits.mcp allows
      calls_max: 32
      allow_private_network: false
    notes: { command: [ /usr/local/bin/notes-mcp ], env: { NOTES_DIR: /srv/notes }, cwd: /srv/notes }
`;
