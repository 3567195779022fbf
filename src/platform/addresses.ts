/**
 * Where a URL may lead: the rules on its form, on its host, and on every address that the host's name resolves to.
 *
 * A stranger's URL leads to the public internet over https and nowhere else. What the operator wrote may also be
 * loopback, written as such, and with his leave his private network. Metadata and link-local addresses are refused to
 * both. One wrong address among several refuses the name: it would be a matter of luck which of them is used.
 * No message tells what a name resolved to.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Clock } from "./clock.ts";
import { type AddressKind, addressKind } from "./config-address.ts";
import { Failure } from "./failure.ts";

/**
 * Who chose the host, and so how far a URL may lead. `public`: anyone; https to public addresses. `operator`: it stands
 * in file or environment; http too, and loopback when it is written as such. `private`: the operator also gave leave
 * for private addresses.
 */
export type Reach = "public" | "operator" | "private";

/** All addresses of a name. Rejects when it has none. */
export type Resolve = (name: string) => Promise<string[]>;

/** IPv4 comes first: hosts without IPv6 are told of IPv6 addresses too. */
export async function resolveName(name: string): Promise<string[]> {
  const found = await lookup(name, { all: true });
  return found.sort((a, b) => a.family - b.family).map(({ address }) => address);
}

/**
 * The URL, if it may be registered. Throws `url_not_allowed`. A name is resolved as well, and one that does not resolve
 * yet passes: each later fetch checks anew.
 */
export async function checkUrl(
  url: string | URL,
  reach: Reach = "public",
  resolve: Resolve = resolveName,
): Promise<URL> {
  const parsed = parseUrl(url, reach);
  if (writtenAddresses(parsed.hostname, reach) !== null) return parsed;
  judge(await resolve(parsed.hostname).catch(() => []), reach);
  return parsed;
}

/** Checks the form alone; the host is the next step's. WHATWG has then folded every odd spelling of an address. */
export function parseUrl(text: string | URL, reach: Reach): URL {
  const url = typeof text === "string" ? URL.parse(text) : text;
  if (url === null) throw notAllowed("The URL cannot be read; it would be such as https://example.com/path.");
  const isSecure = url.protocol === "https:";
  if (!isSecure && (url.protocol !== "http:" || reach === "public")) {
    throw notAllowed(`The URL would begin with https://${reach === "public" ? "" : " or http://"}.`);
  }
  if (url.username !== "" || url.password !== "") {
    throw notAllowed("The URL holds a user name or a password; it would hold neither.");
  }
  if (url.port === "0") throw notAllowed("The URL's port is 0, on which nobody listens.");
  return url;
}

/** The addresses that the URL itself tells, null when DNS must. Throws `url_not_allowed`. */
function writtenAddresses(hostname: string, reach: Reach): string[] | null {
  const kind = addressKind(hostname);
  if (!isWithin(kind, reach) && !(kind === "loopback" && reach === "operator")) throw outOfReach(reach);
  const address = hostname.replace(/^\[|\]$/g, "");
  if (isIP(address) !== 0) return [address];
  // RFC 6761: these names are this machine's, whatever DNS says.
  return kind === "loopback" ? ["127.0.0.1", "::1"] : null;
}

function judge(addresses: string[], reach: Reach): string[] {
  const isWrong = (address: string) => isIP(address) === 0 || !isWithin(addressKind(address), reach);
  if (addresses.some(isWrong)) throw outOfReach(reach);
  return addresses;
}

function isWithin(kind: AddressKind, reach: Reach): boolean {
  if (kind === "public") return true;
  if (reach === "private") return kind !== "metadata";
  // An operator's IPv6-only network reaches the public IPv4 internet so. A stranger has no reason to write it.
  return reach === "operator" && kind === "carried";
}

const freshMs = 30_000;
const keptMs = 300_000;
const rememberedMax = 256;

type OperatorReach = Exclude<Reach, "public">;
type Known = { addresses: string[]; at: number };

/**
 * Looks hosts up. Those the operator wrote are remembered for 30 s and then refreshed in the background, for up to 5
 * minutes while DNS fails. A stranger's are never remembered, so he can neither fill nor poison what is.
 */
export class AddressBook {
  readonly #resolve: Resolve;
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #looking = new Map<string, Promise<string[]>>();
  readonly #known = { operator: new Map<string, Known>(), private: new Map<string, Known>() };

  constructor(resolve: Resolve, clock: Pick<Clock, "monotonic">) {
    this.#resolve = resolve;
    this.#clock = clock;
  }

  /** The allowed addresses of a URL's host. Throws or rejects with `url_not_allowed` or `url_unresolved`. */
  find(hostname: string, reach: Reach): string[] | Promise<string[]> {
    if (reach === "public") return writtenAddresses(hostname, reach) ?? this.#look(hostname, reach);
    const known = this.#known[reach].get(hostname);
    const age = known === undefined ? keptMs : this.#clock.monotonic() - known.at;
    if (known !== undefined && age < freshMs) return known.addresses;
    const written = writtenAddresses(hostname, reach);
    if (written !== null) return this.#keep(hostname, reach, written, Number.POSITIVE_INFINITY);
    const looking = this.#refresh(hostname, reach);
    return known !== undefined && age < keptMs ? known.addresses : looking;
  }

  /** Puts the address that answered first in line. */
  prefer(addresses: string[], address: string): void {
    addresses.splice(addresses.indexOf(address), 1);
    addresses.unshift(address);
  }

  #refresh(name: string, reach: OperatorReach): Promise<string[]> {
    const key = `${reach} ${name}`;
    const underWay = this.#looking.get(key);
    if (underWay !== undefined) return underWay;
    const looking = this.#look(name, reach)
      .then((addresses) => this.#keep(name, reach, addresses, this.#clock.monotonic()))
      .catch((error: unknown) => {
        // A name that now leads elsewhere is not used a moment longer.
        if (error instanceof Failure && error.code === "url_not_allowed") this.#known[reach].delete(name);
        throw error;
      })
      .finally(() => this.#looking.delete(key));
    this.#looking.set(key, looking);
    // In the background nobody waits for it.
    looking.catch(() => {});
    return looking;
  }

  #keep(name: string, reach: OperatorReach, addresses: string[], at: number): string[] {
    remember(this.#known[reach], name, { addresses, at });
    return addresses;
  }

  async #look(name: string, reach: Reach): Promise<string[]> {
    const addresses = judge(
      await this.#resolve(name).catch((cause: unknown) => {
        throw unresolved(cause);
      }),
      reach,
    );
    if (addresses.length === 0) throw unresolved(null);
    return addresses;
  }
}

/** Keeps the newest 256. */
export function remember<T>(known: Map<string, T>, key: string, value: T): void {
  known.delete(key);
  known.set(key, value);
  const [oldest] = known.keys();
  if (known.size > rememberedMax && oldest !== undefined) known.delete(oldest);
}

export const notAllowed = (message: string): Failure =>
  new Failure("unprocessable", "url_not_allowed", message);

const outOfReach = (reach: Reach): Failure =>
  notAllowed(
    reach === "operator"
      ? "The URL leads to an address that is neither public nor allowed; a private one would need allow_private_network: true."
      : "The URL leads to an address that may not be called; it would lead to a host on the public internet.",
  );

const unresolved = (cause: unknown): Failure =>
  new Failure(
    "upstream",
    "url_unresolved",
    "The URL's host name has no address; a name known to DNS would be right.",
    {
      cause,
    },
  );
