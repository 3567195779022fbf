/**
 * The link to one upstream server: its era found out once, its tools listed, its tools called.
 *
 * A server that is slow, ill or gone costs its own callers their time and nobody else anything: each question has a
 * deadline, opening is done once for all who wait, and is not tried more often than the back-off allows.
 */
import type { UpstreamAnswer } from "../../platform/upstream.ts";
import { Breath } from "./breath.ts";
import { Gate } from "./gate.ts";
import { type Line, type Notices, type OpenLine, type Question, UnderWay } from "./line.ts";
import type { Link, LinkAsking, LinkLimits, LinkStatus } from "./link.ts";
import { listAll } from "./listing.ts";
import type { LinkNeeds } from "./open-link.ts";
import { headersFor, headerValue, type ParameterHeader, parameterHeadersOf } from "./parameter-headers.ts";
import { Patience } from "./patience.ts";
import { isObject, type RpcAnswer, toolAnswerOf } from "./rpc.ts";
import { broken, closed, cutOff, LineOver, late, UpstreamFailure, unavailable } from "./upstream-failure.ts";

/** What the link hears from its line. */
export type LinkNotices = Notices & { readonly over: (reason: string) => void };

export type UpstreamLinkNeeds = Pick<LinkNeeds, "log" | "clock" | "backOffMs"> & {
  alias: string;
  limits: LinkLimits;
  redact: (text: string) => string;
  open: (notices: LinkNotices) => OpenLine;
};

/** Whether a server is well again is asked with one page of its list. */
const proof = { bytesMax: 4_194_304, msMax: 10_000 };

/** What somebody waits for. */
type Errand = { readonly end: AbortController; isSent: boolean };
type Opening = { line: Line | null; readonly opened: Promise<Line>; readonly abort: AbortController };

export class UpstreamLink implements Link {
  readonly #needs: UpstreamLinkNeeds;
  readonly #open: OpenLine;
  readonly #gate: Gate;
  readonly #patience: Patience;
  readonly #listeners = new Set<() => void>();
  readonly #errands = new Set<Errand>();
  readonly #underWay = new UnderWay();
  readonly #partings = new Set<Promise<void>>();
  readonly #retiring = new Set<Line>();
  #limits: LinkLimits;
  #opening: Opening | null = null;
  #status: LinkStatus = { state: "unknown", era: null, reason: null, since: null };
  #parameters = new Map<string, readonly ParameterHeader[]>();
  #isClosed = false;

