/**
 * The whole data model on one page.
 *
 * Ids are text with their prefix, so that a row read in psql says what it names. Money is bigint nano-USD, times are
 * timestamptz. The ledger has no foreign keys: its rows outlive what they were charged to.
 * Roles, grants, triggers and functions stand in the hand-written migrations beside the generated ones.
 */
import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  customType,
  doublePrecision,
  index,
  integer,
  jsonb,
  numeric,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import type { PriceSnapshot } from "./ledger.ts";

const at = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: "date" });
const nano = (name: string) => bigint(name, { mode: "number" });
const bytes = customType<{ data: Uint8Array }>({ dataType: () => "bytea" });
/** 64-bit transaction ids stay text in JavaScript: they are compared by Postgres only. */
const xid8 = customType<{ data: string }>({ dataType: () => "xid8" });
const tsvector = customType<{ data: string }>({ dataType: () => "tsvector" });

export const users = pgTable(
  "users",
  {
    id: text("id").primaryKey(),
    email: text("email").notNull(),
    role: text("role").$type<"admin" | "user">().notNull(),
    /** argon2id, PHC string; null for a person who signs in elsewhere. */
    passwordHash: text("password_hash"),
    /** Who this person is at an identity provider: `iss` and `sub`, noted at the first sign-in through it. */
    oidcIssuer: text("oidc_issuer"),
    oidcSubject: text("oidc_subject"),
    createdAt: at("created_at").notNull().defaultNow(),
    disabledAt: at("disabled_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [
    uniqueIndex("users_email").on(sql`lower(${table.email})`),
    uniqueIndex("users_oidc").on(table.oidcIssuer, table.oidcSubject),
  ],
);

export const projects = pgTable("projects", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  /** Whether an owner may decide what they asked for themselves. */
  approvalsSelf: text("approvals_self").$type<"deny" | "allow">().notNull().default("deny"),
  createdAt: at("created_at").notNull().defaultNow(),
  archivedAt: at("archived_at"),
  version: integer("version").notNull().default(1),
});

export const projectMembers = pgTable(
  "project_members",
  {
    projectId: text("project_id")
      .notNull()
      .references(() => projects.id),
    userId: text("user_id")
      .notNull()
      .references(() => users.id),
    role: text("role").$type<"owner" | "editor" | "viewer">().notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
    version: integer("version").notNull().default(1),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.userId] }),
    index("project_members_user").on(table.userId),
  ],
);

export const clients = pgTable("clients", {
  /** `cli_…`, `specgate-desktop`, or the https URL of a client's own metadata document. */
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  kind: text("kind").$type<"runner" | "service" | "desktop">().notNull(),
  /** Who made it: an operator, this program, the client itself (RFC 7591), or its document at `id`. */
  origin: text("origin")
    .$type<"operator" | "builtin" | "registration" | "document">()
    .notNull()
    .default("operator"),
  projectId: text("project_id").references(() => projects.id),
  scopes: text("scopes").array().notNull(),
  redirectUris: text("redirect_uris").array().notNull(),
  /** SHA-256 of the secret; null for public clients. */
  secretHash: bytes("secret_hash"),
  createdAt: at("created_at").notNull().defaultNow(),
  revokedAt: at("revoked_at"),
  version: integer("version").notNull().default(1),
});

