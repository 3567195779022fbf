/**
 * Every request that leaves the gateway for a URL which somebody wrote: providers, hooks, client documents, upstreams.
 *
 * The host is resolved once a hop, each of its addresses is checked, and the connection goes to a checked one while
 * Host, SNI and certificate stay the name's. Redirects are followed by hand and only when asked for; each hop is a new
 * URL to check. Answers are bounded in time and size. A proxy of the environment is never used: it would resolve the
 * name once more, and connect where nobody has looked. Once a connection stands there is no second try.
 */
import { isIP } from "node:net";
import {
  AddressBook,
  notAllowed,
  parseUrl,
  type Reach,
  type Resolve,
  remember,
  resolveName,
} from "./addresses.ts";
import { type Clock, systemClock } from "./clock.ts";
import { Failure } from "./failure.ts";
import { Contact, connectTimeout } from "./first-contact.ts";

export type FetchRules = {
  /** How far the URL may lead; `public` unless the operator wrote it. A redirect to another origin is `public` again. */
  reach?: Reach;
  /** How many redirects are followed; 0 unless told. With 0 a redirect is answered as it came. */
  redirectsMax?: number;
  /** Largest body, read whole before the answer is given; 1 MiB unless told. Null: it streams, and the caller counts. */
  bytesMax?: number | null;
  /** Until the body is read, or until the headers when it streams; 10 s unless told. Null: the signal alone decides. */
  timeoutMs?: number | null;
  /** Until a host that was not heard of for a minute takes a connection; it is not asked unless told. For one hop only. */
  connectMs?: number;
  /** Called before a connection is given the request, which may be some time after a host was first tried. */
  departs?: () => void;
};

type LowerCased = Record<Lowercase<string>, string>;

/** Nothing else of fetch's init: among Bun's further options are ways around the address. */
export type GuardedInit = {
  method?: string;
  headers?: Headers | LowerCased;
  /** Whole, because another address or a redirect may want it again. */
  body?: string | Uint8Array<ArrayBuffer> | null;
  signal?: AbortSignal;
};

/**
 * Rejects with `url_not_allowed`, `url_unresolved`, `url_unreachable` (its cause is fetch's own error),
 * `url_redirects`, `url_encoded`, `url_too_large` or `url_timeout`; with the signal's reason when the caller aborts.
 */
export type GuardedFetch = (url: string | URL, init?: GuardedInit, rules?: FetchRules) => Promise<Response>;

export type GuardedFetchNeeds = {
  resolve?: Resolve;
  clock?: Pick<Clock, "monotonic">;
  /** Certificate authorities to trust in place of the usual ones, as PEM. */
  ca?: string;
};

export function createGuardedFetch(needs: GuardedFetchNeeds = {}): GuardedFetch {
  const dial = createDial(
    new AddressBook(needs.resolve ?? resolveName, needs.clock ?? systemClock()),
    createTargets(needs.ca),
  );
  return (url, init = {}, rules = {}) => {
    const {
      reach = "public",
      redirectsMax = 0,
      bytesMax = mebibyte,
      timeoutMs = 10_000,
      connectMs,
      departs,
    } = rules;
    const hop: Hop = { url, init, reach, streams: bytesMax === null, connectMs, departs };
    const go = redirectsMax > 0 ? (first: Hop) => follow(dial, first, redirectsMax) : dial;
    // An LLM call has a clock and a meter of its own, and does not pay for a second one.
    if (bytesMax === null && timeoutMs === null) return go(hop);
    return bounded(init.signal, timeoutMs, async (signal) => {
      const response = await go({ ...hop, init: { ...init, signal } });
      return bytesMax === null ? response : await readWhole(response, bytesMax, signal);
    });
  };
}

const mebibyte = 1024 * 1024;

/** One hop's request: `init` as this hop may see it, and how far this hop's URL may lead. */
type Hop = {
  url: string | URL;
  init: GuardedInit;
  reach: Reach;
  streams: boolean;
  connectMs?: number | undefined;
  departs?: (() => void) | undefined;
};
type Dial = (hop: Hop) => Promise<Response>;

