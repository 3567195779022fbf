/**
 * How much one credential, and all that are charged to one project together, may ask for in a minute.
 *
 * In process, or shared by all instances where there is a Redis. Which number applies, and what a refused caller is told,
 * stands here; the numbers may change while the gateway runs and hold at once, for what was counted before as well.
 */
import { type Count, type Counter, createCounter, windowSeconds } from "./counter.ts";
import { Failure } from "./failure.ts";
import type { Plane, Principal } from "./principal.ts";
import type { SharedRedis } from "./redis.ts";

/** `null` is no limit. */
export type RequestLimits = Record<Plane, number | null>;
export type LimitNumbers = {
  requests: RequestLimits;
  llmTokens: number | null;
  /** Of all credentials that are charged to one project together, on the LLM plane. */
  projectRequests?: number | null;
  projectTokens?: number | null;
};

export type RateHeaders = Readonly<Record<string, string>>;

export type Limits = {
  /** Counts one request, or throws 429 `rate_limit_exceeded`. Returns the headers that tell the caller what is left. */
  admit(plane: Plane, principal: Principal): RateHeaders | Promise<RateHeaders>;
  /** Counts tokens that a call has used. The call that passes the limit is served; the next one waits. */
  spend(credentialId: string, tokens: number): void;
  /** What is left of this minute; asking counts nothing. */
  left(principal: Pick<Principal, "credentialId">): Promise<LimitsLeft>;
  readonly projects: ProjectLimits;
};

export type LimitLeft = { readonly max: number; readonly left: number; readonly seconds: number };
/** `null` is no limit. */
export type LimitsLeft = {
  readonly requests: Readonly<Record<Plane, LimitLeft | null>>;
  readonly llmTokens: LimitLeft | null;
};

export type ProjectLimits = {
  /** Counts one call that is charged to the project, or throws 429. No promise where there are no such limits. */
  admit(projectId: string): void | Promise<void>;
  spend(projectId: string, tokens: number): void;
};

const noHeaders: RateHeaders = {};

/** `redis` null: this instance counts for itself. */
export function createLimits(perMinute: () => LimitNumbers, redis: SharedRedis | null = null): Limits {
  const counters: Record<Plane, Counter> = {
    llm: createCounter("requests:llm", redis),
    mcp: createCounter("requests:mcp", redis),
    control: createCounter("requests:control", redis),
  };
  const tokens = createCounter("tokens", redis);
  const admitCounted = async (plane: Plane, credentialId: string): Promise<RateHeaders> => {
    const { requests, llmTokens } = perMinute();
    const requestsMax = requests[plane];
    const tokensMax = plane === "llm" ? llmTokens : null;
    const [asked, spent] = await Promise.all([
      requestsMax === null ? null : counters[plane].add(credentialId, 1),
      tokensMax === null ? null : tokens.read(credentialId),
    ]);
    const shares: Share[] = [];
    if (requestsMax !== null && asked !== null) shares.push(shareOf("requests", requestsMax, asked));
    if (tokensMax !== null) shares.push(shareOf("tokens", tokensMax, spent));
    return headersWithin(plane, shares);
  };
  return {
    admit(plane, { credentialId }) {
      const { requests, llmTokens } = perMinute();
      // Most calls of an unlimited plane never wait for anything here.
      if (requests[plane] === null && (plane !== "llm" || llmTokens === null)) return noHeaders;
      return admitCounted(plane, credentialId);
    },
    spend(credentialId, count) {
      if (perMinute().llmTokens !== null && count > 0) void tokens.add(credentialId, count);
    },
    async left({ credentialId }) {
      const { requests, llmTokens } = perMinute();
      const leftOf = async (of: Share["of"], max: number | null, counter: Counter) =>
        max === null ? null : shareOf(of, max, await counter.read(credentialId));
      const [llm, mcp, control, spent] = await Promise.all([
        leftOf("requests", requests.llm, counters.llm),
        leftOf("requests", requests.mcp, counters.mcp),
        leftOf("requests", requests.control, counters.control),
        leftOf("tokens", llmTokens, tokens),
      ]);
      return { requests: { llm, mcp, control }, llmTokens: spent };
    },
    projects: createProjectLimits(perMinute, redis),
  };
}

function createProjectLimits(perMinute: () => LimitNumbers, redis: SharedRedis | null): ProjectLimits {
  const requests = createCounter("project:requests", redis);
  const tokens = createCounter("project:tokens", redis);
  const admitCounted = async (projectId: string): Promise<void> => {
    const { projectRequests = null, projectTokens = null } = perMinute();
    const [asked, spent] = await Promise.all([
      projectRequests === null ? null : requests.add(projectId, 1),
      projectTokens === null ? null : tokens.read(projectId),
    ]);
    if (projectTokens !== null && isSpent(shareOf("tokens", projectTokens, spent)))
      throw tooMany("This project", shareOf("tokens", projectTokens, spent), {});
    if (projectRequests !== null && asked !== null && asked.count > projectRequests)
      throw tooMany("This project", shareOf("requests", projectRequests, asked), {});
  };
  return {
    admit(projectId) {
      const { projectRequests = null, projectTokens = null } = perMinute();
      if (projectRequests !== null || projectTokens !== null) return admitCounted(projectId);
    },
    spend(projectId, count) {
      const { projectTokens = null } = perMinute();
      if (projectTokens !== null && count > 0) void tokens.add(projectId, count);
    },
  };
}

/** How much of a limit is used. */
type Share = { of: "requests" | "tokens"; max: number; used: number; left: number; seconds: number };

const shareOf = (of: Share["of"], max: number, counted: Count | null): Share => ({
  of,
  max,
  used: counted?.count ?? 0,
  left: Math.max(0, max - (counted?.count ?? 0)),
  seconds: Math.ceil((counted?.msLeft ?? windowSeconds * 1_000) / 1_000),
});

/** Requests are counted before they are served, tokens after. */
const isSpent = ({ of, max, used }: Share): boolean => (of === "requests" ? used > max : used >= max);

function headersWithin(plane: Plane, shares: readonly Share[]): RateHeaders {
  const headers = headersOf(plane, shares);
  // Tokens first: whoever has none left is not helped by sending fewer requests.
  const spent = shares.findLast(isSpent);
  if (spent !== undefined) throw tooMany("This credential", spent, headers);
  return headers;
}

/** The IETF draft's `RateLimit` fields, and on the LLM plane OpenAI's own names, which its SDKs read. */
function headersOf(plane: Plane, shares: readonly Share[]): Record<string, string> {
  const headers: Record<string, string> = {
    ratelimit: shares.map(({ of, left, seconds }) => `"${of}";r=${left};t=${seconds}`).join(", "),
    "ratelimit-policy": shares.map(({ of, max }) => `"${of}";q=${max};w=${windowSeconds}`).join(", "),
  };
  if (plane !== "llm") return headers;
  for (const { of, max, left, seconds } of shares) {
    headers[`x-ratelimit-limit-${of}`] = String(max);
    headers[`x-ratelimit-remaining-${of}`] = String(left);
    headers[`x-ratelimit-reset-${of}`] = `${seconds}s`;
  }
  return headers;
}

function tooMany(who: string, { of, max, seconds }: Share, headers: Record<string, string>): Failure {
  const wait = Math.max(1, seconds);
  const verb = of === "requests" ? "send" : "use";
  return new Failure(
    "rate",
    of === "requests" ? "rate_limit_exceeded" : "tokens_per_minute",
    `${who} may ${verb} ${max} ${of} a minute here. Try again in ${wait} s.`,
    { retryAfterSeconds: wait, headers },
  );
}
