/**
 * Every environment variable in one table: what it means, what holds without it, whether it is secret, how it is read.
 *
 * The table drives the parsing (config-env.ts), `config print --defaults` and the help. A variable of a feature that
 * this version does not have stands in `warned`: never ignored.
 */

import type { ProviderKind } from "./config.ts";
import { parseBaseUrl } from "./config-address.ts";
import {
  listOf,
  oneOf,
  type Parsed,
  parseBucket,
  parseCidr,
  parseClientId,
  parseClientSecret,
  parseDatabaseUrl,
  parseEmail,
  parseHost,
  parseHostHeader,
  parseIssuer,
  parseOrigin,
  parsePassword,
  parsePath,
  parsePort,
  parsePublicUrl,
  parseR2Account,
  parseRedisUrl,
  parseRegion,
  parseS3Endpoint,
  parseSigningSecrets,
  parseSwitch,
  parseToken,
  parseUid,
} from "./config-values.ts";
import type { LogLevel } from "./log.ts";

export type Variable<T> = {
  meaning: string;
  /** As it would be written; null when nothing is in force without it. */
  default: string | null;
  /** May then also be given as `<NAME>_FILE`, and is never printed. */
  secret: boolean;
  parse(text: string): Parsed<T>;
};

const plain = <T>(
  meaning: string,
  standard: string | null,
  parse: (text: string) => Parsed<T>,
): Variable<T> => ({ meaning, default: standard, secret: false, parse });

const secret = <T>(meaning: string, parse: (text: string) => Parsed<T>): Variable<T> => ({
  meaning,
  default: null,
  secret: true,
  parse,
});

export const variables = {
  SPECGATE_DATA_DIR: plain(
    "everything the gateway keeps on disk; one per instance",
    "./specgate-data",
    parsePath,
  ),
  SPECGATE_HOST: plain("the address to listen on", "127.0.0.1", parseHost),
  SPECGATE_PORT: plain("the port to listen on", "8080", parsePort),
  SPECGATE_PUBLIC_URL: plain(
    "issuer, audience, links; https unless loopback; unset: http://127.0.0.1:<port>",
    null,
    parsePublicUrl,
  ),
  SPECGATE_ALLOWED_HOSTS: plain(
    "Host values beside the public URL's and loopback",
    null,
    listOf(parseHostHeader),
  ),
  SPECGATE_TRUSTED_PROXIES: plain("networks whose X-Forwarded-For counts", null, listOf(parseCidr)),
  SPECGATE_CORS_ORIGINS: plain(
    "exact origins of browsers and desktop shells",
    "tauri://localhost http://tauri.localhost https://tauri.localhost",
    listOf(parseOrigin),
  ),
  DATABASE_URL: secret("Postgres 14 or later; unset: embedded PostgreSQL in the data dir", parseDatabaseUrl),
  DATABASE_DIRECT_URL: secret("for LISTEN, past any pooler; unset: DATABASE_URL", parseDatabaseUrl),
  DATABASE_MIGRATE_URL: secret("for the owner of the schema; unset: DATABASE_URL", parseDatabaseUrl),
  DATABASE_PREPARE: plain("prepared statements; off behind a transaction pooler", "on", parseSwitch),
  REDIS_URL: secret(
    "Redis or Valkey, for limits that several instances share; unset: each counts for itself",
    parseRedisUrl,
  ),
  SPECGATE_POSTGRES_UID: plain(
    "who runs the embedded database when the gateway is root; unset: user specgate, else a free id",
    null,
    parseUid,
  ),
  SPECGATE_JWT_SECRET: secret(
    "signs access tokens; comma-separated for rotation; unset: made once in the data dir",
    parseSigningSecrets,
  ),
  SPECGATE_STORAGE: plain(
    "where artifacts are kept: local, in the data dir; or s3, in a bucket",
    "local",
    oneOf("a storage", "local", "s3"),
  ),
  S3_ENDPOINT: plain("the store's address, without the bucket; https but for tests", null, parseS3Endpoint),
  S3_BUCKET: plain("the bucket, for this gateway alone", null, parseBucket),
  S3_REGION: plain("the bucket's region; unset: us-east-1, or auto at R2", null, parseRegion),
  S3_ACCESS_KEY_ID: secret("a key that may read, write, delete and list in the bucket", parseToken),
  S3_SECRET_ACCESS_KEY: secret("its secret", parseToken),
  R2_ACCOUNT_ID: plain("Cloudflare R2, in place of S3_ENDPOINT: derives it", null, parseR2Account),
  SPECGATE_CONFIG: plain("the YAML file; unset: ./specgate.yaml if it is there", null, parsePath),
  SPECGATE_OAUTH_REGISTRATION: plain("whether apps may register themselves", "on", parseSwitch),
  SPECGATE_OAUTH_CIMD: plain(
    "whether an app may be known by the URL of its own metadata document",
    "off",
    parseSwitch,
  ),
  SPECGATE_OIDC_ISSUER: plain(
    "the identity provider where people may also sign in; https unless loopback",
    null,
    parseIssuer,
  ),
  SPECGATE_OIDC_CLIENT_ID: plain("what it calls this gateway", null, parseClientId),
  SPECGATE_OIDC_CLIENT_SECRET: secret("how this gateway proves itself to it", parseClientSecret),
  SPECGATE_ADMIN_EMAIL: plain("makes the first administrator, while nobody exists", null, parseEmail),
  SPECGATE_ADMIN_PASSWORD: secret("the first administrator's, 12 bytes or more", parsePassword),
  SPECGATE_JOURNAL: plain(
    "disk, or database where the disk does not last",
    "disk",
    oneOf("a journal", "disk", "database"),
  ),
  SPECGATE_LOG_LEVEL: plain(
    "debug, info, warn, error or silent",
    "info",
    oneOf<LogLevel>("a log level", "debug", "info", "warn", "error", "silent"),
  ),
  SPECGATE_LOG_FORMAT: plain(
    "json or pretty; unset: pretty on a terminal, else json",
    null,
    oneOf("a log format", "json", "pretty"),
  ),
  SPECGATE_METRICS_TOKEN: secret("bearer for /metrics beyond loopback", parseToken),
} satisfies Record<string, Variable<unknown>>;

