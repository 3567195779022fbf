/**
 * The configuration: flags over environment over defaults, and specgate.yaml beside them.
 *
 * Either a complete `Config`, or every mistake of every source at once, one line each; never half a configuration. Who
 * needs nothing of the file can go on without it: a revocation must not wait for a model's name to be spelled right.
 */
import { readFileSync, statSync } from "node:fs";
import { relative, resolve } from "node:path";
import type { Config, GatewayConfig } from "./config.ts";
import { addressKind } from "./config-address.ts";
import {
  type Environment,
  type EnvironmentReading,
  type EnvironmentValues,
  isGiven,
  readEnvironment,
  secretText,
} from "./config-env.ts";
import { emptyGateway, type FileReading, readConfigFile } from "./config-file.ts";
import { groundWarnings } from "./config-grounds.ts";
import { routeWarnings } from "./config-routes.ts";
import { storageMistakes, storageOf, storageWarnings } from "./config-storage.ts";
import { type Parsed, parseHost, parsePath, parsePort } from "./config-values.ts";
import type { VariableName } from "./config-variables.ts";

export type ConfigFlags = {
  config?: string | undefined;
  dataDir?: string | undefined;
  host?: string | undefined;
  port?: string | undefined;
};

export type ConfigSource = {
  env: Environment;
  cwd: string;
  flags: ConfigFlags;
  /** Whether a person reads the log as it is written. */
  terminal: boolean;
};

export type LoadedConfig =
  | {
      ok: true;
      config: Config;
      warnings: string[];
      /** True when the file is there and no key of it has a value. */
      isBlank: boolean;
    }
  | {
      ok: false;
      mistakes: string[];
      /** What holds without the file, when every mistake is in the file; else null. */
      withoutFile: Config | null;
    };

export function loadConfig(source: ConfigSource): LoadedConfig {
  const read = readEnvironment(source.env, source.cwd);
  const flags = readFlags(source.flags);
  const path = flags.config ?? read.values.SPECGATE_CONFIG ?? null;
  const dataDir = dataDirOf(source, read, flags);
  const { file, reading } = readFile({ ...source, dataDir }, path, read);
  const outside = [...flags.mistakes, ...read.mistakes, ...togetherMistakes(read), ...storageMistakes(read)];
  if (outside.length + reading.mistakes.length > 0) {
    const gateway = { ...emptyGateway(), providers: read.providers };
    const withoutFile = outside.length > 0 ? null : assemble(source, read, flags, null, gateway);
    return { ok: false, mistakes: [...outside, ...reading.mistakes], withoutFile };
  }
  const config = assemble(source, read, flags, file, reading.gateway);
  return {
    ok: true,
    config,
    isBlank: reading.isBlank,
    warnings: [
      ...read.warnings,
      ...addressWarnings(config),
      ...storageWarnings(read, config.storage),
      ...routeWarnings(config.gateway),
      ...groundWarnings(config.gateway.mcp.workspaces),
    ],
  };
}

const corsStandard = ["tauri://localhost", "http://tauri.localhost", "https://tauri.localhost"];

function assemble(
  source: ConfigSource,
  read: EnvironmentReading,
  flags: Flags,
  file: string | null,
  gateway: GatewayConfig,
): Config {
  const values = read.values;
  return {
    dataDir: dataDirOf(source, read, flags),
    host: flags.host ?? values.SPECGATE_HOST ?? "127.0.0.1",
    port: flags.port ?? values.SPECGATE_PORT ?? 8080,
    publicUrl: values.SPECGATE_PUBLIC_URL ?? null,
    allowedHosts: values.SPECGATE_ALLOWED_HOSTS ?? [],
    trustedProxies: values.SPECGATE_TRUSTED_PROXIES ?? [],
    corsOrigins: values.SPECGATE_CORS_ORIGINS ?? corsStandard,
    database: {
      url: values.DATABASE_URL ?? null,
      directUrl: values.DATABASE_DIRECT_URL ?? null,
      migrateUrl: values.DATABASE_MIGRATE_URL ?? null,
      prepare: values.DATABASE_PREPARE ?? true,
      postgresUid: values.SPECGATE_POSTGRES_UID ?? null,
    },
    jwtSecrets: values.SPECGATE_JWT_SECRET ?? null,
    journal: values.SPECGATE_JOURNAL ?? "disk",
    log: {
      level: values.SPECGATE_LOG_LEVEL ?? "info",
      format: values.SPECGATE_LOG_FORMAT ?? (source.terminal ? "pretty" : "json"),
    },
    metricsToken: values.SPECGATE_METRICS_TOKEN ?? null,
    oauth: {
      registration: values.SPECGATE_OAUTH_REGISTRATION ?? true,
      cimd: values.SPECGATE_OAUTH_CIMD ?? false,
    },
    ...peopleOf(values),
    storage: storageOf(values),
    redisUrl: values.REDIS_URL ?? null,
    secretFiles: secretFilesOf(source),
    file,
    gateway,
  };
}

const dataDirOf = ({ cwd }: ConfigSource, { values }: EnvironmentReading, { dataDir }: Flags): string =>
  resolve(cwd, dataDir ?? values.SPECGATE_DATA_DIR ?? "specgate-data");

