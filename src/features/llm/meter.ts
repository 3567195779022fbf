/**
 * Reads what an answer cost from the bytes that pass, without holding them up.
 *
 * Usage is what the provider says, each field's last word; where it says nothing, the text is kept (folded down from
 * the events, within bounds) so that it can be counted once the call is over.
 */
import type { Usage } from "../../db/ledger.ts";
import { holds } from "../../platform/bytes.ts";
import { roughTokens } from "./count.ts";
import { usageInTail } from "./document.ts";
import { mergeUsage, type Pass, type PricedApart, type Report, type Sight, type Wire } from "./wire.ts";

const keptBytesMax = 16 * 1024;
const textCharsMax = 256 * 1024;
/** More items than any answer has. */
const keptIdsMax = 1_000;
const pieceTailBytes = 64 * 1024;

/** As OpenAI's chunks say it; null in all but the last of a choice. */
const isFinish = (events: Uint8Array): boolean =>
  /"finish_reason"\s*:\s*"/.test(Buffer.from(events).toString("latin1"));

type Pieces = { readonly tail: Uint8Array; length: number; readonly terminal: Sight["terminal"] };

export class Meter {
  readonly #wire: Wire;
  #usage: Usage | null = null;
  #passes: readonly Pass[] = [];
  #pricedApart: PricedApart = {};
  #final = false;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #text = "";
  /** Tokens of text that was too much to keep, by the rough guess. */
  #foldedTokens = 0;
  /** Bytes of the answer that passed without being read. */
  #unreadBytes = 0;
  /** The end so far of an event that passes in pieces, where its usage stands, and what its beginning says of it. */
  #pieces: Pieces | null = null;
  /** Whether what was folded last ended in a finish. */
  #foldedFinish = false;
  readonly #keptIds = new Set<string>();

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** The provider's numbers so far. */
  get usage(): Usage | null {
    return this.#usage;
  }

  /** Those of its passes that are billed each for itself. */
  get passes(): readonly Pass[] {
    return this.#passes;
  }

  get pricedApart(): PricedApart {
    return this.#pricedApart;
  }

  /** True once the numbers are those of the whole answer, so that a cut after this point changes nothing. */
  get isFinal(): boolean {
    return this.#final;
  }

  /** More than 0 where something of the answer was too large to be read. */
  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  /** Ids of what the provider keeps of this answer, for later calls to refer to. */
  get keptIds(): string[] {
    return [...this.#keptIds];
  }

  /** True when `bytes` may hold something that `see` must be shown event by event. */
  cares(bytes: Uint8Array): boolean {
    return this.#wire.markers.some((marker) => holds(bytes, marker));
  }

  /** Reads one whole event. */
  see(event: Uint8Array): Sight {
    const sight = this.#wire.look(event);
    if (sight.usage !== null) {
      this.#take(sight.usage);
      this.#final ||= sight.usageOnly || sight.final === true;
    }
    if (sight.kept !== undefined) this.#keepIds(sight.kept);
    return sight;
  }

  /** Remembers events that were not read, for counting their text later; nothing once the numbers are final. */
  keep(events: Uint8Array): void {
    if (this.#final) return;
    this.#kept.push(events);
    this.#keptBytes += events.length;
    if (this.#keptBytes > keptBytesMax) this.#fold();
  }

  /** So much of the answer passes unread. */
  letPass(bytes: number): void {
    this.#unreadBytes += bytes;
  }

  /** A piece of an event that is too large to be held. */
  seePiece(piece: Uint8Array): void {
    const pieces = this.#pieces ?? this.#firstPiece(piece);
    this.#pieces = pieces;
    // One buffer for all of them: there may be gigabytes.
    const more = piece.subarray(-pieceTailBytes);
    const kept = Math.min(pieces.length, pieceTailBytes - more.length);
    pieces.tail.copyWithin(0, pieces.length - kept, pieces.length);
    pieces.tail.set(more, kept);
    pieces.length = kept + more.length;
    // The last event repeats what has been read already.
    if (pieces.terminal === null) this.#unreadBytes += piece.length;
  }

  /** The last piece of such an event: says what is known of all of it. */
  seeLastPiece(piece: Uint8Array): Sight {
    this.seePiece(piece);
    const { tail, length, terminal } = this.#pieces ?? this.#firstPiece(piece);
    this.#pieces = null;
    const usage = this.#wire.usageOfBody(usageInTail(tail.subarray(0, length)));
    if (usage !== null) {
      this.#take(usage);
      this.#final ||= terminal !== null;
    }
    return { usage, usageOnly: false, terminal };
  }

  /** Takes the usage of an answer that is one JSON document. */
  seeBody(body: unknown): void {
    this.#keepIds(this.#wire.keptOfBody(body));
    const report = this.#wire.usageOfBody(body);
    if (report !== null) this.#take(report);
    this.#final = this.#usage !== null;
    if (this.#usage?.input == null || this.#usage.output === null)
      this.#text = this.#wire.textOfBody(body).slice(0, textCharsMax);
  }

  /** True when the last that was read says that the answer is complete, and only its numbers are still to come. */
  get hasFinished(): boolean {
    const last = this.#kept.at(-1);
    return !this.#final && (last === undefined ? this.#foldedFinish : isFinish(last));
  }

  /** The text of the answer so far, and the tokens of what came before it and was let go. */
  written(): { text: string; foldedTokens: number } {
    this.#fold();
    const unreadTokens = Math.ceil(this.#unreadBytes / 4);
    return { text: this.#text, foldedTokens: this.#foldedTokens + unreadTokens };
  }

  #take({ passes, pricedApart, ...usage }: Report): void {
    this.#usage = mergeUsage(this.#usage, usage);
    this.#passes = passes ?? this.#passes;
    this.#pricedApart = { ...this.#pricedApart, ...pricedApart };
  }

  #firstPiece(piece: Uint8Array): Pieces {
    const terminal = this.#wire.terminalOf?.(piece) ?? null;
    return { tail: new Uint8Array(pieceTailBytes), length: 0, terminal };
  }

  #keepIds(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.#keptIds.size >= keptIdsMax) return;
      this.#keptIds.add(id);
    }
  }

  #fold(): void {
    if (this.#keptBytes > 0) {
      this.#foldedFinish = isFinish(this.#kept.at(-1) ?? new Uint8Array(0));
      const events = Buffer.concat(this.#kept)
        .toString("utf8")
        .split(/(?<=\r\n\r\n|\n\n|\r\r)/);
      this.#text += events.map((event) => this.#wire.textOf(Buffer.from(event))).join("");
    }
    this.#kept = [];
    this.#keptBytes = 0;
    if (this.#text.length <= textCharsMax) return;
    this.#foldedTokens += roughTokens(this.#text);
    this.#text = "";
  }
}
