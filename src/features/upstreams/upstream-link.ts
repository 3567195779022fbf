/**
 * The link to one upstream server: its era found out once, its tools listed, its tools called.
 *
 * A server that is slow, ill or gone costs its own callers their time and nobody else anything: each question has a
 * deadline, opening is done once for all who wait, and is not tried more often than the back-off allows.
 */
import type { UpstreamConfig } from "../../platform/config.ts";
import type { ToolDefinition, UpstreamAnswer } from "../../platform/upstream.ts";
import { Gate } from "./gate.ts";
import type { Line, Notices, OpenLine, Question } from "./line.ts";
import type { Link, LinkAsking, LinkStatus } from "./link.ts";
import { listAll } from "./listing.ts";
import type { LinkNeeds } from "./open-link.ts";
import { headersFor, headerValue, type ParameterHeader, parameterHeadersOf } from "./parameter-headers.ts";
import { Patience } from "./patience.ts";
import { type RpcAnswer, toolAnswerOf } from "./rpc.ts";
import { closed, LineOver, late, UpstreamFailure, unavailable } from "./upstream-failure.ts";

type Limits = Pick<UpstreamConfig, "timeoutMs" | "resultBytesMax" | "callsMax">;

/** What the link hears from its line. */
export type LinkNotices = Notices & { readonly over: (reason: string) => void };

export type UpstreamLinkNeeds = Pick<LinkNeeds, "log" | "clock" | "backOffMs"> & {
  alias: string;
  limits: Limits;
  redact: (text: string) => string;
  open: (notices: LinkNotices) => OpenLine;
};

/** Of one page of its list. */
const listBytesMax = 4_194_304;

type Opening = { line: Line | null; readonly opened: Promise<Line>; readonly abort: AbortController };

export class UpstreamLink implements Link {
  readonly #needs: UpstreamLinkNeeds;
  readonly #open: OpenLine;
  readonly #gate: Gate;
  readonly #patience: Patience;
  readonly #listeners = new Set<() => void>();
  readonly #underWay = new Set<AbortController>();
  readonly #partings = new Set<Promise<void>>();
  #opening: Opening | null = null;
  #status: LinkStatus = { state: "unknown", era: null, reason: null, since: null };
  #parameters = new Map<string, readonly ParameterHeader[]>();
  #unusable = "";
  #isClosed = false;

