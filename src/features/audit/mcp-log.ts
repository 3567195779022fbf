/**
 * The MCP log: a copy of each decision, one line in the file of its day, for whoever collects files.
 *
 * It holds up nobody: lines wait in memory, bounded, and are written every 20 ms in one piece. While there is no room for
 * them `/readyz` says so; what could not be kept is counted, and a line says how many are missing once there is room. One
 * gateway writes to a data dir. What a crash tore off at a file's end is cut, and the chain goes on.
 */
import { existsSync, statSync } from "node:fs";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, rfc3339 } from "../../platform/clock.ts";
import type { Log } from "../../platform/log.ts";
import { keepRounds, type Rounds } from "../../platform/rounds.ts";
import { sha256 } from "./canonical.ts";
import type { Anchors } from "./mcp-log-anchors.ts";
import { endOf, fileOf, listLogFiles, readLogEnd } from "./mcp-log-files.ts";
import { type Link, type LogMark, linkLine, noLink } from "./mcp-log-line.ts";
import { type Before, type Lost, readBefore } from "./mcp-log-lost.ts";

export type McpLogNeeds = {
  /** Where the files are. */
  dir: string;
  anchors: Anchors;
  clock: Pick<Clock, "now">;
  log: Log;
  /** Characters of lines that wait while they cannot be written. */
  waitingMax?: number;
};

type Waiting = { readonly file: string; readonly json: string } | { readonly file: string; missing: number };

type OpenFile = {
  readonly file: string;
  readonly handle: FileHandle;
  bytes: number;
  link: Link;
  readonly firstSeq: number;
  /** Stands before the next line. */
  mark: LogMark | null;
  /** The last line that an anchor covers, and when it was said. */
  anchored: { seq: number; at: number };
};

const pauseMs = 20;
const retryMs = 1_000;
/** Linking them keeps everybody else waiting for about 2 ms. */
const pieceCharacters = 256 * 1024;
const waitingCharactersMax = 16 * 1024 * 1024;
const anchorMs = 3_600_000;
/** The audit log hears soon of a file that was begun: before that nobody could tell that it was taken away. */
const firstAnchorMs = 250;
const restoreAgainMs = 5_000;
const dayMs = 86_400_000;

export class McpLog {
  readonly #needs: McpLogNeeds;
  readonly #rounds: Rounds;
  #waiting: Waiting[] = [];
  #characters = 0;
  #missing = 0;
  #failing: string | null = null;
  #open: OpenFile | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** Whatever touches the files, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** How the files stood at the start; null when that could not be read. */
  readonly #before: Before | null;
  #firstAnchor: ReturnType<typeof setTimeout> | null = null;

  constructor(needs: McpLogNeeds) {
    this.#needs = needs;
    this.#before = this.#readBefore();
    this.#rounds = keepRounds({ firstMs: 5_000, everyMs: 60_000 }, () => this.tend());
  }

