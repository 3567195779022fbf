/**
 * The configuration as the rest of the program sees it: complete, checked, typed. Nothing else reads the environment.
 *
 * config-env.ts and config-file.ts turn the two sources into this; every mistake of both is reported at once.
 */
import type { LogLevel } from "./log.ts";
import type { Secret } from "./secret.ts";

export type Config = {
  /** Absolute. */
  dataDir: string;
  host: string;
  port: number;
  /** Origin without trailing slash, or null for `http://127.0.0.1:<port>`. */
  publicUrl: string | null;
  /** Further Host values, lower case, as in the header (`host` or `host:port`). */
  allowedHosts: string[];
  /** CIDRs whose `X-Forwarded-For` counts. */
  trustedProxies: string[];
  corsOrigins: string[];
  database: {
    /** Null: the embedded cluster in the data dir. */
    url: Secret | null;
    directUrl: Secret | null;
    migrateUrl: Secret | null;
    /** False behind a transaction pooler that cannot keep prepared statements. */
    prepare: boolean;
    /** Who runs the embedded cluster when the gateway is root. */
    postgresUid: number | null;
  };
  /** First signs, all verify; null: made once and kept in the data dir. */
  jwtSecrets: Secret[] | null;
  journal: "disk" | "database";
  log: { level: LogLevel; format: "json" | "pretty" };
  metricsToken: Secret | null;
  oauth: {
    /** Whether apps may register themselves (RFC 7591). */
    registration: boolean;
    /** Whether an app may be known by the URL of its own metadata document. */
    cimd: boolean;
  };
  /** Where people may also sign in; null: with passwords alone. */
  oidc: OidcConfig | null;
  /** Made by the first start, when nobody exists; null: the setup link does it. */
  firstAdmin: { email: string; password: Secret } | null;
  /** Where the bytes of artifacts are. */
  storage: StorageConfig;
  /** Redis or Valkey, for limits that several instances share; null: each counts for itself. */
  redisUrl: Secret | null;
  /** Files that hold secrets: what `<NAME>_FILE` variables name, absolute. */
  secretFiles: string[];
  /** The YAML file that was read, absolute, or null. */
  file: string | null;
  gateway: GatewayConfig;
};

/** `local`: in the data dir. */
export type StorageConfig = { kind: "local" } | ({ kind: "s3" } & S3Config);

export type S3Config = {
  /** An origin; the bucket is the first segment of the path. */
  endpoint: string;
  bucket: string;
  region: string;
  accessKeyId: Secret;
  secretAccessKey: Secret;
};

/** An OpenID provider, and this gateway as one of its clients. */
export type OidcConfig = {
  /** As written: https, or http on loopback, with its path if it has one. */
  issuer: string;
  clientId: string;
  clientSecret: Secret;
};

/** The part that SIGHUP may change while the gateway runs: what comes from specgate.yaml and the provider variables. */
export type GatewayConfig = {
  /** By name, in the order given. Empty: `demo/echo` answers. */
  providers: Record<string, ProviderConfig>;
  models: Record<string, ModelConfig>;
  /** Overrides, by `provider/model`, with `*` at the end of either part. */
  prices: Record<string, PriceConfig>;
  limits: LimitsConfig;
  artifacts: ArtifactsConfig;
  mcp: McpConfig;
  alerts: AlertsConfig;
  retention: RetentionConfig;
};

/** What callers may ask for below `/v1`; each provider speaks some of them, and none is translated into another. */
export const llmEndpoints = [
  "chat/completions",
  "completions",
  "responses",
  "embeddings",
  "messages",
  "messages/count_tokens",
] as const;
export type LlmEndpoint = (typeof llmEndpoints)[number];

export const providerKinds = ["openai", "anthropic"] as const;
export type ProviderKind = (typeof providerKinds)[number];

/** What each kind can speak; `anthropic` answers chat completions through its own OpenAI-compatible address. */
export const spokenEndpoints: Readonly<Record<ProviderKind, readonly LlmEndpoint[]>> = {
  openai: ["chat/completions", "completions", "responses", "embeddings"],
  anthropic: ["messages", "messages/count_tokens", "chat/completions"],
};

export type ProviderConfig = {
  kind: ProviderKind;
  /** As the provider's own SDK takes it, without trailing slash: `https://api.openai.com/v1`, `https://api.anthropic.com`. */
  baseUrl: string;
  apiKey: Secret | null;
  /** Those of its kind, or fewer. */
  endpoints: readonly LlmEndpoint[];
  /** False for providers that refuse `stream_options`. */
  includeUsage: boolean;
  allowPrivateNetwork: boolean;
};

export type TargetConfig = { provider: string; model: string };

export type ModelConfig = {
  /** At least one; of the healthy ones each is chosen as often as its weight says. */
  targets: (TargetConfig & { weight: number })[];
  /** Asked in this order when no target answers. */
  fallbacks: TargetConfig[];
  /** How many more attempts at the targets may follow the first. */
  retries: number;
  timeouts: TimeoutsConfig;
};

export const defaultRetries = 2;

