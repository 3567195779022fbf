/**
 * Other MCP servers behind this one: which of their tools are offered right now, and calls to them.
 *
 * Nothing waits for a server but a call to it. What is offered comes from the database, so that a dead server's tools stay in the
 * list; what clients see of a tool is its pinned definition; and a server that shows something else in its place
 * loses the tool until an administrator has looked. Between two lists such a change is unseen: at most a minute or so.
 * The caller's credentials, headers and metadata never leave the gateway, and its secrets do not come back out of a result.
 */
import type { Clock } from "../../platform/clock.ts";
import type { GatewayConfig, UpstreamConfig } from "../../platform/config.ts";
import { Failure, notFound } from "../../platform/failure.ts";
import type { Log } from "../../platform/log.ts";
import type { ToolDefinition, UpstreamAnswer, Upstreams, UpstreamTool } from "../../platform/upstream.ts";
import type { UpstreamView } from "./contract.ts";
import type { Link, LinkAsking } from "./link.ts";
import { offeredName, ownName, shown } from "./names.ts";
import { PinBook, type PinBookNeeds } from "./pin-book.ts";
import type { Pins } from "./pins.ts";
import { createRedact, type Redact } from "./redaction.ts";
import { type ScheduleTerms, usualTerms } from "./schedule.ts";
import { UpstreamServer } from "./server.ts";
import type { PinRow } from "./store.ts";
import { upstreamView, writes } from "./view.ts";

export type OpenLink = (alias: string, config: UpstreamConfig) => Link;

export type UpstreamServersNeeds = Pick<PinBookNeeds, "database"> & {
  gateway: () => GatewayConfig;
  openLink: OpenLink;
  pins: Pins;
  /** Of the whole gateway, as they are right now. */
  secrets: (gateway: GatewayConfig) => string[];
  log: Log;
  clock: Clock;
  terms?: ScheduleTerms;
};

const lookMs = 1_000;
/** Of an upstream's own error message. */
const errorCharactersMax = 2_000;