export const apiKeys = pgTable(
  "api_keys",
  {
    id: text("id").primaryKey(),
    /** SHA-256 of the key. */
    hash: bytes("hash").notNull(),
    /** The last four characters, so that its owner can tell it from others. */
    hint: text("hint").notNull(),
    userId: text("user_id").references(() => users.id),
    clientId: text("client_id").references(() => clients.id),
    projectId: text("project_id").references(() => projects.id),
    scopes: text("scopes").array().notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
    expiresAt: at("expires_at").notNull(),
    revokedAt: at("revoked_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [uniqueIndex("api_keys_hash").on(table.hash)],
);

/** Where a person let something act for them: a browser (`client_id` is null) or an app. */
export const signIns = pgTable(
  "sign_ins",
  {
    id: text("id").primaryKey(),
    userId: text("user_id")
      .notNull()
      .references(() => users.id),
    clientId: text("client_id").references(() => clients.id),
    method: text("method").$type<"password" | "setup" | "oidc" | "code" | "device">().notNull(),
    /** SHA-256 of the console's cookie; null for an app. */
    cookieHash: bytes("cookie_hash"),
    /** What the person let an app do, and where; empty for a browser, which may do all that its person may. */
    scopes: text("scopes").array().notNull(),
    audiences: text("audiences").array().notNull(),
    ip: text("ip"),
    userAgent: text("user_agent"),
    createdAt: at("created_at").notNull(),
    usedAt: at("used_at").notNull(),
    expiresAt: at("expires_at").notNull(),
    endedAt: at("ended_at"),
  },
  (table) => [
    uniqueIndex("sign_ins_cookie").on(table.cookieHash),
    index("sign_ins_user").on(table.userId, table.createdAt),
    index("sign_ins_client").on(table.clientId),
    index("sign_ins_expiry").on(table.expiresAt),
  ],
);

/** All refresh tokens of an app's sign-in, in order: the highest number is the one in force. */
export const refreshTokens = pgTable(
  "refresh_tokens",
  {
    /** SHA-256 of the token. */
    hash: bytes("hash").primaryKey(),
    signInId: text("sign_in_id")
      .notNull()
      .references(() => signIns.id, { onDelete: "cascade" }),
    number: integer("number").notNull(),
    expiresAt: at("expires_at").notNull(),
    usedAt: at("used_at"),
    /** SHA-256 of the request that used it: the same request gets the same answer for ten seconds. */
    requestHash: bytes("request_hash"),
  },
  (table) => [uniqueIndex("refresh_tokens_number").on(table.signInId, table.number)],
);

/** Authorization codes (RFC 6749 section 4.1), for a minute. */
export const authorizationCodes = pgTable(
  "authorization_codes",
  {
    hash: bytes("hash").primaryKey(),
    clientId: text("client_id")
      .notNull()
      .references(() => clients.id),
    userId: text("user_id")
      .notNull()
      .references(() => users.id),
    /** As the client sent it; null when it sent none. */
    redirectUri: text("redirect_uri"),
    scopes: text("scopes").array().notNull(),
    audiences: text("audiences").array().notNull(),
    /** PKCE, S256 (RFC 7636). */
    challenge: text("challenge").notNull(),
    expiresAt: at("expires_at").notNull(),
    usedAt: at("used_at"),
    /** What came of it: ended when the code is used again. */
    signInId: text("sign_in_id"),
  },
  (table) => [index("authorization_codes_expiry").on(table.expiresAt)],
);

/** Device codes (RFC 8628), for ten minutes. */
export const deviceCodes = pgTable(
  "device_codes",
  {
    hash: bytes("hash").primaryKey(),
    /** Eight characters, without the hyphen. */
    userCode: text("user_code").notNull(),
    clientId: text("client_id")
      .notNull()
      .references(() => clients.id),
    scopes: text("scopes").array().notNull(),
    audiences: text("audiences").array().notNull(),
    ip: text("ip"),
    userAgent: text("user_agent"),
    state: text("state").$type<"pending" | "approved" | "denied" | "used">().notNull(),
    /** Who approved it. */
    userId: text("user_id").references(() => users.id),
    intervalSeconds: integer("interval_seconds").notNull(),
    polledAt: at("polled_at"),
    expiresAt: at("expires_at").notNull(),
  },
  (table) => [
    uniqueIndex("device_codes_user_code").on(table.userCode),
    index("device_codes_expiry").on(table.expiresAt),
  ],
);

/** One decision that one browser may make once: a consent, or a device's. */
export const tickets = pgTable(
  "tickets",
  {
    hash: bytes("hash").primaryKey(),
    signInId: text("sign_in_id")
      .notNull()
      .references(() => signIns.id, { onDelete: "cascade" }),
    kind: text("kind").$type<"consent" | "device">().notNull(),
    details: jsonb("details").notNull(),
    expiresAt: at("expires_at").notNull(),
    usedAt: at("used_at"),
  },
  (table) => [index("tickets_expiry").on(table.expiresAt)],
);

/** One-time links by which the first administrator is made. */
export const setupLinks = pgTable("setup_links", {
  hash: bytes("hash").primaryKey(),
  expiresAt: at("expires_at").notNull(),
});

/** A log of everything that stopped being valid, read in commit order by every instance (xid below the snapshot's xmin). */
export const revocations = pgTable(
  "revocations",
  {
    id: bigint("id", { mode: "number" }).primaryKey().generatedAlwaysAsIdentity(),
    xid: xid8("xid").notNull().default(sql`pg_current_xact_id()`),
    at: at("at").notNull().defaultNow(),
    /** The id of a user, client, key or sign-in, the `jti` of a token, or `usr_… prj_…` for a changed membership. */
    subject: text("subject").notNull(),
  },
  (table) => [
    index("revocations_xid").on(table.xid, table.id),
    index("revocations_subject").on(table.subject),
  ],
);

/** Fingerprints of the secrets that sign access tokens; a process whose secrets are all unknown here must not start. */
export const signingSecrets = pgTable("signing_secrets", {
  kid: text("kid").primaryKey(),
  createdAt: at("created_at").notNull().defaultNow(),
});

/** One row per data dir. `epoch` only rises; the same epoch with another nonce is a copied data dir. */
export const instances = pgTable("instances", {
  id: uuid("id").primaryKey(),
  epoch: integer("epoch").notNull(),
  nonce: text("nonce").notNull(),
  heartbeatAt: at("heartbeat_at").notNull().defaultNow(),
});

/** How far an instance's journal has been merged, epoch by epoch. */
export const watermarks = pgTable(
  "watermarks",
  {
    instance: uuid("instance").notNull(),
    epoch: integer("epoch").notNull(),
    lsn: bigint("lsn", { mode: "number" }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.instance, table.epoch] })],
);

const usageColumns = {
  input: nano("input"),
  output: nano("output"),
  cachedRead: nano("cached_read"),
  cacheWrite: nano("cache_write"),
  reasoning: nano("reasoning"),
  audio: nano("audio"),
};

