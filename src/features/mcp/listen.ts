/**
 * Streams of changes (`subscriptions/listen`): who hears what, and for how long.
 *
 * Each stream has a bus of its own, onto which only what its own caller may see is put: what happens in another project
 * makes no sound there, not even as a number. A stream ends with its credential, with any change of what that may see,
 * and when the gateway goes; its client comes back and is judged anew.
 */
import {
  createMcpHandler,
  type McpHttpHandler,
  type Server,
  type ServerEvent,
  type ServerEventBus,
} from "@modelcontextprotocol/server";
import type { Clock } from "../../platform/clock.ts";
import { Failure } from "../../platform/failure.ts";
import { isEndedBy, type Principal } from "../../platform/principal.ts";
import { rightsIn } from "../../platform/scopes.ts";
import type { Allowlist, Judge } from "./allowlist.ts";
import type { Catalogue, Offered } from "./catalogue.ts";
import type { Exchange } from "./exchange.ts";
import { isObject } from "./message.ts";
import { wrongParams } from "./refusals.ts";

/** What was changed, by whomever: a row of the event feed. */
export type ChangeNews = {
  readonly projectId: string;
  readonly sessionId: string | null;
  readonly type: string;
  readonly payload: Readonly<Record<string, unknown>>;
};

export type ListenNeeds = {
  catalogue: Catalogue;
  allowlist: Allowlist;
  clock: Clock;
  /** Calls back with the subject of each revocation; returns how to stop. */
  onRevoked: (listener: (subject: string) => void) => () => void;
  /** Whether anything was recorded since then that ends this credential or changes what it may. */
  isEnded: (principal: Principal, since: Date) => Promise<boolean>;
  /** Hears what was changed, in order; returns how to stop. */
  onEvents: (listener: (rows: readonly ChangeNews[]) => void) => () => void;
};

export type Opened = { readonly response: Response; readonly end: () => void };

const streamsPerCredential = 100;
/** Each takes a look a second. */
const streamsMax = 2_000;
const urisMax = 1_000;
const uriCharactersMax = 256;
/** Under Bun's idle timeout, and under what proxies put up with. */
export const keepAliveMs = 8_000;
const lookMs = 1_000;
const recheckMs = 30_000;
/** How much the database's clock, by which revocations are dated, may be behind. */
const clocksApartMs = 10_000;

export class Listening {
  readonly #needs: ListenNeeds;
  readonly #open = new Set<Stream>();
  readonly #stops: (() => void)[];
  #recheckedAt = performance.now();
  #isLooking = false;

