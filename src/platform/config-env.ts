/**
 * The environment, read by the table of config-variables.ts. Every mistake is found in one pass and said in one line
 * that begins with the variable's name. No value is ever repeated.
 *
 * A variable that holds a secret may be given as `<NAME>_FILE`; both at once is a mistake, because one would be ignored.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type ProviderConfig, spokenEndpoints } from "./config.ts";
import type { Parsed } from "./config-values.ts";
import {
  clientVariables,
  type KnownProvider,
  knownProviders,
  providerVariables,
  type Variable,
  type VariableName,
  variables,
  warned,
} from "./config-variables.ts";
import { hint } from "./nearest.ts";
import { Secret } from "./secret.ts";

export type Environment = Record<string, string | undefined>;

type ValueOf<V> = V extends Variable<infer T> ? T : never;
/** What the environment says; a variable that is unset, or wrong, is absent. */
export type EnvironmentValues = {
  [N in VariableName]?: ValueOf<(typeof variables)[N]>;
};

export type EnvironmentReading = {
  values: EnvironmentValues;
  /** Those that variables alone register, by name. */
  providers: Record<string, ProviderConfig>;
  mistakes: string[];
  warnings: string[];
};

export function readEnvironment(env: Environment, cwd: string): EnvironmentReading {
  const mistakes: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, variable] of Object.entries<Variable<unknown>>(variables)) {
    const text = variable.secret ? secretText(env, name, cwd) : plainText(env, name);
    const parsed = text === null || "wrong" in text ? text : variable.parse(text.value);
    if (parsed === null) continue;
    if ("wrong" in parsed) mistakes.push(`${name}: ${parsed.wrong}`);
    else values[name] = parsed.value;
  }
  const providers = registeredProviders(env, cwd, mistakes);
  mistakes.push(...foreignVariables(env));
  return {
    values: values as EnvironmentValues,
    providers,
    mistakes,
    warnings: warnings(env),
  };
}

/** Set, rightly or wrongly: what is wrong already has its own line. */
export const isGiven = ({ values, mistakes }: EnvironmentReading, name: VariableName): boolean =>
  name in values || mistakes.some((line) => line.startsWith(`${name}:`));

/** One variable's text, for `${NAME}` in the file too; null when it is not set. */
export function secretText(env: Environment, name: string, cwd: string): Parsed<string> | null {
  const path = env[`${name}_FILE`];
  if (path === undefined) return plainText(env, name);
  if (env[name] !== undefined)
    return {
      wrong: `given twice, also as ${name}_FILE; would be one of the two`,
    };
  if (path.trim() === "")
    return {
      wrong: `${name}_FILE is empty; would be the path of a file that holds the value`,
    };
  try {
    const text = readFileSync(resolve(cwd, path), "utf8").trim();
    if (text !== "") return { value: text };
    return {
      wrong: `the file that ${name}_FILE names is empty; would hold the value`,
    };
  } catch {
    return {
      wrong: `the file that ${name}_FILE names cannot be read; would be a file readable by this user`,
    };
  }
}

function plainText(env: Environment, name: string): Parsed<string> | null {
  const text = env[name]?.trim();
  if (text === undefined) return null;
  return text === "" ? { wrong: "empty; give it a value or leave it unset" } : { value: text };
}

function registeredProviders(
  env: Environment,
  cwd: string,
  mistakes: string[],
): Record<string, ProviderConfig> {
  const providers: Record<string, ProviderConfig> = {};
  for (const provider of knownProviders) {
    const key = provider.key === null ? null : secretText(env, provider.key, cwd);
    const base = plainText(env, provider.base);
    const found = provider.key === null ? base !== null : key !== null;
    if (key === null && base !== null && provider.key !== null)
      mistakes.push(`${provider.base}: set without ${provider.key}; would come with it, or stay unset`);
    if (found) registerProvider(provider, key, base, providers, mistakes);
  }
  return providers;
}

function registerProvider(
  provider: KnownProvider,
  key: Parsed<string> | null,
  base: Parsed<string> | null,
  providers: Record<string, ProviderConfig>,
  mistakes: string[],
): void {
  const apiKey = key === null ? { value: null } : checked(provider.key ?? "", key, mistakes);
  const missing =
    provider.baseUrl === null ? { wrong: `not set, though ${provider.key} is` } : { value: provider.baseUrl };
  if (base === null && "wrong" in missing)
    mistakes.push(`${provider.base}: ${missing.wrong}; would be its address`);
  const address = base === null ? missing : checked(provider.base, base, mistakes);
  if ("wrong" in apiKey || "wrong" in address) return;
  providers[provider.name] = {
    kind: provider.kind,
    endpoints: spokenEndpoints[provider.kind],
    baseUrl: withPath(String(address.value), provider.path),
    apiKey: apiKey.value instanceof Secret ? apiKey.value : null,
    includeUsage: provider.includeUsage,
    allowPrivateNetwork: provider.allowPrivateNetwork,
  };
}

function checked(name: string, text: Parsed<string>, mistakes: string[]): Parsed<unknown> {
  const variable = providerVariables[name];
  const parsed = "wrong" in text || variable === undefined ? text : variable.parse(text.value);
  if ("wrong" in parsed) mistakes.push(`${name}: ${parsed.wrong}`);
  return parsed;
}

const withPath = (baseUrl: string, path: string): string =>
  new URL(baseUrl).pathname === "/" ? `${baseUrl}${path}` : baseUrl;

/** Names in our own prefix that nothing reads. */
function foreignVariables(env: Environment): string[] {
  const mistakes: string[] = [];
  const own: Record<string, Variable<unknown>> = { ...variables, ...clientVariables };
  const names = [...Object.keys(own), ...Object.keys(providerVariables)];
  for (const name of present(env)) {
    const plain = name.replace(/_FILE$/, "");
    const variable = own[plain];
    const read = variable !== undefined && (plain === name || variable.secret);
    if (read || !name.startsWith("SPECGATE_")) continue;
    mistakes.push(
      variable === undefined
        ? `${name}: no such variable${hint(name, names)}`
        : `${name}: holds no secret, so it is not read from a file; would be ${plain}`,
    );
  }
  return mistakes;
}

function warnings(env: Environment): string[] {
  return present(env)
    .filter((name) => isListed(name.replace(/_FILE$/, ""), warned))
    .map((name) => `${name} is set, but its feature is not in this version: it has no effect`);
}

const present = (env: Environment): string[] =>
  Object.keys(env)
    .filter((name) => env[name] !== undefined)
    .sort();

const isListed = (name: string, list: readonly string[]): boolean =>
  list.some((entry) => (entry.endsWith("_") ? name.startsWith(entry) : name === entry));