export const requests = pgTable(
  "requests",
  {
    id: text("id").primaryKey(),
    state: text("state").$type<"open" | "unknown" | "settled" | "estimated" | "failed">().notNull(),
    at: at("at").notNull(),
    endpoint: text("endpoint").notNull(),
    requestedModel: text("requested_model").notNull(),
    provider: text("provider").notNull(),
    model: text("model").notNull(),
    principal: text("principal").notNull(),
    userId: text("user_id"),
    clientId: text("client_id"),
    keyId: text("key_id"),
    projectId: text("project_id"),
    sessionId: text("session_id"),
    iterationId: text("iteration_id"),
    taskId: text("task_id"),
    tags: jsonb("tags").$type<Record<string, string>>(),
    stream: boolean("stream").notNull(),
    traceId: text("trace_id"),
    idempotencyKey: text("idempotency_key"),
    status: integer("status"),
    delivery: text("delivery").$type<"whole" | "cut" | "none">(),
    ...usageColumns,
    costNano: nano("cost_nano"),
    chargedNano: nano("charged_nano"),
    prices: jsonb("prices").$type<PriceSnapshot>(),
    holdNano: nano("hold_nano"),
    periods: text("periods").array(),
    firstTokenMs: integer("first_token_ms"),
    durationMs: integer("duration_ms"),
    instance: uuid("instance").notNull(),
    epoch: integer("epoch").notNull(),
  },
  (table) => [
    index("requests_at").on(table.at, table.id),
    index("requests_client").on(table.clientId, table.at, table.id),
    index("requests_user").on(table.userId, table.at, table.id),
    index("requests_project").on(table.projectId, table.at, table.id),
    index("requests_session").on(table.sessionId, table.at, table.id).where(sql`session_id is not null`),
    index("requests_iteration")
      .on(table.iterationId, table.at, table.id)
      .where(sql`iteration_id is not null`),
    index("requests_task").on(table.taskId, table.at, table.id).where(sql`task_id is not null`),
    index("requests_key").on(table.keyId, table.at, table.id).where(sql`key_id is not null`),
    index("requests_open").on(table.instance, table.epoch).where(sql`state = 'open'`),
  ],
);

export const attempts = pgTable(
  "attempts",
  {
    requestId: text("request_id").notNull(),
    attempt: integer("attempt").notNull(),
    at: at("at").notNull(),
    provider: text("provider").notNull(),
    model: text("model").notNull(),
    state: text("state").$type<"open" | "unknown" | "settled" | "estimated" | "failed">().notNull(),
    status: integer("status"),
    error: text("error"),
    ...usageColumns,
    costNano: nano("cost_nano"),
    prices: jsonb("prices").$type<PriceSnapshot>(),
    firstTokenMs: integer("first_token_ms"),
    durationMs: integer("duration_ms"),
  },
  (table) => [primaryKey({ columns: [table.requestId, table.attempt] })],
);

/** What roll-ups are kept by, besides time. */
const dimensions = {
  provider: text("provider").notNull(),
  model: text("model").notNull(),
  projectId: text("project_id").notNull(),
  sessionId: text("session_id").notNull(),
  iterationId: text("iteration_id").notNull(),
  taskId: text("task_id").notNull(),
  userId: text("user_id").notNull(),
  clientId: text("client_id").notNull(),
  keyId: text("key_id").notNull(),
};

const sums = {
  requests: nano("requests").notNull(),
  errors: nano("errors").notNull(),
  input: nano("input").notNull(),
  output: nano("output").notNull(),
  cachedRead: nano("cached_read").notNull(),
  cacheWrite: nano("cache_write").notNull(),
  reasoning: nano("reasoning").notNull(),
  audio: nano("audio").notNull(),
  costNano: nano("cost_nano").notNull(),
  chargedNano: nano("charged_nano").notNull(),
  unknownNano: nano("unknown_nano").notNull(),
  latency: numeric("latency").notNull(),
  firstToken: numeric("first_token").notNull(),
};

/**
 * Roll-ups by the hour, kept in step with `requests` by the statement that merges them. An empty string stands for
 * "none" in the dimensions. `latency` and `first_token` are histograms, each one long number (usage/histogram.ts).
 */
export const usageHours = pgTable(
  "usage_hours",
  { hour: at("hour").notNull(), ...dimensions, ...sums },
  (table) => [
    primaryKey({
      columns: [
        table.hour,
        table.provider,
        table.model,
        table.projectId,
        table.sessionId,
        table.iterationId,
        table.taskId,
        table.userId,
        table.clientId,
        table.keyId,
      ],
    }),
    index("usage_hours_client").on(table.clientId, table.hour),
    index("usage_hours_project").on(table.projectId, table.hour),
    index("usage_hours_user").on(table.userId, table.hour),
    index("usage_hours_key").on(table.keyId, table.hour),
  ],
);

/**
 * The same by tag: each tagged call once under each of its tags (`name=value`), and once under `*`, so that what has no
 * tag is what remains. Columns as above, and nothing for calls without tags.
 */
