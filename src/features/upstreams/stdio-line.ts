/**
 * A server that is a command run here, spoken to over its input and output, one JSON-RPC message a line.
 *
 * Calls share the command; each has an id that no other call ever has, also not after a restart, so that a late answer is
 * nobody's. What it writes to its error output goes to the log, bounded and without its secrets. A command that writes
 * what is no message again and again, or floods the gateway with what nobody asked for, is ended.
 */
import type { Log } from "../../platform/log.ts";
import { Allowance } from "./allowance.ts";
import { Command, type Stdio } from "./command.ts";
import { envelopeOf, greetingOf, judgeDiscovery, judgeGreeting, type Speech } from "./era.ts";
import { ErrorOutput } from "./error-output.ts";
import { handshake, type Line, type Notices, type OpenLine, type Question, UnderWay } from "./line.ts";
import { type Incoming, type RpcAnswer, readMessage } from "./rpc.ts";
import { endlessBytes, LineSplitter } from "./text-lines.ts";
import {
  broken,
  busy,
  cutOff,
  lineOver,
  nonsense,
  tooLarge,
  type UpstreamFailure,
} from "./upstream-failure.ts";

export type StdioNeeds = {
  alias: string;
  version: string;
  childrenDir: string | null;
  /** Without the command's secrets. */
  redact: (text: string) => string;
  notices: Notices & { over: (reason: string) => void };
  log: Log;
};

/** Whoever does not know `server/discover` may also keep silent. */
const probeMs = 3_000;
const garbageMax = 100;
const lineBytesMin = 65_536;
/** Notices, questions, late answers and empty lines: at once, and then each second. */
const unasked = { messages: 5_000, messagesPerSecond: 500, bytes: 4_194_304, bytesPerSecond: 524_288 };

export function stdioOpener(config: Stdio, needs: StdioNeeds): OpenLine {
  const ids = { last: 0 };
  let isLegacy = false;
  let before: StdioLine | null = null;
  const start = async (): Promise<StdioLine> => {
    // Two of them at once could fight over the same files, and calls of the one before may still be under way.
    await before?.retire();
    before = new StdioLine(config, needs, ids);
    return before;
  };
  return async (signal) => {
    let line = await start();
    if (signal.aborted) await line.close();
    signal.throwIfAborted();
    try {
      if (!isLegacy && (await isModern(line, signal))) return line;
      if (line.isOver) line = await start();
      isLegacy = false;
      await line.greet(signal);
      isLegacy = true;
      return line;
    } catch (error) {
      await line.close();
      throw error;
    }
  };
}

async function isModern(line: StdioLine, signal: AbortSignal): Promise<boolean> {
  const late = AbortSignal.timeout(probeMs);
  try {
    const question = handshake(AbortSignal.any([signal, late]), "server/discover", {});
    return judgeDiscovery(await line.ask(question)) !== null;
  } catch (error) {
    if (signal.aborted) throw error;
    // Servers of the older era are known to leave when they are not greeted first.
    if (late.aborted || line.isOver) return false;
    throw error;
  }
}

type Pending = {
  readonly bytesMax: number;
  readonly resolve: (answer: RpcAnswer) => void;
  readonly reject: (error: unknown) => void;
};

class StdioLine implements Line {
  readonly #needs: StdioNeeds;
  readonly #ids: { last: number };
  readonly #command: Command;
  readonly #lines: LineSplitter;
  readonly #pending = new Map<number, Pending>();
  readonly #envelope: Readonly<Record<string, unknown>>;
  readonly #underWay = new UnderWay();
  readonly #messages = new Allowance(unasked.messages, unasked.messagesPerSecond);
  readonly #bytes = new Allowance(unasked.bytes, unasked.bytesPerSecond);
  #speech: Speech = { era: "modern", version: "" };
  #garbage = 0;
  #isOver = false;
  #closing: Promise<void> | null = null;