/** Of any variable: which of them the file asks for is not looked at. */
const secretFilesOf = ({ env, cwd }: ConfigSource): string[] =>
  Object.entries(env).flatMap(([name, path]) =>
    name.endsWith("_FILE") && path !== undefined && path.trim() !== "" ? [resolve(cwd, path)] : [],
  );

/** Each of the two is whole or absent: togetherMistakes has seen to that. */
function peopleOf(values: EnvironmentValues): Pick<Config, "oidc" | "firstAdmin"> {
  const { SPECGATE_OIDC_ISSUER: issuer, SPECGATE_OIDC_CLIENT_ID: clientId } = values;
  const { SPECGATE_OIDC_CLIENT_SECRET: clientSecret } = values;
  const { SPECGATE_ADMIN_EMAIL: email, SPECGATE_ADMIN_PASSWORD: password } = values;
  const isClient = issuer !== undefined && clientId !== undefined && clientSecret !== undefined;
  return {
    oidc: isClient ? { issuer, clientId, clientSecret } : null,
    firstAdmin: email !== undefined && password !== undefined ? { email, password } : null,
  };
}

type Flags = {
  config?: string;
  dataDir?: string;
  host?: string;
  port?: number;
  mistakes: string[];
};

function readFlags(flags: ConfigFlags): Flags {
  const mistakes: string[] = [];
  const read = <T>(
    name: string,
    text: string | undefined,
    parse: (text: string) => Parsed<T>,
  ): T | undefined => {
    if (text === undefined) return undefined;
    const parsed =
      text.trim() === "" ? { wrong: "empty; give it a value or leave it out" } : parse(text.trim());
    if ("value" in parsed) return parsed.value;
    mistakes.push(`${name}: ${parsed.wrong}`);
    return undefined;
  };
  const config = read("--config", flags.config, parsePath);
  const dataDir = read("--data-dir", flags.dataDir, parsePath);
  const host = read("--host", flags.host, parseHost);
  const port = read("--port", flags.port, parsePort);
  return {
    ...(config === undefined ? {} : { config }),
    ...(dataDir === undefined ? {} : { dataDir }),
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
    mistakes,
  };
}

const fileBytesMax = 1_048_576;

/** A file that was asked for must be there; `./specgate.yaml` is read when it is. */
function readFile(
  source: ConfigSource & { dataDir: string },
  asked: string | null,
  read: EnvironmentReading,
): { file: string | null; reading: FileReading } {
  const path = resolve(source.cwd, asked ?? "specgate.yaml");
  const shown = shownPath(path, source.cwd);
  const without = (mistakes: string[]): { file: null; reading: FileReading } => ({
    file: null,
    reading: {
      gateway: { ...emptyGateway(), providers: read.providers },
      mistakes,
      isBlank: false,
    },
  });
  let text: string;
  try {
    if (statSync(path).size > fileBytesMax)
      return without([`${shown}: larger than 1 MiB; would be a page or two`]);
    text = readFileSync(path, "utf8");
  } catch (error) {
    const absent = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (absent && asked === null) return without([]);
    return without([
      `${shown}: ${absent ? "no such file" : "cannot be read"}; would be a readable YAML file`,
    ]);
  }
  const lookup = (name: string) => secretText(source.env, name, source.cwd);
  return {
    file: path,
    reading: readConfigFile(text, shown, lookup, read.providers, source.dataDir),
  };
}

function shownPath(path: string, cwd: string): string {
  const short = relative(cwd, path);
  return short === "" || short.startsWith("..") ? path : short;
}

const databaseOnly: VariableName[] = ["DATABASE_DIRECT_URL", "DATABASE_MIGRATE_URL", "DATABASE_PREPARE"];
const inseparable: VariableName[][] = [
  ["SPECGATE_OIDC_ISSUER", "SPECGATE_OIDC_CLIENT_ID", "SPECGATE_OIDC_CLIENT_SECRET"],
  ["SPECGATE_ADMIN_EMAIL", "SPECGATE_ADMIN_PASSWORD"],
];

/** Variables that make no sense without each other. */
function togetherMistakes(reading: EnvironmentReading): string[] {
  const lone = databaseOnly
    .filter((name) => isGiven(reading, name) && !isGiven(reading, "DATABASE_URL"))
    .map((name) => `${name}: set without DATABASE_URL; would come with it, or stay unset`);
  const missing = inseparable.flatMap((group) => {
    const given = group.find((name) => isGiven(reading, name));
    if (given === undefined) return [];
    return group
      .filter((name) => !isGiven(reading, name))
      .map((name) => `${name}: not set, though ${given} is; would be set as well, or none of them`);
  });
  return [...lone, ...missing];
}

/** Reachable from elsewhere, yet every link and token would name loopback. */
function addressWarnings(config: Config): string[] {
  if (config.publicUrl !== null || addressKind(config.host) === "loopback") return [];
  return [
    `listening on ${config.host} without SPECGATE_PUBLIC_URL: other machines are refused, and tokens name http://127.0.0.1:${config.port}`,
  ];
}
