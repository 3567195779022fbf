/**
 * Everything that can go wrong, in one closed list with its HTTP status beside it.
 *
 * Failures are thrown, decisions are returned. `message` is public: it says what is wrong and what would be right,
 * and holds nothing that the caller did not send or may not know. `cause` is for the log alone.
 * The plane that answers chooses the words' shape (dialects.ts), never the feature that threw.
 */
export const kinds = {
  invalid: 400,
  unprocessable: 422,
  unauthenticated: 401,
  forbidden: 403,
  missing: 404,
  method: 405,
  too_slow: 408,
  conflict: 409,
  no_length: 411,
  stale: 412,
  too_large: 413,
  media_type: 415,
  range: 416,
  rate: 429,
  budget: 429,
  price: 400,
  upstream: 502,
  upstream_timeout: 504,
  unavailable: 503,
  no_room: 507,
  internal: 500,
} as const;

export type FailureKind = keyof typeof kinds;

/** One thing wrong with a body or a query: where, what, and a sentence. */
export type FieldError = { path: string; code: string; message: string };

export type FailureMore = {
  cause?: unknown;
  errors?: FieldError[];
  /** Seconds, sent as `Retry-After`. */
  retryAfterSeconds?: number;
  /** Further members of the problem (RFC 9457 section 3.2), such as the verdict that stands in the way. */
  members?: Record<string, unknown>;
  /** Further response headers, such as a `WWW-Authenticate` with its own parameters. */
  headers?: Record<string, string>;
};

export class Failure extends Error {
  readonly kind: FailureKind;
  readonly code: string;
  readonly errors: FieldError[] | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly members: Record<string, unknown> | undefined;
  readonly headers: Record<string, string> | undefined;

  constructor(kind: FailureKind, code: string, publicMessage: string, more: FailureMore = {}) {
    super(publicMessage, { cause: more.cause });
    this.name = "Failure";
    this.kind = kind;
    this.code = code;
    this.errors = more.errors;
    this.retryAfterSeconds = more.retryAfterSeconds;
    this.members = more.members;
    this.headers = more.headers;
  }

  get status(): number {
    return kinds[this.kind];
  }
}

/** An exception nobody foresaw becomes one fixed sentence; its text stays in the log. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure(
    "internal",
    "internal",
    "Something went wrong inside the gateway. Its log has the reason under this request id.",
    {
      cause: error,
    },
  );
}

export const notFound = (what = "There is nothing here that this credential may see."): Failure =>
  new Failure("missing", "not_found", what);
