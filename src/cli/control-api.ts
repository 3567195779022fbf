/**
 * The control plane as a small typed client: JSON there and back, lists walked to their end.
 *
 * An answer that was lost is asked for once more, and nothing is made twice by it: a POST carries a key of its own, by
 * which the gateway gives its first answer again, and everything else says how things should be. What the answers mean,
 * and what is allowed, the gateway decides.
 */

import { Failure } from "../platform/failure.ts";
import type { Page } from "../platform/page.ts";
import { ApiRefusal, api } from "./sign-in-api.ts";
import type { GatewayFlags } from "./sign-in-gateway.ts";
import type { World } from "./world.ts";

export type Path = `/${string}`;
/** What is undefined is left out. */
type Query = Record<string, string | number | undefined>;

/** `Answer` is the view in the contract of the feature that answers. */
export type Control = {
  get<Answer>(path: Path, query?: Query): Promise<Answer>;
  /** Every row of a list, page by page. */
  all<Row>(path: Path, query?: Query): Promise<Row[]>;
  /** `key` is what the gateway knows the request by when it is sent again, even by another process. */
  post<Answer>(path: Path, body?: object, key?: string): Promise<Answer>;
  patch<Answer>(path: Path, body: object): Promise<Answer>;
  put<Answer>(path: Path, body: object): Promise<Answer>;
  delete<Answer>(path: Path): Promise<Answer>;
};

const pageRows = 200;

export async function openControl(world: World, flags: GatewayFlags): Promise<Control> {
  const call = await api(world, flags);
  const send = <Answer>(method: string, path: Path, body?: object, key?: string): Promise<Answer> => {
    const headers = new Headers();
    if (method === "POST") headers.set("idempotency-key", key ?? crypto.randomUUID());
    if (body !== undefined) headers.set("content-type", "application/json");
    const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    return insist(world, async () => (await answerOf(await call(path, init))) as Answer);
  };
  const get = <Answer>(path: Path, query: Query = {}): Promise<Answer> =>
    send("GET", `${path}${queryText(query)}`);
  return {
    get,
    async all<Row>(path: Path, query: Query = {}) {
      const rows: Row[] = [];
      let cursor: string | null = null;
      do {
        const from: Query = cursor === null ? {} : { cursor };
        const page: Page<Row> = await get(path, { ...query, limit: pageRows, ...from });
        rows.push(...page.data);
        cursor = page.next_cursor;
      } while (cursor !== null);
      return rows;
    },
    post: (path, body, key) => send("POST", path, body, key),
    patch: (path, body) => send("PATCH", path, body),
    put: (path, body) => send("PUT", path, body),
    delete: (path) => send("DELETE", path),
  };
}

function queryText(query: Query): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) params.set(name, String(value));
  return params.size === 0 ? "" : `?${params}`;
}

const repeatsMax = 30;
const pauseSecondsMax = 10;

/**
 * Once more after a broken connection, or what a proxy or a gateway in trouble answers instead; then for as long as the
 * gateway is still at the first request.
 */
async function insist<T>(world: World, send: () => Promise<T>): Promise<T> {
  for (let repeats = 0; ; repeats += 1) {
    try {
      return await send();
    } catch (error) {
      const isWorthIt = repeats === 0 ? isLost(error) : repeats < repeatsMax && isUnderWay(error);
      if (!isWorthIt) throw error;
      const asked = error instanceof Failure ? error.retryAfterSeconds : undefined;
      await world.sleep(1_000 * Math.min(pauseSecondsMax, asked || 1));
    }
  }
}

const isLost = (error: unknown): boolean =>
  error instanceof ApiRefusal
    ? [502, 503, 504].includes(error.httpStatus)
    : error instanceof Failure && error.code === "unreachable";

const isUnderWay = (error: unknown): boolean => error instanceof ApiRefusal && error.code === "in_progress";

async function answerOf(response: Response): Promise<unknown> {
  const text = await response.text().catch((cause: unknown) => {
    throw new Failure("unavailable", "unreachable", "The gateway's answer broke off", { cause });
  });
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Failure("upstream", "strange_answer", "What answered there is no SpecGate gateway", { cause });
  }
}