  constructor(needs: UpstreamLinkNeeds) {
    this.#needs = needs;
    this.#gate = new Gate(needs.limits.callsMax, () => this.#reset(), needs.backOffMs && needs.backOffMs * 5);
    this.#patience = new Patience(needs.backOffMs);
    this.#open = needs.open({
      listChanged: () => {
        for (const listener of this.#listeners) listener();
      },
      over: (reason) => this.#turn("down", reason),
    });
  }

  async list(signal: AbortSignal): Promise<ToolDefinition[]> {
    return await this.#gate.pass(() =>
      this.#within(signal, async (inner) => {
        const asked = { headers: {}, bytesMax: listBytesMax, signal: inner, traceparent: null };
        const { tools, unusable } = await listAll(
          async (params) => (await this.#ask({ method: "tools/list", params, ...asked })).answer,
        );
        return this.#usable(tools, unusable);
      }),
    );
  }

  call(
    name: string,
    args: Readonly<Record<string, unknown>>,
    { signal, resultBytesMax, traceparent }: LinkAsking,
  ): Promise<UpstreamAnswer> {
    const { limits, redact } = this.#needs;
    const bytesMax = Math.min(resultBytesMax, limits.resultBytesMax ?? resultBytesMax);
    return this.#gate.call(() =>
      this.#within(signal, async (inner) => {
        const headers = {
          "mcp-name": headerValue(name),
          ...headersFor(this.#parameters.get(name) ?? [], args),
        };
        const params = { name, arguments: args };
        const asked = { method: "tools/call", params, headers, bytesMax, signal: inner, traceparent };
        const { answer, era } = await this.#ask(asked);
        const made = toolAnswerOf(answer, era);
        return made.kind === "error" ? { ...made, message: redact(made.message) } : made;
      }),
    );
  }

  onListChanged(listener: () => void): void {
    this.#listeners.add(listener);
  }

  status(): LinkStatus {
    return this.#status;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listeners.clear();
    for (const each of this.#underWay) each.abort(closed());
    this.#opening?.abort.abort(closed());
    const line = await this.#opening?.opened.catch(() => null);
    if (line) this.#part(line);
    await Promise.all(this.#partings);
  }

  /** Puts a question, and puts it again where the server had not looked at it. */
  async #ask(question: Question): Promise<{ answer: RpcAnswer; era: Line["era"] }> {
    for (let isAgain = false; ; isAgain = true) {
      const line = this.#opening?.line ?? (await this.#lineFor(question.signal));
      try {
        if (line.isOver && !isAgain) this.#drop(line);
        else return { answer: await line.ask(question), era: line.era };
      } catch (error) {
        if (line.isOver) this.#drop(line);
        if (!(error instanceof LineOver) || isAgain) throw error;
      }
    }
  }

  /** The deadline of all that one caller asks for; whoever asked may leave before. */
  async #within<T>(callers: AbortSignal, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    callers.throwIfAborted();
    if (this.#isClosed) throw closed();
    const { timeoutMs } = this.#needs.limits;
    const end = new AbortController();
    const leave = () => end.abort(callers.reason);
    const timer = setTimeout(() => end.abort(late(timeoutMs)), timeoutMs);
    callers.addEventListener("abort", leave, { once: true });
    this.#underWay.add(end);
    try {
      const result = await run(end.signal);
      this.#turn("up", null);
      return result;
    } catch (error) {
      if (error instanceof UpstreamFailure && error.isSick) this.#turn("down", error.message);
      throw error;
    } finally {
      clearTimeout(timer);
      callers.removeEventListener("abort", leave);
      this.#underWay.delete(end);
    }
  }

  async #lineFor(signal: AbortSignal): Promise<Line> {
    this.#opening ??= this.#begin();
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([this.#opening.opened, left.promise]);
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  /** Has a deadline of its own: whoever asked first may leave while others wait. */
  #begin(): Opening {
    const waitMs = this.#patience.waitMs();
    if (waitMs > 0) throw unavailable("could not be reached a moment ago, and is tried again soon", waitMs);
    const { timeoutMs } = this.#needs.limits;
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(late(timeoutMs)), timeoutMs);
    const opening: Opening = { line: null, opened: this.#open(abort.signal), abort };
    opening.opened
      .then(
        (line) => {
          opening.line = line;
          this.#patience.began();
        },
        (error: unknown) => {
          this.#patience.failed();
          if (this.#opening === opening) this.#opening = null;
          this.#turn("down", error instanceof UpstreamFailure ? error.message : "It cannot be reached.");
          this.#needs.log.debug("an upstream server cannot be opened", {
            upstream: this.#needs.alias,
            error,
          });
        },
      )
      .finally(() => clearTimeout(timer));
    return opening;
  }

  #drop(line: Line): void {
    if (this.#opening?.line !== line) return;
    this.#opening = null;
    this.#patience.ended();
    this.#part(line);
  }

  /** A command takes a while to leave, and none may be left behind. */
  #part(line: Line): void {
    const parting = line.close().finally(() => this.#partings.delete(parting));
    this.#partings.add(parting);
  }

  /** It is left alone for a while, and then met as if for the first time. */
  #reset(): void {
    const line = this.#opening?.line;
    if (line) this.#drop(line);
  }

  #usable(tools: ToolDefinition[], unusable: string[]): ToolDefinition[] {
    const parameters = new Map<string, readonly ParameterHeader[]>();
    const usable = tools.filter(({ name, inputSchema }) => {
      const declared = parameterHeadersOf(inputSchema);
      if (declared === null) unusable.push(name);
      else if (declared.length > 0) parameters.set(name, declared);
      return declared !== null;
    });
    this.#parameters = parameters;
    const said = unusable.slice(0, 20).join(", ");
    if (said !== "" && said !== this.#unusable)
      this.#needs.log.warn("an upstream server lists tools that are not valid, and are left out", {
        upstream: this.#needs.alias,
        tools: said,
      });
    this.#unusable = said;
    return usable;
  }

  #turn(state: "up" | "down", reason: string | null): void {
    const era = this.#opening?.line?.era ?? this.#status.era;
    if (this.#status.state === state && this.#status.reason === reason && this.#status.era === era) return;
    const { alias, clock, log } = this.#needs;
    const isNews = this.#status.state !== state;
    const since = isNews ? new Date(clock.now()) : this.#status.since;
    this.#status = { state, era, reason, since };
    if (!isNews) return;
    if (state === "up") log.info("an upstream server is up", { upstream: alias, era });
    else log.warn("an upstream server is down", { upstream: alias, reason });
  }
}