export class UpstreamServers implements Upstreams {
  readonly #needs: UpstreamServersNeeds;
  readonly #book: PinBook;
  readonly #servers = new Map<string, UpstreamServer>();
  readonly #listeners = new Set<() => void>();
  /** Not configured any more; calls to them may still be under way. */
  readonly #retiring = new Map<UpstreamServer, Promise<void>>();
  #gateway: GatewayConfig | null = null;
  #configured: Record<string, UpstreamConfig> | null = null;
  #offered: ReadonlyMap<string, UpstreamTool> = new Map();
  #secrets: readonly string[] = [];
  #redact: Redact = createRedact([]);
  readonly #show: Show = (definition) => shown(definition, (value) => this.#redact(value).value);
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(needs: UpstreamServersNeeds) {
    this.#needs = needs;
    const { database, log } = needs;
    this.#book = new PinBook({
      database,
      log,
      aliases: () => [...this.#servers.keys()],
      changed: () => this.#pinsChanged(),
    });
  }

  /** Resolves when what the database knows is offered; no server is waited for. */
  async start(): Promise<void> {
    this.#followConfig();
    await this.#book.look();
    this.#timer = setInterval(() => {
      this.#followConfig();
      void this.#book.look();
    }, lookMs);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const servers = [...this.#servers.values(), ...this.#retiring.keys()];
    this.#servers.clear();
    await Promise.all(servers.map((server) => this.#ended(server, server.close())));
    await Promise.all(this.#retiring.values());
  }

  offered(): ReadonlyMap<string, UpstreamTool> {
    return this.#offered;
  }

  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async call(
    tool: UpstreamTool,
    args: Readonly<Record<string, unknown>>,
    asking: LinkAsking,
  ): Promise<UpstreamAnswer> {
    const server = this.#servers.get(tool.alias);
    // The caller found it a moment ago; what it is now may be something else.
    if (server === undefined || this.#offered.get(tool.name)?.pin !== tool.pin) throw withdrawn();
    const resultBytesMax = Math.min(
      asking.resultBytesMax,
      server.config.resultBytesMax ?? asking.resultBytesMax,
    );
    const own = ownName(tool.alias, tool.name);
    try {
      const answer = await server.link.call(own, args, { ...asking, resultBytesMax });
      if (answer.kind === "error") server.hint();
      return this.#redacted(tool, answer);
    } catch (error) {
      if (error instanceof Failure && error.code === "upstream_failed") server.hint();
      throw error;
    }
  }

  /** What was just decided holds from now on. */
  refresh(): Promise<void> {
    return this.#book.refresh();
  }

  /** By alias. */
  async list(): Promise<UpstreamView[]> {
    await this.#book.refresh();
    const aliases = [...this.#servers.keys()].sort();
    return aliases.map((alias) => {
      const rows = this.#book.of(alias);
      return upstreamView(this.#get(alias), rows, rows.filter((row) => this.isOffered(row)).length);
    });
  }

  /** Whether this instance offers what stands in the row. Throws `not_found` for an upstream that is not configured. */
  isOffered(row: PinRow): boolean {
    return offerOf(row, this.#get(row.alias), this.#show) !== null;
  }

  /** Throws `not_found` for an upstream that is not configured. */
  isAllowed({ alias, tool }: Pick<PinRow, "alias" | "tool">): boolean {
    return this.#get(alias).allows(tool);
  }

  /** A definition that was kept may be older than a secret that stands in it. */
  withoutSecrets(row: PinRow): PinRow {
    const { value: definition } = this.#redact(row.definition);
    const { value: seenDefinition } = this.#redact(row.seenDefinition);
    return { ...row, definition, seenDefinition };
  }

  /** Throws `not_found` for an upstream that is not configured. */
  requireConfigured(alias: string): void {
    this.#get(alias);
  }

  /** For `/readyz`; the gateway is ready all the same. */
  warnings(): string[] {
    return [...this.#servers.values()].flatMap((server) => {
      const held = this.#book
        .of(server.alias)
        .filter(({ tool, status, goneAt }) => status === "quarantined" && !goneAt && server.allows(tool));
      const words = held.length === 1 ? "1 tool is" : `${held.length} tools are`;
      return [
        ...(held.length === 0 ? [] : [`${words} quarantined of the MCP server ${server.alias}`]),
        ...(server.wrong === null
          ? []
          : [`the MCP server ${server.alias} cannot be listed: ${server.wrong}`]),
      ];
    });
  }

  #get(alias: string): UpstreamServer {
    const server = this.#servers.get(alias);
    if (server === undefined) throw notFound();
    return server;
  }

  #followConfig(): void {
    const gateway = this.#needs.gateway();
    const configured = gateway.mcp.upstreams;
    if (gateway === this.#gateway && configured === this.#configured) return;
    this.#gateway = gateway;
    this.#configured = configured;
    const isOfOthers = this.#knowSecrets(gateway);
    for (const [alias, server] of this.#servers) {
      const config = Object.hasOwn(configured, alias) ? configured[alias] : undefined;
      if (config === undefined || wayOf(config) !== wayOf(server.config)) this.#retireServer(alias, server);
      else if (termsOf(config) !== termsOf(server.config)) server.adopt(config);
    }
    for (const [alias, config] of Object.entries(configured))
      if (!this.#servers.has(alias)) this.#servers.set(alias, this.#openServer(alias, config));
    this.#offer(isOfOthers);
  }

  /** Answers whether they are others than before. */
  #knowSecrets(gateway: GatewayConfig): boolean {
    const secrets = this.#needs.secrets(gateway);
    if (Bun.deepEquals(secrets, this.#secrets)) return false;
    this.#secrets = secrets;
    this.#redact = createRedact(secrets);
    return true;
  }

  #openServer(alias: string, config: UpstreamConfig): UpstreamServer {
    const { openLink, pins, log, clock, terms = usualTerms } = this.#needs;
    return new UpstreamServer(alias, config, {
      open: openLink,
      log,
      terms,
      now: () => clock.now(),
      redact: (value) => this.#redact(value).value,
      changed: () => this.#offer(),
      settle: async (...listed) => {
        const isOther = await pins.settle(...listed);
        await this.#book.refresh();
        return isOther;
      },
    });
  }

  /** A call that was sent is not cut by another configuration: whether it was done would not be known. */
  #retireServer(alias: string, server: UpstreamServer): void {
    this.#servers.delete(alias);
    const retiring = this.#ended(server, server.retire()).finally(() => this.#retiring.delete(server));
    this.#retiring.set(server, retiring);
  }

  #ended({ alias }: UpstreamServer, ended: Promise<void>): Promise<void> {
    return ended.catch((error: unknown) => {
      this.#needs.log.warn("an upstream MCP server was not closed in order", { upstream: alias, error });
    });
  }

  #pinsChanged(): void {
    this.#offer();
    // Another instance may have seen, or somebody there approved, what this one has yet to see.
    for (const server of this.#servers.values()) {
      const isBehind = ({ tool, pin }: PinRow) => pin !== null && !server.stillShows(tool, pin);
      if (this.#book.of(server.alias).filter(isVisible).some(isBehind)) server.hint();
    }
  }

  /** Listeners hear of it when there is something else to see, as where a definition has lost a new secret. */
  #offer(isOtherwiseShown = false): void {
    const offered = new Map<string, UpstreamTool>();
    for (const server of this.#servers.values())
      for (const row of this.#book.of(server.alias)) {
        const tool = offerOf(row, server, this.#show);
        if (tool !== null) offered.set(tool.name, tool);
      }
    const isSame =
      offered.size === this.#offered.size &&
      [...offered].every(([name, { pin }]) => this.#offered.get(name)?.pin === pin);
    if (isSame && !isOtherwiseShown) return;
    this.#offered = offered;
    for (const listener of this.#listeners) listener();
  }

  #redacted(tool: UpstreamTool, answer: UpstreamAnswer): UpstreamAnswer {
    const { value, count } = this.#redact(answer);
    if (count > 0)
      this.#needs.log.warn("an upstream MCP server's answer held secrets of this gateway", {
        tool: tool.name,
        redacted: count,
      });
    // Not before: of a secret that is cut the rest would be told.
    return value.kind === "error" ? { ...value, message: value.message.slice(0, errorCharactersMax) } : value;
  }
}

const isVisible = ({ status, goneAt }: PinRow): boolean => status === "visible" && goneAt === null;

type Show = (definition: ToolDefinition) => ToolDefinition | null;

/** Null for what must not be. */
function offerOf(row: PinRow, server: UpstreamServer, show: Show): UpstreamTool | null {
  const { alias, tool, pin } = row;
  if (!isVisible(row) || pin === null || row.definition === null || row.seenPin !== pin) return null;
  if (!server.allows(tool) || !server.stillShows(tool, pin)) return null;
  const name = offeredName(alias, tool);
  // It may be older than a secret that stands in it.
  const pinned = show(row.definition as ToolDefinition);
  if (pinned === null) return null;
  return { name, alias, pin, definition: { ...pinned, name }, writes: writes(pinned) };
}

/** What the way to a server is made of; another one needs a new way. */
function wayOf(config: UpstreamConfig): string {
  const { allow, deny, pin, timeoutMs, resultBytesMax, callsMax, ...way } = config;
  const secrets =
    way.kind === "http"
      ? way.bearer?.reveal()
      : Object.entries(way.env).map(([name, value]) => [name, value.reveal()]);
  return JSON.stringify([way, secrets]);
}

const termsOf = ({ allow, deny, pin, timeoutMs, resultBytesMax, callsMax }: UpstreamConfig): string =>
  JSON.stringify([allow, deny, pin, timeoutMs, resultBytesMax, callsMax]);

const withdrawn = (): Failure =>
  new Failure(
    "unavailable",
    "upstream_unavailable",
    "This tool has just been withdrawn: list the tools again.",
  );