async function bounded(
  callers: AbortSignal | undefined,
  timeoutMs: number | null,
  run: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  const end = new AbortController();
  const late =
    timeoutMs === null ? undefined : setTimeout(() => end.abort(timedOut(timeoutMs)), Math.max(0, timeoutMs));
  try {
    return await run(callers === undefined ? end.signal : AbortSignal.any([callers, end.signal]));
  } catch (error) {
    // Whatever the host still sends is for nobody.
    end.abort();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

async function follow(dial: Dial, first: Hop, redirectsMax: number): Promise<Response> {
  let hop = first;
  for (let left = redirectsMax; ; left -= 1) {
    const response = await dial(hop);
    const location = locationOf(response);
    if (location === null) return response;
    void response.body?.cancel().catch(() => {});
    if (left === 0) throw tooManyRedirects(redirectsMax);
    hop = nextHop(hop, response.status, location);
  }
}

const locationOf = (response: Response): string | null =>
  [301, 302, 303, 307, 308].includes(response.status) ? response.headers.get("location") : null;

/** Of the caller's headers these alone go to another origin; the rest may be credentials. */
const travelling = ["accept", "user-agent"];

/**
 * What the next hop sends, as the Fetch standard has it, and less to strangers. The operator's leave is for the origin
 * he wrote; so https never becomes http, because that is another origin, and a public one is https.
 */
export function nextHop({ url, init, reach, streams }: Hop, status: number, location: string): Hop {
  const from = new URL(url);
  const to = URL.parse(location, from.href);
  if (to === null) throw notAllowed("The URL redirects to what is no URL; it would be the final one.");
  const { method = "GET", body = null, signal } = init;
  const isAsked = method === "GET" || method === "HEAD";
  const becomesGet = status === 303 ? !isAsked : status < 303 && method === "POST";
  const sent = becomesGet ? { method: "GET", body: null } : { method, body };
  const isSame = from.origin === to.origin;
  if (!isSame && sent.body !== null)
    throw notAllowed("The URL redirects a body to another origin; it would be the final URL itself.");
  const headers = new Headers(init.headers);
  if (becomesGet) headers.delete("content-type");
  if (!isSame) for (const name of [...headers.keys()]) if (!travelling.includes(name)) headers.delete(name);
  const next = { ...sent, headers, ...(signal && { signal }) };
  return { url: to, init: next, reach: isSame ? reach : "public", streams };
}

/** Beyond these a host is down, however many addresses it has. */
const addressesMax = 4;
/** Bun's names for "no connection", after which nothing can have been sent and the next address may be tried. */
const connectErrors = new Set([
  "ECONNREFUSED",
  "ConnectionRefused",
  "FailedToOpenSocket",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  connectTimeout,
]);

function createDial(book: AddressBook, targetOf: ReturnType<typeof createTargets>): Dial {
  return async (hop) => {
    const { signal } = hop.init;
    const target = targetOf(hop.url, hop.reach);
    const found = book.find(target.hostname, hop.reach);
    const addresses = Array.isArray(found) ? found : await orAborted(found, signal);
    let failed: unknown;
    for (const address of addresses.slice(0, addressesMax)) {
      try {
        if (hop.connectMs !== undefined && !target.contact.isFresh)
          await orAborted(target.contact.reach(address, target.port, hop.connectMs), signal);
        hop.departs?.();
        const response = await send(target, address, hop);
        target.contact.heard();
        if (failed !== undefined) book.prefer(addresses, address);
        return response;
      } catch (error) {
        if (signal?.aborted) throw error;
        failed ??= error;
        if (!connectErrors.has(String((error as { code?: unknown } | null)?.code))) break;
      }
    }
    throw unreachable(failed);
  };
}

/** A URL taken apart, so that an address can be put in the place of its name. */
type Target = {
  hostname: string;
  host: string;
  port: number;
  scheme: string;
  rest: string;
  tls: Bun.TLSOptions | null;
  contact: Contact;
};

/** What the operator wrote is called again and again, and is taken apart once. */
function createTargets(ca: string | undefined): (url: string | URL, reach: Reach) => Target {
  const known = { operator: new Map<string, Target>(), private: new Map<string, Target>() };
  const contacts = new Map<string, Contact>();
  const contactOf = (url: URL): Contact => {
    const contact = contacts.get(url.origin) ?? new Contact();
    remember(contacts, url.origin, contact);
    return contact;
  };
  return (url, reach) => {
    if (typeof url !== "string" || reach === "public")
      return takeApart(parseUrl(url, reach), ca, new Contact());
    const before = known[reach].get(url);
    if (before !== undefined) return before;
    const parsed = parseUrl(url, reach);
    const target = takeApart(parsed, ca, contactOf(parsed));
    remember(known[reach], url, target);
    return target;
  };
}

function takeApart(url: URL, ca: string | undefined, contact: Contact): Target {
  const { protocol, hostname, host, port, pathname, search } = url;
  const isName = isIP(hostname.replace(/^\[|\]$/g, "")) === 0;
  const tls = {
    ...(isName && { serverName: hostname.replace(/\.$/, "") }),
    ...(ca !== undefined && { ca }),
  };
  return {
    hostname,
    host,
    port: port === "" ? (protocol === "https:" ? 443 : 80) : Number(port),
    scheme: `${protocol}//`,
    rest: `${port === "" ? "" : ":"}${port}${pathname}${search}`,
    tls: protocol === "https:" ? tls : null,
    contact,
  };
}

function send(
  { host, scheme, rest, tls }: Target,
  address: string,
  { init, streams }: Hop,
): Promise<Response> {
  const { method = "GET", body = null, signal = null, headers } = init;
  const given = headers instanceof Headers ? Object.fromEntries(headers) : headers;
  return fetch(`${scheme}${address.includes(":") ? `[${address}]` : address}${rest}`, {
    method,
    headers: { "user-agent": "specgate", ...given, "accept-encoding": "identity", host },
    body,
    signal,
    redirect: "manual",
    proxy: false,
    // The gateway's own timeouts decide; Bun's five minutes would cut long answers.
    timeout: false,
    ...(tls !== null && { tls }),
    // A few bytes can unpack to gigabytes before anyone has counted.
    ...(!streams && { decompress: false }),
  });
}

/** DNS cannot be told to stop, but nobody has to wait for it. */
async function orAborted<T>(pending: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await pending;
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([pending, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** The answer with its body read, at most `bytesMax`; the rest of a longer one is not waited for. */
async function readWhole(response: Response, bytesMax: number, signal: AbortSignal): Promise<Response> {
  const encoding = response.headers.get("content-encoding")?.trim().toLowerCase() ?? "identity";
  if (encoding !== "identity" && encoding !== "") throw encoded();
  if (Number(response.headers.get("content-length")) > bytesMax) throw tooLarge(bytesMax);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw tooLarge(bytesMax);
      chunks.push(chunk);
    }
    const { status, statusText, headers } = response;
    return new Response(bytes === 0 ? null : Buffer.concat(chunks), { status, statusText, headers });
  } catch (error) {
    if (error instanceof Failure || signal.aborted) throw error;
    throw unreachable(error);
  }
}

const unreachable = (cause: unknown): Failure =>
  new Failure("upstream", "url_unreachable", "The URL's host cannot be reached, or broke off its answer.", {
    cause,
  });

const tooManyRedirects = (redirectsMax: number): Failure =>
  new Failure(
    "upstream",
    "url_redirects",
    `The URL redirects more than ${redirectsMax} times; it would be the final one.`,
  );

const encoded = (): Failure =>
  new Failure("upstream", "url_encoded", "The URL's host compressed an answer that was to be sent as it is.");

const tooLarge = (bytesMax: number): Failure =>
  new Failure("upstream", "url_too_large", `The URL's answer is larger than ${bytesMax} bytes.`);

const timedOut = (timeoutMs: number): Failure =>
  new Failure("upstream_timeout", "url_timeout", `The URL's host did not answer within ${timeoutMs} ms.`);