  constructor(needs: ListenNeeds) {
    this.#needs = needs;
    const look = setInterval(() => void this.#look(), lookMs);
    this.#stops = [
      needs.onRevoked((subject) => this.#endWith(subject)),
      needs.onEvents((rows) => this.#hear(rows)),
      () => clearInterval(look),
    ];
  }

  /** `serverOf` makes what the protocol's library asks once. Throws 429 beyond a hundred streams of one credential, 503 beyond those of all. */
  async open(exchange: Exchange, judge: Judge, serverOf: () => Server): Promise<Opened> {
    const wanted = wantedBy(exchange);
    this.#requireRoom(exchange.principal);
    const stream = new Stream(exchange.principal, wanted, () => this.#open.delete(stream));
    stream.shows(this.#needs.catalogue.seenBy(judge), judge);
    // Before anything is awaited: what is revoked from here on is heard.
    this.#open.add(stream);
    const life = exchange.principal.expiresAt - this.#needs.clock.now();
    const response = await stream.begin(exchange, serverOf, Math.min(Math.max(0, life), timeoutMsMax));
    return { response, end: () => stream.end() };
  }

  /** How many are open. */
  get size(): number {
    return this.#open.size;
  }

  endAll(): void {
    for (const stream of [...this.#open]) stream.end();
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.endAll();
  }

  #requireRoom({ holderId }: Principal): void {
    if (this.#open.size >= streamsMax)
      throw new Failure("unavailable", "too_many_streams", "The gateway holds as many streams as it may.", {
        retryAfterSeconds: 10,
      });
    let streams = 0;
    for (const { principal } of this.#open) if (principal.holderId === holderId) streams += 1;
    if (streams < streamsPerCredential) return;
    throw new Failure(
      "rate",
      "too_many_streams",
      `This credential holds ${streamsPerCredential} streams already. Close one first.`,
      { retryAfterSeconds: 10 },
    );
  }

  #endWith(subject: string): void {
    for (const stream of [...this.#open]) if (concerns(stream.principal, subject)) stream.end();
  }

  #hear(rows: readonly ChangeNews[]): void {
    const told = rows.filter(({ type }) => resourceKinds.has(type.split(".")[0] ?? ""));
    if (told.length === 0) return;
    for (const stream of this.#open) stream.hear(told);
  }

  /** Policies, the configuration and upstreams all come down to this: does the caller now see another list? */
  async #look(): Promise<void> {
    if (this.#isLooking || this.#open.size === 0) return;
    this.#isLooking = true;
    await this.#lookAtAll().finally(() => {
      this.#isLooking = false;
    });
  }

  async #lookAtAll(): Promise<void> {
    const { allowlist, catalogue, isEnded } = this.#needs;
    const isDue = performance.now() - this.#recheckedAt >= recheckMs;
    if (isDue) this.#recheckedAt = performance.now();
    for (const stream of [...this.#open]) {
      // A database that is away says nothing; the next look, or the log when it is back, does.
      if (isDue && (await isEnded(stream.principal, stream.since).catch(() => false))) stream.end();
      const judge = await Promise.resolve(allowlist.for(stream.principal)).catch(() => null);
      if (judge !== null) stream.shows(catalogue.seenBy(judge), judge);
    }
  }
}

const timeoutMsMax = 2_147_483_647;
const resourceKinds = new Map([
  ["task", "tasks"],
  ["report", "reports"],
]);

/** Any changed membership of theirs: what they see is fixed when a stream begins. */
const concerns = (principal: Principal, subject: string): boolean =>
  isEndedBy(principal, subject) || (principal.userId !== null && subject.startsWith(`${principal.userId} `));

type Wanted = {
  readonly tools: boolean;
  readonly resources: boolean;
  readonly uris: ReadonlySet<unknown>;
};

/** What is wrong with the filter otherwise, the protocol's library says. */
function wantedBy({ message }: Exchange): Wanted {
  const asked = message?.params.notifications;
  const { toolsListChanged, resourcesListChanged, resourceSubscriptions } = isObject(asked) ? asked : {};
  const uris = Array.isArray(resourceSubscriptions) ? resourceSubscriptions : [];
  if (uris.length > urisMax)
    throw wrongParams(`\`notifications.resourceSubscriptions\` may name ${urisMax} resources at most.`);
  if (uris.some((uri) => typeof uri === "string" && uri.length > uriCharactersMax))
    throw wrongParams(
      `A URI in \`notifications.resourceSubscriptions\` is longer than ${uriCharactersMax} characters.`,
    );
  return { tools: toolsListChanged === true, resources: resourcesListChanged === true, uris: new Set(uris) };
}

/** A reader that leaves more than this unread is let go. */
const waitingBytesMax = 524_288;
/** The most that an event has, beside the id of its stream, which stands in each. */
const eventBytesMax = 256;

class Stream {
  readonly principal: Principal;
  readonly since = new Date(Date.now() - clocksApartMs);
  readonly #wanted: Wanted;
  readonly #onEnd: () => void;
  readonly #listeners = new Set<(event: ServerEvent) => void>();
  /** By project: whether what happens there may be heard here. */
  readonly #heard = new Map<string, boolean>();
  #handler: McpHttpHandler | null = null;
  #end: Timer | null = null;
  #shown: readonly Offered[] | null = null;
  /** By kind of things that its caller may read: the tool that would read one. */
  #readers: ReadonlyMap<string, Offered> = new Map();
  #judge: Judge | null = null;
  /** Events, and how many of them may be unread. */
  #waiting = 0;
  #waitingMax = 0;
  #isOver = false;

  constructor(principal: Principal, wanted: Wanted, onEnd: () => void) {
    this.principal = principal;
    this.#wanted = wanted;
    this.#onEnd = onEnd;
  }

  async begin(exchange: Exchange, serverOf: () => Server, lifeMs: number): Promise<Response> {
    const bus: ServerEventBus = {
      publish: (event) => this.#tell(event),
      subscribe: (listener) => {
        this.#listeners.add(listener);
        return () => {
          this.#listeners.delete(listener);
          this.end();
        };
      },
    };
    this.#handler = createMcpHandler(serverOf, { legacy: "reject", bus, keepAliveMs });
    this.#end = setTimeout(() => this.end(), lifeMs);
    const idBytes = Buffer.byteLength(JSON.stringify(exchange.id));
    this.#waitingMax = Math.floor(waitingBytesMax / (eventBytesMax + idBytes));
    const parsedBody = exchange.message?.value;
    const response = await this.#handler.fetch(exchange.request, { parsedBody });
    const { body } = response;
    // Refused, or nothing of what was asked for is ever told here, and the library has said so and closed.
    if (body === null || this.#listeners.size === 0 || this.#isOver) this.end();
    if (body === null || response.headers.get("content-type") !== "text/event-stream") return response;
    return new Response(this.#counted(body), response);
  }

  /** Tells the client when it is another list than before. */
  shows(list: readonly Offered[], judge: Judge): void {
    this.#judge = judge;
    const before = this.#shown;
    if (before === list) return;
    this.#shown = list;
    const byName = new Map(list.map((offered) => [offered.name, offered]));
    const readers = [...resourceKinds.keys()].map((kind) => [kind, byName.get(`${kind}_get`)] as const);
    this.#readers = new Map(readers.filter((of): of is [string, Offered] => of[1] !== undefined));
    if (before === null || isSame(before, list)) return;
    if (this.#wanted.tools) this.#tell({ kind: "tools_list_changed" });
  }

  hear(rows: readonly ChangeNews[]): void {
    let isListChanged = false;
    for (const row of rows) {
      const [kind = "", verb] = row.type.split(".");
      const reader = this.#readers.get(kind);
      if (reader === undefined || !this.#mayHear(row)) continue;
      const uri = `specgate://${resourceKinds.get(kind)}/${row.payload.id}`;
      isListChanged ||= verb !== "updated";
      if (verb === "created" || !this.#wanted.uris.has(uri)) continue;
      // A rule may look at which one it is.
      const judged = this.#judge?.judge(reader, { [`${kind}_id`]: row.payload.id });
      if (judged?.verdict === "allowed") this.#tell({ kind: "resource_updated", uri });
    }
    if (isListChanged && this.#wanted.resources) this.#tell({ kind: "resources_list_changed" });
  }

  /** What is on its way still goes out, and a last word after it. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#end !== null) clearTimeout(this.#end);
    this.#onEnd();
    void this.#handler?.close();
  }

  #mayHear({ projectId, sessionId }: ChangeNews): boolean {
    if (this.principal.sessionId !== null && this.principal.sessionId !== sessionId) return false;
    const known = this.#heard.get(projectId);
    if (known !== undefined) return known;
    const isHeard = rightsIn(this.principal, projectId)?.scopes.has("mcp:read") === true;
    this.#heard.set(projectId, isHeard);
    return isHeard;
  }

  #tell(event: ServerEvent): void {
    if (this.#isOver) return;
    this.#waiting += 1;
    for (const listener of this.#listeners) listener(event);
    if (this.#waiting > this.#waitingMax) this.end();
  }

  /** The same bytes; what the reader has not taken yet is counted. */
  #counted(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
    const reader = body.getReader();
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const { done, value } = await reader.read();
          this.#waiting = Math.max(0, this.#waiting - 1);
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    );
  }
}

const isSame = (one: readonly Offered[], other: readonly Offered[]): boolean =>
  one.length === other.length && one.every((offered, at) => offered.definition === other[at]?.definition);