export const usageTagHours = pgTable(
  "usage_tag_hours",
  { tag: text("tag").notNull(), hour: at("hour").notNull(), ...dimensions, ...sums },
  (table) => [
    primaryKey({
      columns: [
        table.hour,
        table.tag,
        table.provider,
        table.model,
        table.projectId,
        table.sessionId,
        table.iterationId,
        table.taskId,
        table.userId,
        table.clientId,
        table.keyId,
      ],
    }),
    index("usage_tag_hours_client").on(table.clientId, table.hour),
    index("usage_tag_hours_project").on(table.projectId, table.hour),
  ],
);

/**
 * The hours of days that are over, folded into days and months (usage/folds.ts): at each level with fewer dimensions, an
 * empty string in those left out. `tag` is empty for all calls, else as in `usage_tag_hours`. A month holds its folded days.
 */
export const usageSpans = pgTable(
  "usage_spans",
  {
    span: text("span").$type<"day" | "month">().notNull(),
    level: text("level").$type<"totals" | "models" | "projects" | "callers" | "all">().notNull(),
    tag: text("tag").notNull(),
    startsAt: at("starts_at").notNull(),
    ...dimensions,
    ...sums,
  },
  (table) => [
    primaryKey({
      name: "usage_spans_pk",
      columns: [
        table.span,
        table.level,
        table.tag,
        table.startsAt,
        table.provider,
        table.model,
        table.projectId,
        table.sessionId,
        table.iterationId,
        table.taskId,
        table.userId,
        table.clientId,
        table.keyId,
      ],
    }),
    index("usage_spans_project")
      .on(table.projectId, table.level, table.span, table.startsAt)
      .where(sql`project_id <> ''`),
    index("usage_spans_user")
      .on(table.userId, table.level, table.span, table.startsAt)
      .where(sql`user_id <> ''`),
    index("usage_spans_client")
      .on(table.clientId, table.level, table.span, table.startsAt)
      .where(sql`client_id <> ''`),
    index("usage_spans_key").on(table.keyId, table.span, table.startsAt).where(sql`key_id <> ''`),
    index("usage_spans_session").on(table.sessionId, table.span, table.startsAt).where(sql`session_id <> ''`),
    index("usage_spans_task").on(table.taskId, table.span, table.startsAt).where(sql`task_id <> ''`),
  ],
);

/**
 * `folded`: up to where hours have been folded, within an hour by `fold_place`; what changes before it is added to
 * `usage_spans` by the merge.
 * `swept`: up to when single calls may be gone.
 */
export const usageMarks = pgTable("usage_marks", {
  name: text("name").$type<"folded" | "swept">().primaryKey(),
  at: at("at").notNull(),
});

/** What providers keep of earlier calls (responses, containers), and whose calls those were: no one else's may refer to it. */
export const providerStates = pgTable(
  "provider_states",
  {
    provider: text("provider").notNull(),
    /** Not the id itself but its mark (features/llm/kept-marks.ts). */
    id: text("id").notNull(),
    /** `prj_…`, or the principal's id for calls outside of projects. */
    owner: text("owner").notNull(),
    at: at("at").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.provider, table.id, table.owner] }),
    index("provider_states_at").on(table.at),
  ],
);

