/**
 * Where a database is, and how one connects to it: the only place that calls postgres.js.
 *
 * A socket is spelled as its directory, as libpq does: `postgres://user@/name?host=/run/postgresql`.
 */
import postgres from "postgres";
import { Secret } from "../platform/secret.ts";
import type { Sql } from "./database.ts";

export type Endpoint = (
  | { readonly kind: "url"; readonly url: Secret }
  | {
      readonly kind: "socket";
      readonly directory: string;
      readonly database: string;
      readonly user: string;
      readonly password: Secret;
    }
) & {
  /** The variable that names it; absent for the embedded one. */
  readonly variable?: string;
};

export type ConnectOptions = {
  applicationName: string;
  /** False behind a transaction pooler that cannot keep prepared statements. */
  prepare: boolean;
  connectionsMax: number;
  /** Null: the server sets no limit, because a pooler stands before it or the work is long. */
  statementTimeoutMs: number | null;
  /** Called as soon as a connection is gone. */
  onclose?: () => void;
};

/** Opens nothing yet: connections are made as statements need them, and made again when they were lost. */
export function connect(endpoint: Endpoint, options: ConnectOptions): Sql {
  const settings = {
    max: options.connectionsMax,
    prepare: options.prepare,
    connect_timeout: 5,
    max_lifetime: null,
    onclose: options.onclose ?? (() => {}),
    // Constant and short: a database that is back is found within a fifth of a second.
    backoff: () => 0.1 + Math.random() * 0.1,
    onnotice: () => {},
    types,
    connection: {
      application_name: options.applicationName,
      ...(options.statementTimeoutMs === null ? {} : limits(options.statementTimeoutMs)),
    },
  };
  // postgres.js names each custom type in the client's own type; to the stores they are plain values.
  if (endpoint.kind === "url") return postgres(endpoint.url.reveal(), settings) as unknown as Sql;
  const { directory, database, user } = endpoint;
  const place = { path: socketPath(directory), database, user, password: endpoint.password.reveal() };
  return postgres({ ...settings, ...place }) as unknown as Sql;
}

/** An idle transaction would also hold back what readers of the event and audit logs may see. */
const limits = (statementTimeoutMs: number) => ({
  statement_timeout: statementTimeoutMs,
  idle_in_transaction_session_timeout: 10_000,
});

export const socketPath = (directory: string): string => `${directory}/.s.PGSQL.5432`;

/** Reads DATABASE_URL; a `host` parameter with a path means a Unix socket, which postgres.js does not take from a URL. */
export function endpointOf(url: Secret, variable = "DATABASE_URL"): Endpoint {
  const parsed = URL.parse(url.reveal().replace(/^([a-z]+:\/\/[^/]*@)\//, "$1socket/"));
  const directory = parsed?.searchParams.get("host") ?? null;
  if (parsed === null || directory === null || !directory.startsWith("/"))
    return { kind: "url", url, variable };
  return {
    kind: "socket",
    variable,
    directory,
    database: decodeURIComponent(parsed.pathname.slice(1)),
    user: decodeURIComponent(parsed.username),
    password: new Secret(decodeURIComponent(parsed.password)),
  };
}

/** The same place as one URL, as DATABASE_URL takes it. */
export function urlOf(endpoint: Endpoint): Secret {
  if (endpoint.kind === "url") return endpoint.url;
  const name = `${encodeURIComponent(endpoint.user)}:${encodeURIComponent(endpoint.password.reveal())}`;
  const host = encodeURIComponent(endpoint.directory);
  return new Secret(`postgres://${name}@/${encodeURIComponent(endpoint.database)}?host=${host}`);
}

const types = {
  // 64-bit integers are money and counts, all below 2^53; transaction ids (xid8) stay text.
  bigint: { to: 20, from: [20], serialize: String, parse: Number },
  // drizzle hands JSON over as text already.
  json: {
    to: 3802,
    from: [114, 3802],
    serialize: (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value)),
    parse: (text: string): unknown => JSON.parse(text),
  },
};