  constructor(needs: UpstreamLinkNeeds) {
    this.#needs = needs;
    this.#limits = needs.limits;
    const { callsMax } = needs.limits;
    this.#gate = new Gate(callsMax, () => this.#prove(), needs.backOffMs && needs.backOffMs * 5);
    this.#patience = new Patience(needs.backOffMs);
    this.#open = needs.open({
      listChanged: () => {
        for (const listener of this.#listeners) listener();
      },
      over: (reason) => this.#turn("down", reason),
    });
  }

  async list(signal: AbortSignal): Promise<unknown[]> {
    return await this.#gate.ask(() =>
      this.#within(signal, async (errand) => {
        const tools = await listAll((params, bytesMax) => this.#askPage(params, bytesMax, errand));
        await this.#learnParameters(tools);
        return tools;
      }),
    );
  }

  call(
    name: string,
    args: Readonly<Record<string, unknown>>,
    { caller, signal, resultBytesMax, traceparent }: LinkAsking,
  ): Promise<UpstreamAnswer> {
    const { redact } = this.#needs;
    const bytesMax = Math.min(resultBytesMax, this.#limits.resultBytesMax ?? resultBytesMax);
    return this.#gate.call(caller, () =>
      this.#within(signal, async (errand) => {
        const headers = {
          "mcp-name": headerValue(name),
          ...headersFor(this.#parameters.get(name) ?? [], args),
        };
        const params = { name, arguments: args };
        const asked = { method: "tools/call", params, headers, bytesMax, traceparent };
        const { answer, era } = await this.#ask({ ...asked, signal: errand.end.signal }, errand);
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

  adopt(limits: LinkLimits): void {
    this.#limits = limits;
    this.#gate.adopt(limits.callsMax);
  }

  async retire(): Promise<void> {
    this.#isClosed = true;
    this.#listeners.clear();
    await this.#underWay.none();
    await this.close();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listeners.clear();
    for (const { end, isSent } of this.#errands) end.abort(isSent ? cutOff() : closed());
    this.#opening?.abort.abort(closed());
    const line = await this.#opening?.opened.catch(() => null);
    if (line) this.#part(line);
    for (const line of this.#retiring) this.#part(line);
    await Promise.all(this.#partings);
  }

  async #askPage(
    params: Readonly<Record<string, unknown>>,
    bytesMax: number,
    errand: Errand,
  ): Promise<RpcAnswer> {
    const { signal } = errand.end;
    const asked = { method: "tools/list", params, headers: {}, bytesMax, signal, traceparent: null };
    return (await this.#ask(asked, errand)).answer;
  }

  /** Puts a question, and puts it again where the server had not looked at it. */
  async #ask(question: Question, errand: Errand): Promise<{ answer: RpcAnswer; era: Line["era"] }> {
    for (let isAgain = false; ; isAgain = true) {
      const line = this.#opening?.line ?? (await this.#lineFor(question.signal));
      try {
        if (line.isOver && !isAgain) this.#drop(line);
        else {
          errand.isSent = true;
          return { answer: await line.ask(question), era: line.era };
        }
      } catch (error) {
        if (line.isOver) this.#drop(line);
        if (!(error instanceof LineOver)) throw error;
        // It is this question that it refuses so, and not its line that is over: others go on with that.
        if (isAgain) throw broken("does not answer this on a new connection either", error);
        this.#retire(line);
        errand.isSent = false;
      }
    }
  }

  /** The deadline of all that one caller asks for; whoever asked may leave before. */
  async #within<T>(
    callers: AbortSignal,
    run: (errand: Errand) => Promise<T>,
    timeoutMs = this.#limits.timeoutMs,
  ): Promise<T> {
    callers.throwIfAborted();
    if (this.#isClosed) throw closed();
    const end = new AbortController();
    const errand = { end, isSent: false };
    const leave = () => end.abort(callers.reason);
    const timer = setTimeout(() => end.abort(late(timeoutMs)), timeoutMs);
    callers.addEventListener("abort", leave, { once: true });
    this.#errands.add(errand);
    try {
      const result = await this.#underWay.during(() => run(errand));
      this.#turn("up", null);
      return result;
    } catch (error) {
      if (error instanceof UpstreamFailure && error.isSick) this.#turn("down", error.message);
      throw error;
    } finally {
      clearTimeout(timer);
      callers.removeEventListener("abort", leave);
      this.#errands.delete(errand);
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
    const { timeoutMs } = this.#limits;
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

  /** Asks on the line that there is, and when that fails as if they met for the first time. */
  async #prove(): Promise<void> {
    const { signal } = new AbortController();
    const timeoutMs = Math.min(proof.msMax, this.#limits.timeoutMs);
    const ask = () => this.#within(signal, (errand) => this.#askPage({}, proof.bytesMax, errand), timeoutMs);
    const line = this.#opening?.line ?? null;
    try {
      await ask();
    } catch (error) {
      if (line === null || !(error instanceof UpstreamFailure && error.isSick)) throw error;
      this.#retire(line);
      await ask();
    }
  }

  /** Nothing more is asked on it, and what was asked may still be answered: each call has its own deadline. */
  #retire(line: Line): void {
    if (this.#opening?.line !== line) return;
    this.#opening = null;
    this.#retiring.add(line);
    const parting = line.retire().finally(() => {
      this.#retiring.delete(line);
      this.#partings.delete(parting);
    });
    this.#partings.add(parting);
  }

  /** A long list is looked at in turns. */
  async #learnParameters(tools: readonly unknown[]): Promise<void> {
    const parameters = new Map<string, readonly ParameterHeader[]>();
    const breath = new Breath();
    for (const tool of tools) {
      await breath.take();
      if (!isObject(tool) || typeof tool.name !== "string" || !isObject(tool.inputSchema)) continue;
      const declared = parameterHeadersOf(tool.inputSchema) ?? [];
      if (declared.length > 0) parameters.set(tool.name, declared);
    }
    this.#parameters = parameters;
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