export type TimeoutsConfig = {
  /** Until a provider that was not heard of lately takes a connection. */
  connectMs: number;
  firstTokenMs: number;
  /** Over all attempts, until the first byte of an answer. */
  firstByteTotalMs: number;
  idleMs: number;
  totalMs: number;
};
export const defaultTimeouts: TimeoutsConfig = {
  connectMs: 5_000,
  firstTokenMs: 30_000,
  firstByteTotalMs: 55_000,
  idleMs: 60_000,
  totalMs: 600_000,
};

/** USD per million tokens, as integers of nano-USD per million tokens. A rate left out falls back to `input`. */
export type PriceConfig = {
  inputNanoPerMtok: number;
  cachedReadNanoPerMtok: number;
  cacheWriteNanoPerMtok: number;
  outputNanoPerMtok: number;
};

/** `null` is no limit. Per credential unless the name says otherwise. */
export type LimitsConfig = {
  llm: {
    bodyBytesMax: number;
    requestsPerMinute: number | null;
    tokensPerMinute: number | null;
    /** Of all credentials that are charged to one project together. */
    projectRequestsPerMinute: number | null;
    projectTokensPerMinute: number | null;
    streamsPerProject: number | null;
    streamsPerToken: number;
    streamsMax: number;
    bodiesInFlightBytesMax: number;
  };
  mcp: { bodyBytesMax: number; resultBytesMax: number; requestsPerMinute: number | null };
  control: { bodyBytesMax: number; requestsPerMinute: number | null };
};

export const defaultLimits: LimitsConfig = {
  llm: {
    bodyBytesMax: 33_554_432,
    requestsPerMinute: 600,
    tokensPerMinute: null,
    projectRequestsPerMinute: null,
    projectTokensPerMinute: null,
    streamsPerProject: null,
    streamsPerToken: 200,
    streamsMax: 2_000,
    bodiesInFlightBytesMax: 536_870_912,
  },
  mcp: { bodyBytesMax: 1_048_576, resultBytesMax: 1_048_576, requestsPerMinute: 1_200 },
  control: { bodyBytesMax: 8_388_608, requestsPerMinute: 1_200 },
};

export type ArtifactsConfig = {
  sizeBytesMax: number;
  /** How long signed URLs may live, and do unless the caller asks for less. */
  putTtlSeconds: number;
  getTtlSeconds: number;
  /** From completion; null keeps artifacts until somebody deletes them. */
  retentionDays: number | null;
  /** `type/subtype`, with `*` for either. */
  contentTypes: string[];
  /** Of each project, and of each person's chat attachments; null is no limit. */
  quotaBytes: number | null;
};

export const defaultArtifacts: ArtifactsConfig = {
  sizeBytesMax: 104_857_600,
  putTtlSeconds: 600,
  getTtlSeconds: 300,
  retentionDays: 90,
  contentTypes: [
    "application/json",
    "text/*",
    "application/zip",
    "application/gzip",
    "application/pdf",
    "image/png",
    "image/jpeg",
    "image/webp",
    "video/mp4",
    "application/octet-stream",
  ],
  quotaBytes: null,
};

/** What MCP clients may reach at most, whatever policies say. */
export type McpConfig = {
  /** Patterns of tools' names: `*` within a segment, `**` across; segments end at `__`. */
  allow: string[];
  deny: string[];
  /** Files of a project that its tools may touch, by the project's id. */
  workspaces: Record<string, WorkspaceConfig>;
  /** Other MCP servers, by the alias that their tools are named with. */
  upstreams: Record<string, UpstreamConfig>;
};
export const defaultMcp: McpConfig = { allow: ["**"], deny: [], workspaces: {}, upstreams: {} };

export type WorkspaceConfig = {
  /** Absolute. */
  root: string;
  /** Extensions in lower case, with their dot. */
  read: string[];
  write: string[];
  /** Patterns of paths below the root, such as the ones for version control's own files. */
  deny: string[];
};

export type UpstreamLink =
  | { kind: "http"; url: string; bearer: Secret | null; allowPrivateNetwork: boolean }
  | { kind: "stdio"; command: string[]; env: Record<string, Secret>; cwd: string | null };

export type UpstreamConfig = UpstreamLink & {
  /** Patterns of the upstream's own names. */
  allow: string[];
  deny: string[];
  /** `first_use`: what is there first is visible at once. `approve`: nothing is, until an administrator approves it. */
  pin: "first_use" | "approve";
  timeoutMs: number;
  /** Null: as `limits.mcp` says. */
  resultBytesMax: number | null;
  /** Calls at once; more wait for none and are refused. */
  callsMax: number;
};

export type AlertsConfig = {
  /** Whether hooks may point into private networks. */
  allowPrivateNetwork: boolean;
};
export const defaultAlerts: AlertsConfig = { allowPrivateNetwork: false };

/** How long what is not needed any more is kept; null is for ever. */
export type RetentionConfig = {
  /** Single calls; their sums stay. */
  requestsDays: number | null;
  /** Rows of the audit log are kept for ever in this version. */
  auditDays: null;
  eventsHours: number;
};

export const defaultRetention: RetentionConfig = { requestsDays: 400, auditDays: null, eventsHours: 24 };