  /** An object's JSON text. */
  append(json: string): void {
    const file = fileOf(this.#needs.clock.now());
    const last = this.#waiting.at(-1);
    if (this.#characters + json.length <= (this.#needs.waitingMax ?? waitingCharactersMax)) {
      this.#waiting.push({ file, json });
      this.#characters += json.length;
    } else if (last !== undefined && "missing" in last) last.missing += 1;
    else this.#waiting.push({ file, missing: 1 });
    this.#schedule(pauseMs);
  }

  /** Writes what an earlier run took with it, as soon as somebody can say what that is. */
  async restore(find: (before: Before) => Promise<Lost>): Promise<void> {
    while (!this.#closed && this.#before !== null) {
      try {
        const { lines, missing } = await find(this.#before);
        if (this.#closed) return;
        for (const line of lines) this.append(line);
        if (missing > 0) this.#waiting.push({ file: fileOf(this.#needs.clock.now()), missing });
        if (lines.length > 0)
          this.#needs.log.warn("lines of the MCP log were lost and are written again", {
            lines: lines.length,
            missing,
          });
        return;
      } catch (error) {
        if (this.#closed) return;
        this.#needs.log.warn("it cannot be seen right now which lines of the MCP log were lost", { error });
        await Bun.sleep(restoreAgainMs);
      }
    }
  }

  #readBefore(): Before | null {
    try {
      return readBefore(this.#needs.dir);
    } catch (error) {
      this.#needs.log.warn("the MCP log of earlier starts cannot be read", { error });
      return null;
    }
  }

  /** What an operator should know. */
  warnings(): string[] {
    return [...this.#unwritten(), ...this.#aheadOfClock()];
  }

  #unwritten(): string[] {
    if (this.#failing === null) return [];
    const missing = this.#missing + this.#uncounted();
    const lost = missing === 0 ? "" : `; ${missing} lines are lost so far`;
    return [`the MCP log in the data dir cannot be written: ${this.#failing}${lost}`];
  }

  /** Lines never go back to an earlier day's file, so that one is never over. */
  #aheadOfClock(): string[] {
    const opened = this.#open;
    if (opened === null || endOf(opened.file) - 2 * dayMs < this.#needs.clock.now()) return [];
    return [`the MCP log goes on in ${opened.file}, a day that is still to come: the clock was ahead once`];
  }

  /** Resolves when what waits has been tried. */
  flush(): Promise<void> {
    return this.#inTurn(() => this.#flush());
  }

  /** What is done every minute: files whose day is over are closed, and the audit log hears how far the open one is. */
  tend(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#leaveWhatIsOver();
      await (this.#open === null ? this.#anchorLeft() : this.#anchor(false));
      await this.#closeOlder();
    }).catch((error: unknown) => this.#needs.log.warn("the MCP log cannot be tended right now", { error }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#rounds.stop();
    await this.flush();
    if (this.#firstAnchor !== null) clearTimeout(this.#firstAnchor);
    const anchor = () => (this.#open === null ? this.#anchorLeft() : this.#anchor(true));
    await Promise.race([this.#inTurn(anchor), Bun.sleep(2_000)]).catch(() => undefined);
    const { log } = this.#needs;
    if (this.#waiting.length > 0) log.error("lines of the MCP log are lost", { lines: this.#waiting.length });
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#open?.handle.close().catch(() => undefined);
    this.#open = null;
  }

  #schedule(milliseconds: number): void {
    if (this.#timer !== null || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.flush();
    }, milliseconds);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #flush(): Promise<void> {
    try {
      while (this.#waiting.length > 0) await this.#writePiece();
      if (this.#failing !== null)
        this.#needs.log.info("the MCP log is written again", { lost: this.#missing });
      this.#failing = null;
      this.#missing = 0;
    } catch (error) {
      const why = error instanceof Error && "code" in error ? String(error.code) : String(error);
      if (this.#failing === null) this.#needs.log.warn("the MCP log cannot be written", { error });
      this.#failing = why;
      this.#schedule(retryMs);
    }
  }

  /** As much as is written at once, all for one file. */
  async #writePiece(): Promise<void> {
    const first = this.#waiting[0];
    if (first === undefined) return;
    const opened = await this.#openFor(first.file);
    let { link } = opened;
    let text = "";
    let count = 0;
    let characters = 0;
    const put = (json: string) => {
      const linked = linkLine(link, json);
      link = linked.link;
      text += `${linked.line}\n`;
    };
    if (opened.mark !== null) put(JSON.stringify(opened.mark));
    for (const one of this.#waiting) {
      if (one.file > opened.file || text.length > pieceCharacters) break;
      put("json" in one ? one.json : this.#gapOf(one.missing));
      if ("json" in one) characters += one.json.length;
      count += 1;
    }
    const bytes = Buffer.from(text);
    // A gap that still grows must not be written with the number that it has now.
    const taken = this.#waiting.splice(0, count);
    try {
      await writeAt(opened.handle, bytes, opened.bytes);
    } catch (error) {
      this.#waiting.unshift(...taken);
      throw error;
    }
    this.#characters -= characters;
    for (const one of taken) if ("missing" in one) this.#missing += one.missing;
    opened.bytes += bytes.length;
    opened.link = link;
    if (opened.mark !== null && !this.#closed) this.#anchorSoon();
    opened.mark = null;
  }

  #anchorSoon(): void {
    this.#firstAnchor ??= setTimeout(() => {
      this.#firstAnchor = null;
      void this.tend();
    }, firstAnchorMs);
  }

  #gapOf(missing: number): string {
    const at = rfc3339(this.#needs.clock.now());
    return JSON.stringify({ kind: "gap", at, missing } satisfies LogMark);
  }

  #uncounted(): number {
    return this.#waiting.reduce((sum, one) => sum + ("missing" in one ? one.missing : 0), 0);
  }

  async #openFor(file: string): Promise<OpenFile> {
    const opened = this.#open;
    // Never back to an earlier day.
    if (opened !== null && opened.file >= file) return opened;
    if (opened !== null) await this.#leave(opened);
    this.#open = await this.#openAfter(file, opened);
    return this.#open;
  }

  async #openAfter(file: string, left: OpenFile | null): Promise<OpenFile> {
    const { dir, clock } = this.#needs;
    const at = rfc3339(clock.now());
    const before = left?.file ?? listLogFiles(dir).at(-1) ?? null;
    if (left !== null || before === null) {
      const link = left?.link ?? noLink;
      return await this.#begin(file, link, { kind: "opened", at, file, before, prev: link.hash });
    }
    const { last, lastText, firstSeq, bytes, tornBytes } = readLogEnd(dir, before);
    if (bytes === 0) {
      // Its first line was never written whole.
      await unlink(join(dir, before));
      return await this.#openAfter(file, null);
    }
    const link = last ?? { seq: 0, hash: sha256(lastText).toString("hex") };
    const handle = await open(join(dir, before), "r+");
    if (tornBytes > 0) await handle.truncate(bytes);
    if (before < file) {
      await handle.close();
      return await this.#begin(file, link, { kind: "opened", at, file, before, prev: link.hash });
    }
    const mark = { kind: "resumed", at, cut_bytes: tornBytes } as const;
    return { file: before, handle, bytes, link, firstSeq, mark, anchored: { seq: link.seq, at: 0 } };
  }

  async #begin(file: string, link: Link, mark: LogMark): Promise<OpenFile> {
    const handle = await open(join(this.#needs.dir, file), "wx", 0o600);
    const anchored = { seq: link.seq, at: 0 };
    return { file, handle, bytes: 0, link, firstSeq: link.seq + 1, mark, anchored };
  }

  /** Lets go of a file whose day is over; `#closeOlder` says so to the audit log. */
  async #leave(opened: OpenFile): Promise<void> {
    this.#open = null;
    await opened.handle.datasync();
    await opened.handle.close();
  }

  async #leaveWhatIsOver(): Promise<void> {
    const opened = this.#open;
    if (opened === null) return;
    const { dir, clock, log } = this.#needs;
    const path = join(dir, opened.file);
    const isOurs = existsSync(path) && statSync(path).ino === (await opened.handle.stat()).ino;
    if (!isOurs) log.error("somebody took the MCP log's file away", { file: opened.file });
    if (!isOurs || endOf(opened.file) <= clock.now()) await this.#leave(opened);
  }

  async #anchor(isLast: boolean): Promise<void> {
    const opened = this.#open;
    if (opened === null || opened.link.seq === opened.anchored.seq) return;
    const now = this.#needs.clock.now();
    if (!isLast && now - opened.anchored.at < anchorMs) return;
    const { link, file, firstSeq } = opened;
    // What the audit log says must still be there after a power cut.
    await opened.handle.datasync();
    await this.#needs.anchors.write({ file, lines: link.seq - firstSeq + 1, ...link }, false);
    opened.anchored = { seq: link.seq, at: now };
  }

  /** What an earlier run left may go without a decision for long. */
  async #anchorLeft(): Promise<void> {
    const { dir, anchors, clock } = this.#needs;
    const file = listLogFiles(dir).at(-1);
    if (file === undefined || endOf(file) <= clock.now()) return;
    const { last, firstSeq } = readLogEnd(dir, file);
    if (last === undefined || (await anchors.last(file)) === last.hash) return;
    await anchors.write({ file, lines: last.seq - firstSeq + 1, seq: last.seq, hash: last.hash }, false);
  }

  async #closeOlder(): Promise<void> {
    const { dir, anchors, clock } = this.#needs;
    const over = listLogFiles(dir).filter((file) => file !== this.#open?.file && endOf(file) <= clock.now());
    if (over.length === 0) return;
    const known = await anchors.over();
    for (const file of over.filter((one) => !known.has(one))) {
      const { last, firstSeq } = readLogEnd(dir, file);
      if (last === undefined) continue;
      await anchors.write({ file, lines: last.seq - firstSeq + 1, seq: last.seq, hash: last.hash }, true);
    }
  }
}

async function writeAt(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  try {
    for (let at = 0; at < bytes.length; )
      at += (await handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
  } catch (error) {
    // Half a line is no line.
    await handle.truncate(position).catch(() => undefined);
    throw error;
  }
}