/** Prices that an administrator set, each from its moment on; nothing is ever changed in here. */
export const priceOverrides = pgTable(
  "price_overrides",
  {
    id: bigint("id", { mode: "number" }).primaryKey().generatedAlwaysAsIdentity(),
    /** `provider/model`, with `*` at the end of either part. */
    model: text("model").notNull(),
    /** Null: from then on the file's or the table's price holds again. */
    prices: jsonb("prices").$type<PriceSnapshot>(),
    effectiveFrom: at("effective_from").notNull(),
    createdBy: text("created_by").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [index("price_overrides_model").on(table.model, table.effectiveFrom)],
);

/** Limits on spending. Whose, how long and in which zone never changes. The money itself moves in SQL functions alone. */
export const budgets = pgTable(
  "budgets",
  {
    id: text("id").primaryKey(),
    subject: text("subject").$type<"global" | "user" | "project" | "client" | "key">().notNull(),
    /** Null for `global`. */
    subjectId: text("subject_id"),
    period: text("period").$type<"day" | "week" | "month" | "total">().notNull(),
    timezone: text("timezone").notNull(),
    weekStart: text("week_start").$type<"monday" | "sunday">().notNull(),
    limitNano: nano("limit_nano").notNull(),
    /** Per cent, ascending. */
    thresholds: integer("thresholds").array().notNull(),
    hard: boolean("hard").notNull(),
    createdBy: text("created_by").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
    endedAt: at("ended_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [index("budgets_subject").on(table.subject, table.subjectId).where(sql`ended_at is null`)],
);

/** What a budget's period has spent and holds. `spent` is the sum of what is charged to it, `held` of the holds in it. */
export const budgetPeriods = pgTable(
  "budget_periods",
  {
    /** The budget's id, `@`, and the period's start in UTC as `YYYYMMDDTHHMMSSZ`. */
    id: text("id").primaryKey(),
    budgetId: text("budget_id").notNull(),
    startsAt: at("starts_at").notNull(),
    endsAt: at("ends_at"),
    spentNano: nano("spent_nano").notNull().default(0),
    heldNano: nano("held_nano").notNull().default(0),
    /** The highest threshold that was told of, in per cent. */
    toldPercent: integer("told_percent").notNull().default(0),
    exhaustedAt: at("exhausted_at"),
  },
  (table) => [index("budget_periods_budget").on(table.budgetId, table.startsAt)],
);

/** Money set aside for calls under way, until their end is merged. */
export const holds = pgTable(
  "holds",
  {
    req: text("req").primaryKey(),
    periods: text("periods").array().notNull(),
    nano: nano("nano").notNull(),
    instance: uuid("instance").notNull(),
    epoch: integer("epoch").notNull(),
    bootId: text("boot_id").notNull(),
    at: at("at").notNull().defaultNow(),
  },
  (table) => [index("holds_instance").on(table.instance, table.epoch)],
);

/** What operators asked to be told of, in the transaction in which it became true; `once` keeps it from being told twice. */
export const alarms = pgTable(
  "alarms",
  {
    id: bigint("id", { mode: "number" }).primaryKey().generatedAlwaysAsIdentity(),
    type: text("type").notNull(),
    once: text("once").notNull(),
    payload: jsonb("payload").$type<Record<string, unknown>>().notNull(),
    at: at("at").notNull().defaultNow(),
    /** When it was handed to the hooks. */
    handedAt: at("handed_at"),
  },
  (table) => [
    uniqueIndex("alarms_once").on(table.once),
    index("alarms_open").on(table.id).where(sql`handed_at is null`),
  ],
);

export const alertHooks = pgTable("alert_hooks", {
  id: text("id").primaryKey(),
  url: text("url").notNull(),
  events: text("events").array().notNull(),
  /** The signing secret that this hook's own secret is derived from. */
  kid: text("kid").notNull(),
  createdBy: text("created_by").notNull(),
  createdAt: at("created_at").notNull().defaultNow(),
  endedAt: at("ended_at"),
  version: integer("version").notNull().default(1),
});

export const alertDeliveries = pgTable(
  "alert_deliveries",
  {
    id: text("id").primaryKey(),
    hookId: text("hook_id").notNull(),
    /** `webhook-id` of Standard Webhooks: the same however often it is sent. */
    messageId: text("message_id").notNull(),
    type: text("type").notNull(),
    payload: jsonb("payload").$type<Record<string, unknown>>().notNull(),
    status: text("status").$type<"pending" | "delivered" | "dead">().notNull(),
    tries: integer("tries").notNull().default(0),
    nextAt: at("next_at"),
    lastStatus: integer("last_status"),
    lastError: text("last_error"),
    createdAt: at("created_at").notNull().defaultNow(),
    endedAt: at("ended_at"),
  },
  (table) => [
    index("alert_deliveries_hook").on(table.hookId, table.createdAt, table.id),
    index("alert_deliveries_due").on(table.nextAt).where(sql`status = 'pending'`),
  ],
);

/** Each write is a new revision; the last one counts. */
export const mcpPolicies = pgTable(
  "mcp_policies",
  {
    /** `usr_…`, `cli_…`, `specgate-desktop` or `key_…`. */
    principal: text("principal").notNull(),
    revision: integer("revision").notNull(),
    /** Empty when the policy was taken away. */
    rules: jsonb("rules").$type<unknown[]>().notNull(),
    createdBy: text("created_by").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.principal, table.revision] })],
);

