/**
 * One upstream server: the way to it, and what its list showed last, on this instance.
 *
 * What it shows is told to the pins and hidden here at once, before and even if the database can take it. A server that is
 * dead, slow or says nonsense shows nothing new, and what was known of it stays.
 */
import type { UpstreamConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import { compileToolGlobs } from "../../platform/tool-glob.ts";
import type { Link } from "./link.ts";
import { type Refused, type Seen, sortOutInTurns } from "./names.ts";
import { type Round, Schedule, type ScheduleTerms } from "./schedule.ts";

export type ServerNeeds = {
  open: (alias: string, config: UpstreamConfig) => Link;
  /** Keeps what was seen; answers when it is committed, with whether it was anything new. */
  settle: (alias: string, seen: ReadonlyMap<string, Seen>, mode: UpstreamConfig["pin"]) => Promise<boolean>;
  /** Without the gateway's secrets. */
  redact: <Value>(value: Value) => Value;
  /** Called when a list was taken. */
  changed: () => void;
  log: Log;
  now: () => number;
  terms: ScheduleTerms;
};

/** A list takes no longer than this, however long calls may. */
const listMsMax = 30_000;

export class UpstreamServer {
  readonly alias: string;
  readonly link: Link;
  readonly #needs: ServerNeeds;
  readonly #schedule: Schedule;
  #config: UpstreamConfig;
  #allows: (tool: string) => boolean;
  #shown: ReadonlyMap<string, Seen> | null = null;
  #refused: readonly Refused[] = [];
  #warned: ReadonlySet<string> = new Set();
  #listedAt: Date | null = null;
  #wrong: string | null = null;

  constructor(alias: string, config: UpstreamConfig, needs: ServerNeeds) {
    this.alias = alias;
    this.#needs = needs;
    this.#config = config;
    this.#allows = allowsOf(config);
    this.link = needs.open(alias, config);
    this.link.onListChanged(() => this.#schedule.hint());
    this.#schedule = new Schedule((signal) => this.#round(signal), needs.terms);
    this.#schedule.start();
  }

  get config(): UpstreamConfig {
    return this.#config;
  }

  get refused(): readonly Refused[] {
    return this.#refused;
  }

  get listedAt(): Date | null {
    return this.#listedAt;
  }

  /** Why its list could not be taken last time. */
  get wrong(): string | null {
    return this.#wrong;
  }

  allows(tool: string): boolean {
    return this.#allows(tool);
  }

  /** Whether it showed exactly this last; true while it has shown nothing here yet. */
  stillShows(tool: string, pin: string): boolean {
    return this.#shown === null || this.#shown.get(tool)?.pin === pin;
  }

  /** What it may offer, how it is pinned and its limits are said anew; the way to it stays. */
  adopt(config: UpstreamConfig): void {
    this.#config = config;
    this.#allows = allowsOf(config);
    this.link.adopt(config);
    this.#schedule.start();
  }

  /** Its list may be another. */
  hint(): void {
    this.#schedule.hint();
  }

  /** Resolves when the calls under way have come to their end, and it is closed. */
  async retire(): Promise<void> {
    await Promise.all([this.#schedule.stop(), this.link.retire()]);
  }

  async close(): Promise<void> {
    await Promise.all([this.#schedule.stop(), this.link.close()]);
  }

  async #round(signal: AbortSignal): Promise<Round> {
    const { settle, redact, changed, log, now } = this.#needs;
    try {
      const listed = await this.#list(signal);
      const { tools, refused } = await sortOutInTurns(this.alias, listed, redact);
      signal.throwIfAborted();
      this.#shown = tools;
      this.#refused = refused;
      this.#listedAt = new Date(now());
      changed();
      this.#warn(refused);
      const isOther = await settle(this.alias, tools, this.#config.pin);
      if (this.#wrong !== null) log.info("an upstream MCP server is listed again", { upstream: this.alias });
      this.#wrong = null;
      return isOther ? "other" : "same";
    } catch (error) {
      if (signal.aborted) return "failed";
      if (this.#wrong === null)
        log.warn("an upstream MCP server cannot be listed", { upstream: this.alias, error });
      this.#wrong = error instanceof Failure ? error.message : "Its list could not be taken; see the log.";
      return "failed";
    }
  }

  /** Even a link that forgot its signal holds up nothing. */
  async #list(closing: AbortSignal): Promise<unknown[]> {
    const { promise, reject } = Promise.withResolvers<never>();
    const ending = new AbortController();
    const end = (error: Failure) => {
      ending.abort(error);
      reject(error);
    };
    const timer = setTimeout(() => end(tooSlow()), Math.min(listMsMax, this.#config.timeoutMs));
    const close = () => end(closed());
    closing.addEventListener("abort", close);
    try {
      return await Promise.race([this.link.list(ending.signal), promise]);
    } finally {
      clearTimeout(timer);
      closing.removeEventListener("abort", close);
    }
  }

  /** Once for each, as long as it stays. */
  #warn(refused: readonly Refused[]): void {
    const { log } = this.#needs;
    const words = refused.slice(0, warnedMax).map(({ tool, reason }) => `${tool}: ${reason}`);
    const fresh = words.filter((word) => !this.#warned.has(word));
    this.#warned = new Set(words);
    if (fresh.length > 0)
      log.warn("an upstream MCP server lists tools that cannot be offered", {
        upstream: this.alias,
        refused: fresh,
        count: refused.length,
      });
  }
}

const warnedMax = 20;

function allowsOf({ allow, deny }: UpstreamConfig): (tool: string) => boolean {
  const allowed = compileToolGlobs(allow);
  const denied = compileToolGlobs(deny);
  return (tool) => allowed(tool) && !denied(tool);
}

const tooSlow = (): Failure =>
  new Failure(
    "upstream_timeout",
    "upstream_timeout",
    "The upstream MCP server did not list its tools in time.",
  );
const closed = (): Failure =>
  new Failure("unavailable", "upstream_unavailable", "The upstream MCP server is being closed.");