  constructor(config: Stdio, needs: StdioNeeds, ids: { last: number }) {
    this.#needs = needs;
    this.#ids = ids;
    this.#envelope = envelopeOf(needs.version);
    this.#lines = new LineSplitter(() => this.#lineBytesMax(), {
      line: (bytes) => this.#take(bytes),
      empty: (count) => this.#bear(count, count),
      long: (part) => this.#takeLong(part),
    });
    const errors = new ErrorOutput(needs);
    this.#command = new Command(needs.alias, config, needs.childrenDir, {
      out: (chunk) => this.#lines.push(chunk),
      err: (chunk) => errors.push(chunk),
      ended: (reason) => this.#ended(reason),
    });
  }

  get era(): Line["era"] {
    return this.#speech.era;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  async ask(question: Question): Promise<RpcAnswer> {
    return this.#underWay.during(() => this.#ask(question));
  }

  async #ask(question: Question): Promise<RpcAnswer> {
    const { method, signal, bytesMax } = question;
    if (this.#isOver) throw lineOver("The upstream server's command has ended.");
    signal.throwIfAborted();
    const id = ++this.#ids.last;
    const { promise, resolve, reject } = Promise.withResolvers<RpcAnswer>();
    const leave = () => {
      this.#cancel(id);
      reject(signal.reason);
    };
    this.#pending.set(id, { bytesMax, resolve, reject });
    signal.addEventListener("abort", leave, { once: true });
    try {
      if (!this.#write({ jsonrpc: "2.0", id, method, params: this.#paramsOf(question) }))
        throw busy("The upstream server's command does not read what it is sent.");
      return await promise;
    } finally {
      this.#pending.delete(id);
      signal.removeEventListener("abort", leave);
    }
  }

  async greet(signal: AbortSignal): Promise<void> {
    this.#speech = { era: "legacy", version: "" };
    this.#speech = judgeGreeting(
      await this.ask(handshake(signal, "initialize", greetingOf(this.#needs.version))),
    );
    this.#write({ jsonrpc: "2.0", method: "notifications/initialized" });
  }

  async retire(): Promise<void> {
    if (!this.#isOver) await this.#underWay.none();
    await this.close();
  }

  close(): Promise<void> {
    this.#closing ??= this.#end(cutOff(), true);
    return this.#closing;
  }

  #paramsOf({ params, traceparent }: Question): Readonly<Record<string, unknown>> {
    const traced = traceparent === null ? {} : { traceparent };
    if (this.era === "modern") return { ...params, _meta: { ...this.#envelope, ...traced } };
    return traceparent === null ? params : { ...params, _meta: traced };
  }

  #write(message: object): boolean {
    return this.#command.write(`${JSON.stringify(message)}\n`);
  }

  #cancel(id: number): void {
    const params = { requestId: id, reason: "the caller has left or waited too long" };
    if (!this.#isOver) this.#write({ jsonrpc: "2.0", method: "notifications/cancelled", params });
  }

  #lineBytesMax(): number {
    let most = lineBytesMin;
    for (const { bytesMax } of this.#pending.values()) most = Math.max(most, bytesMax);
    return most;
  }

  #take(bytes: Uint8Array): void {
    if (this.#isOver) return;
    try {
      const message = readMessage(bytes);
      if (message.kind === "answer") this.#settle(message, bytes.length);
      else this.#hear(message, bytes.length);
    } catch (error) {
      const id = idIn(edgeOf(bytes, 0), edgeOf(bytes, -256));
      this.#pending.get(id ?? 0)?.reject(error);
      this.#isGarbage();
    }
  }

  #hear(message: Exclude<Incoming, { kind: "answer" }>, bytes: number): void {
    if (!this.#bear(1, bytes)) return;
    if (message.kind === "request") this.#refuse(message);
    else if (message.method === "notifications/tools/list_changed") this.#needs.notices.listChanged();
  }

  #settle({ id, answer }: Incoming & { kind: "answer" }, bytes: number): void {
    const asked = typeof id === "number" ? this.#pending.get(id) : undefined;
    if (asked === undefined) {
      // Late, to somebody who has left; or to nobody at all.
      if (typeof id !== "number" || id < 1 || id > this.#ids.last) this.#isGarbage();
      else this.#bear(1, bytes);
    } else if (bytes > asked.bytesMax) asked.reject(tooLarge(asked.bytesMax));
    else asked.resolve(answer);
  }

  #refuse({ id, method }: Incoming & { kind: "request" }): void {
    const error = { code: -32_601, message: "The gateway offers servers nothing to ask for." };
    this.#write({ jsonrpc: "2.0", id, ...(method === "ping" ? { result: {} } : { error }) });
  }

  #takeLong({ head, tail, bytes }: { head: string; tail: string | null; bytes: number }): void {
    if (this.#isOver) return;
    const asked = this.#pending.get(idIn(head, tail ?? "") ?? 0);
    asked?.reject(tooLarge(asked.bytesMax));
    if (asked !== undefined || (tail === null && bytes <= endlessBytes)) return;
    // Whose answer that was cannot be told; each of these may have been.
    for (const { bytesMax, reject } of this.#pending.values())
      if (bytes > bytesMax) reject(tooLarge(bytesMax));
    if (bytes > endlessBytes) this.#giveUp("wrote a line without an end");
  }

  /** What nobody asked for. Read as fast as it is written, it would leave time for nothing else. */
  #bear(messages: number, bytes: number): boolean {
    if (this.#isOver) return false;
    const isBorne = this.#messages.take(messages) && this.#bytes.take(bytes);
    if (!isBorne) this.#giveUp("wrote too much that nobody had asked for");
    return isBorne;
  }

  #isGarbage(): void {
    this.#garbage++;
    if (this.#garbage > garbageMax) this.#giveUp("wrote too much that is no message");
  }

  #giveUp(what: string): void {
    this.#lines.stop();
    this.#closing ??= this.#end(nonsense(what), false);
    this.#needs.notices.over(`The upstream server ${what}.`);
  }

  async #end(failure: UpstreamFailure, graceful: boolean): Promise<void> {
    this.#isOver = true;
    this.#rejectAll(failure);
    await this.#command.stop(graceful);
  }

  #ended(reason: string): void {
    const wasOver = this.#isOver;
    this.#isOver = true;
    if (wasOver) return;
    const failure = broken(reason);
    this.#rejectAll(failure);
    this.#needs.notices.over(failure.message);
  }

  #rejectAll(failure: UpstreamFailure): void {
    for (const { reject } of this.#pending.values()) reject(failure);
  }
}

const edgeOf = (bytes: Uint8Array, from: number): string =>
  Buffer.from(from < 0 ? bytes.slice(from) : bytes.slice(from, from + 256)).toString("latin1");

/** Where the servers that there are put it: before the result, or behind it. */
function idIn(head: string, tail: string): number | null {
  const found =
    /^\{"(?:jsonrpc":"2\.0",")?id":(\d{1,15})[,}]/.exec(head) ??
    /"jsonrpc":"2\.0","id":(\d{1,15})\}\s*$/.exec(tail) ??
    /\},"id":(\d{1,15})(?:,"jsonrpc":"2\.0")?\}\s*$/.exec(tail);
  return found === null ? null : Number(found[1]);
}