/** The command line's own, toward a gateway elsewhere; `serve` beside them has no use for them and no quarrel with them. */
export const clientVariables = {
  SPECGATE_URL: plain("the gateway that client commands talk to", "http://127.0.0.1:8080", parsePublicUrl),
  SPECGATE_TOKEN: secret("the bearer they send; unset: the sign-in of specgate login", parseToken),
} satisfies Record<string, Variable<unknown>>;

export type VariableName = keyof typeof variables;

/** A provider that a variable alone registers. */
export type KnownProvider = {
  name: string;
  kind: ProviderKind;
  /** The variable of its key; null for one that needs none. */
  key: string | null;
  base: string;
  baseUrl: string | null;
  /** Added to an address without a path, where the provider's own tools take it without. */
  path: string;
  includeUsage: boolean;
  allowPrivateNetwork: boolean;
};

const known = (name: string, baseUrl: string, more: Partial<KnownProvider> = {}): KnownProvider => ({
  name,
  kind: "openai",
  key: `${name.toUpperCase()}_API_KEY`,
  base: `${name.toUpperCase()}_BASE_URL`,
  baseUrl,
  path: "",
  includeUsage: true,
  allowPrivateNetwork: false,
  ...more,
});

export const knownProviders: readonly KnownProvider[] = [
  known("openai", "https://api.openai.com/v1"),
  known("anthropic", "https://api.anthropic.com", { kind: "anthropic" }),
  known("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", {
    path: "/v1beta/openai",
  }),
  known("openrouter", "https://openrouter.ai/api/v1"),
  // Mistral answers 422 to `stream_options` and sends usage anyway.
  known("mistral", "https://api.mistral.ai/v1", {
    path: "/v1",
    includeUsage: false,
  }),
  known("groq", "https://api.groq.com/openai/v1", { path: "/openai/v1" }),
  known("deepseek", "https://api.deepseek.com/v1"),
  {
    name: "ollama",
    kind: "openai",
    key: null,
    base: "OLLAMA_BASE_URL",
    baseUrl: null,
    path: "/v1",
    includeUsage: true,
    allowPrivateNetwork: true,
  },
  {
    name: "forge",
    kind: "openai",
    key: "BUILT_IN_FORGE_API_KEY",
    base: "BUILT_IN_FORGE_API_URL",
    baseUrl: null,
    path: "/v1",
    includeUsage: true,
    allowPrivateNetwork: false,
  },
];

/** The variables of the providers, in the table's own terms. */
export const providerVariables: Record<string, Variable<unknown>> = Object.fromEntries(
  knownProviders.flatMap((provider): [string, Variable<unknown>][] => {
    const base = (text: string) => parseBaseUrl(text, provider.allowPrivateNetwork);
    const address = plain(`where ${provider.name} answers; registers it`, provider.baseUrl, base);
    if (provider.key === null) return [[provider.base, address]];
    const key = secret(`registers the provider ${provider.name}`, parseToken);
    return [
      [provider.key, key],
      [provider.base, { ...address, meaning: `where ${provider.name} answers` }],
    ];
  }),
);

/**
 * Variables of the contract whose feature is not in this version, but set for other programs in many shells: refusing to
 * start would be wrong, silence too. A name ending in `_` stands for its family.
 */
export const warned: readonly string[] = ["OTEL_EXPORTER_OTLP_"];