/** Tools of upstream MCP servers as they were first seen or approved, and as they were seen last. */
export const mcpPins = pgTable(
  "mcp_pins",
  {
    alias: text("alias").notNull(),
    /** The upstream's own name of it. */
    tool: text("tool").notNull(),
    /** `pending`: never approved. `quarantined`: it is no longer what it was. `rejected`: an administrator said no. */
    status: text("status").$type<"visible" | "pending" | "quarantined" | "rejected">().notNull(),
    /** SHA-256 of the canonical JSON of the definition that counts; null while none does. */
    pin: text("pin"),
    definition: jsonb("definition").$type<Record<string, unknown>>(),
    seenPin: text("seen_pin").notNull(),
    seenDefinition: jsonb("seen_definition").$type<Record<string, unknown>>().notNull(),
    firstSeenAt: at("first_seen_at").notNull().defaultNow(),
    /** When it came to be what it was seen as last. */
    changedAt: at("changed_at").notNull().defaultNow(),
    /** Null: it is offered no more. */
    goneAt: at("gone_at"),
    decidedBy: text("decided_by"),
    decidedAt: at("decided_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [primaryKey({ columns: [table.alias, table.tool] })],
);

/** Where something in a session stands; neither ever changes. */
const place = {
  projectId: text("project_id").notNull(),
  sessionId: text("session_id")
    .notNull()
    .references(() => sessions.id),
};
/** `usr_…` or `cli_…` */
const createdBy = text("created_by").notNull();

/** One piece of work of the team: from a spec to what is done. */
export const sessions = pgTable(
  "sessions",
  {
    id: text("id").primaryKey(),
    projectId: text("project_id")
      .notNull()
      .references(() => projects.id),
    title: text("title").notNull(),
    spec: text("spec"),
    notes: text("notes"),
    status: text("status").$type<"open" | "completed" | "failed" | "cancelled">().notNull(),
    /** The last one's number, drawn with the row locked. */
    iterations: integer("iterations").notNull().default(0),
    createdBy,
    createdAt: at("created_at").notNull().defaultNow(),
    updatedAt: at("updated_at").notNull().defaultNow(),
    closedAt: at("closed_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [
    index("sessions_project").on(table.projectId, table.id),
    index("sessions_status").on(table.projectId, table.status, table.id),
  ],
);

export const iterations = pgTable(
  "iterations",
  {
    id: text("id").primaryKey(),
    ...place,
    /** 1, 2, 3, … within the session. */
    number: integer("number").notNull(),
    step: text("step")
      .$type<"SPEC" | "PLAN" | "TASKS" | "IMPLEMENT" | "SYNC_TASKS" | "TEST_SUITE" | "QUALITY_GATE">()
      .notNull(),
    status: text("status").$type<"running" | "passed" | "failed" | "abandoned">().notNull(),
    commitSha: text("commit_sha"),
    notes: text("notes"),
    createdBy,
    createdAt: at("created_at").notNull().defaultNow(),
    updatedAt: at("updated_at").notNull().defaultNow(),
    endedAt: at("ended_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [uniqueIndex("iterations_number").on(table.sessionId, table.number)],
);

/** No two tasks of a session share a position; checked at the commit, so that a list may be put into another order. */
export const tasks = pgTable(
  "tasks",
  {
    id: text("id").primaryKey(),
    projectId: text("project_id").notNull(),
    /** Without a reference: whoever writes a task holds its session, and a thousand of them would look it up again. */
    sessionId: text("session_id").notNull(),
    /** The caller's, or made of what the task says: see features/tasks/dedupe-key.ts. */
    dedupeKey: text("dedupe_key").notNull(),
    taskRef: text("task_ref"),
    title: text("title").notNull(),
    originatingSpec: text("originating_spec"),
    acceptanceCriteria: text("acceptance_criteria"),
    mappedFiles: text("mapped_files").array().notNull(),
    mappedTests: text("mapped_tests").array().notNull(),
    status: text("status").$type<"planned" | "doing" | "blocked" | "done" | "cancelled">().notNull(),
    notes: text("notes"),
    position: integer("position").notNull(),
    /** Words and trigrams: see db/search-text.ts. */
    search: tsvector("search").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
    updatedAt: at("updated_at").notNull().defaultNow(),
    version: integer("version").notNull().default(1),
  },
  (table) => [
    uniqueIndex("tasks_dedupe_key").on(table.sessionId, table.dedupeKey),
    index("tasks_status").on(table.sessionId, table.status, table.position),
    index("tasks_spec").on(table.sessionId, table.originatingSpec, table.position),
    index("tasks_project").on(table.projectId, table.id),
    index("tasks_search").using("gin", table.search),
  ],
);

/** What became of a task, version by version. */
export const taskHistory = pgTable(
  "task_history",
  {
    taskId: text("task_id").notNull(),
    version: integer("version").notNull(),
    at: at("at").notNull().defaultNow(),
    actor: text("actor").notNull(),
    actorKind: text("actor_kind").$type<"user" | "client" | "local" | "system">().notNull(),
    clientId: text("client_id"),
    requestId: text("request_id"),
    action: text("action").$type<"created" | "updated" | "cancelled">().notNull(),
    /** By field: what it was and what it became. */
    changes: jsonb("changes").$type<Record<string, { from: unknown; to: unknown }>>().notNull(),
  },
  (table) => [primaryKey({ columns: [table.taskId, table.version] })],
);

/** Written once, never changed. */
export const reports = pgTable(
  "reports",
  {
    id: text("id").primaryKey(),
    ...place,
    iterationId: text("iteration_id").references(() => iterations.id),
    kind: text("kind").notNull(),
    title: text("title").notNull(),
    format: text("format").$type<"markdown" | "json" | "text">().notNull(),
    body: text("body").notNull(),
    artifactId: text("artifact_id"),
    search: tsvector("search").notNull(),
    createdBy,
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [
    index("reports_session").on(table.sessionId, table.id),
    index("reports_project").on(table.projectId, table.id),
    index("reports_search").using("gin", table.search),
  ],
);

/** What a runner found out about one commit. Written once, never changed; the latest of its kind counts. */
export const checks = pgTable(
  "checks",
  {
    id: text("id").primaryKey(),
    ...place,
    iterationId: text("iteration_id")
      .notNull()
      .references(() => iterations.id),
    /** Orders them: ids of several instances may be out of step by a clock. */
    no: bigint("no", { mode: "number" }).notNull().generatedAlwaysAsIdentity(),
    kind: text("kind").$type<"test" | "coverage" | "security" | "lint" | "custom">().notNull(),
    /** Of a custom check; null otherwise. */
    name: text("name"),
    status: text("status").$type<"passed" | "failed" | "error" | "skipped">().notNull(),
    percent: doublePrecision("percent"),
    commitSha: text("commit_sha"),
    summary: text("summary"),
    artifactId: text("artifact_id"),
    createdBy,
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [index("checks_iteration").on(table.iterationId, table.no)],
);

/** What "done" means in a project; one without a row has the usual policy (features/gates/policy.ts). */
export const gatePolicies = pgTable("gate_policies", {
  projectId: text("project_id")
    .primaryKey()
    .references(() => projects.id),
  policy: jsonb("policy").$type<unknown>().notNull(),
  updatedBy: text("updated_by").notNull(),
  updatedAt: at("updated_at").notNull().defaultNow(),
  version: integer("version").notNull().default(1),
});

/** A trigger refuses UPDATE, DELETE and TRUNCATE. */
export const gateEvaluations = pgTable(
  "gate_evaluations",
  {
    id: text("id").primaryKey(),
    ...place,
    /** Null: a session without an iteration was to be completed. */
    iterationId: text("iteration_id").references(() => iterations.id),
    ok: boolean("ok").notNull(),
    commitSha: text("commit_sha"),
    policy: jsonb("policy").$type<unknown>().notNull(),
    checks: jsonb("checks").$type<unknown>().notNull(),
    createdBy,
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [
    index("gate_evaluations_iteration").on(table.iterationId, table.id),
    index("gate_evaluations_session").on(table.sessionId, table.id),
  ],
);

export const waivers = pgTable(
  "waivers",
  {
    id: text("id").primaryKey(),
    ...place,
    iterationId: text("iteration_id")
      .notNull()
      .references(() => iterations.id),
    gate: text("gate").notNull(),
    reason: text("reason").notNull(),
    createdBy,
    createdAt: at("created_at").notNull().defaultNow(),
    expiresAt: at("expires_at").notNull(),
    revokedBy: text("revoked_by"),
    revokedAt: at("revoked_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [index("waivers_iteration").on(table.iterationId, table.id)],
);

export const approvals = pgTable(
  "approvals",
  {
    id: text("id").primaryKey(),
    ...place,
    iterationId: text("iteration_id").references(() => iterations.id),
    action: text("action").notNull(),
    /** 64 lower-case hexadecimal digits. */
    subjectSha256: text("subject_sha256").notNull(),
    reason: text("reason").notNull(),
    status: text("status")
      .$type<"pending" | "approved" | "rejected" | "expired" | "withdrawn" | "consumed" | "revoked">()
      .notNull(),
    ttlSeconds: integer("ttl_seconds").notNull(),
    requestedBy: text("requested_by").notNull(),
    /** The person behind the request, who must not decide it; null for a machine's own. */
    requestedByUser: text("requested_by_user"),
    requestedByClient: text("requested_by_client"),
    createdAt: at("created_at").notNull().defaultNow(),
    pendingUntil: at("pending_until").notNull(),
    decidedBy: text("decided_by"),
    decidedAt: at("decided_at"),
    note: text("note"),
    /** Decided by the person behind the request, because the project allows it. */
    self: boolean("self").notNull().default(false),
    /** Of an approval: when it can no longer be consumed. */
    expiresAt: at("expires_at"),
    endedBy: text("ended_by"),
    endedAt: at("ended_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [
    index("approvals_session").on(table.sessionId, table.id),
    index("approvals_pending").on(table.pendingUntil).where(sql`status = 'pending'`),
    index("approvals_approved").on(table.expiresAt).where(sql`status = 'approved'`),
  ],
);

/** What is known of an object in the store; the row stays when the object has gone. */
export const artifacts = pgTable(
  "artifacts",
  {
    id: text("id").primaryKey(),
    /** Whose room it takes: `prj_…`, or `usr_…` for a chat attachment. */
    owner: text("owner").notNull(),
    sessionId: text("session_id").references(() => sessions.id),
    iterationId: text("iteration_id").references(() => iterations.id),
    kind: text("kind").notNull(),
    name: text("name").notNull(),
    contentType: text("content_type").notNull(),
    sizeBytes: bigint("size_bytes", { mode: "number" }).notNull(),
    /** 64 lower-case hexadecimal digits. */
    sha256: text("sha256").notNull(),
    /** Which store: see `ObjectStore.place`. */
    place: text("place").notNull(),
    key: text("key").notNull(),
    status: text("status").$type<"pending" | "complete" | "rejected" | "deleted" | "purged">().notNull(),
    /** What its completion was judged by: the store's checksum, the bytes read back, or the size alone. */
    checkedBy: text("checked_by").$type<"store" | "bytes" | "size">(),
    etag: text("etag"),
    createdBy,
    createdAt: at("created_at").notNull().defaultNow(),
    /** Until when an upload may begin: as long as the last URL that was signed for it. */
    uploadUntil: at("upload_until").notNull(),
    completedAt: at("completed_at"),
    /** When it goes: a day after its creation while it is pending. Null: when somebody deletes it. */
    expiresAt: at("expires_at"),
    endedBy: text("ended_by"),
    endedAt: at("ended_at"),
    version: integer("version").notNull().default(1),
  },
  (table) => [
    index("artifacts_session").on(table.sessionId, table.id),
    index("artifacts_owner").on(table.owner, table.id),
    index("artifacts_expiring").on(table.expiresAt).where(sql`status in ('pending', 'complete')`),
    index("artifacts_ended").on(table.id).where(sql`status in ('rejected', 'deleted')`),
  ],
);

/** How much the artifacts of one owner take, changed in the transactions that change those: the lock of its quota. */
export const artifactRoom = pgTable("artifact_room", {
  owner: text("owner").primaryKey(),
  sizeBytes: bigint("size_bytes", { mode: "number" }).notNull(),
  objects: bigint("objects", { mode: "number" }).notNull(),
});

/** What happened in the projects, written with the change, read in commit order (xid below the snapshot's xmin). */
export const events = pgTable(
  "events",
  {
    id: bigint("id", { mode: "number" }).notNull().generatedAlwaysAsIdentity(),
    xid: xid8("xid").notNull().default(sql`pg_current_xact_id()`),
    at: at("at").notNull().defaultNow(),
    projectId: text("project_id").notNull(),
    sessionId: text("session_id"),
    /** `<noun>.<created|updated|deleted>`, or `usage.tick`. */
    type: text("type").notNull(),
    payload: jsonb("payload").$type<Record<string, unknown>>().notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.xid, table.id] }),
    index("events_project").on(table.projectId, table.xid, table.id),
    // Rows stand in the order of their times, near enough.
    index("events_at").using("brin", table.at),
  ],
);

/** First answers to requests with an `Idempotency-Key`, written with what they changed. */
export const idempotency = pgTable(
  "idempotency",
  {
    principal: text("principal").notNull(),
    method: text("method").notNull(),
    path: text("path").notNull(),
    key: text("key").notNull(),
    /** SHA-256 of the body. */
    bodyHash: bytes("body_hash").notNull(),
    status: integer("status").notNull(),
    /** What is sent again: secrets are null in it. */
    body: text("body").notNull(),
    headers: jsonb("headers").$type<Record<string, string>>().notNull(),
    at: at("at").notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.principal, table.method, table.path, table.key] }),
    index("idempotency_at").on(table.at),
  ],
);

/** Written in the change's own transaction. A trigger refuses UPDATE, DELETE and TRUNCATE. */
export const audit = pgTable(
  "audit",
  {
    id: bigint("id", { mode: "number" }).primaryKey().generatedAlwaysAsIdentity(),
    xid: xid8("xid").notNull().default(sql`pg_current_xact_id()`),
    /** Counts clusters, not boots: a restore begins a new one, because xids belong to a cluster. */
    epoch: integer("epoch").notNull(),
    /** `evt_…` */
    eventId: text("event_id").notNull(),
    at: at("at").notNull(),
    actor: text("actor").notNull(),
    actorKind: text("actor_kind").$type<"user" | "client" | "local" | "system">().notNull(),
    clientId: text("client_id"),
    /** `<noun>.<verb>`, such as `client.created`. */
    action: text("action").notNull(),
    subject: text("subject"),
    projectId: text("project_id"),
    sessionId: text("session_id"),
    ip: text("ip"),
    userAgent: text("user_agent"),
    requestId: text("request_id"),
    outcome: text("outcome").$type<"ok" | "refused" | "failed">().notNull(),
    details: jsonb("details").$type<Record<string, unknown>>().notNull(),
    /** SHA-256 over the canonical JSON of every other column (audit/canonical.ts). */
    rowHash: bytes("row_hash").notNull(),
  },
  (table) => [
    index("audit_xid").on(table.xid, table.id),
    index("audit_at").on(table.at, table.id),
    index("audit_actor").on(table.actor, table.at, table.id),
    index("audit_project").on(table.projectId, table.at, table.id),
    index("audit_subject").on(table.subject, table.at, table.id),
    index("audit_action").on(table.action, table.at, table.id),
  ],
);

/** A chain: each seal covers the rows with `from_xid <= xid < to_xid` and the seal before it. */
export const auditSeals = pgTable(
  "audit_seals",
  {
    epoch: integer("epoch").notNull(),
    no: bigint("no", { mode: "number" }).notNull(),
    at: at("at").notNull(),
    fromXid: xid8("from_xid").notNull(),
    toXid: xid8("to_xid").notNull(),
    rows: integer("rows").notNull(),
    prevHash: bytes("prev_hash").notNull(),
    hash: bytes("hash").notNull(),
    /** Ed25519 over `hash`. */
    signature: bytes("signature").notNull(),
    keyId: text("key_id").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.epoch, table.no] }),
    index("audit_seals_from").on(table.epoch, table.fromXid),
  ],
);

/** Public halves of the keys that sign seals; the private ones never leave their data dir. */
export const auditKeys = pgTable("audit_keys", {
  id: text("id").primaryKey(),
  publicKey: bytes("public_key").notNull(),
  createdAt: at("created_at").notNull().defaultNow(),
});
