/**
 * Reads what an answer cost from the bytes that pass, without holding them up.
 *
 * Usage is what the provider says, each field's last word; where it says nothing, the text is kept (folded down from
 * the events, within bounds) so that it can be counted once the call is over.
 */
import type { Usage } from "../../db/ledger.ts";
import { holds } from "../../platform/bytes.ts";
import { roughTokens } from "./count.ts";
import { keptIdBytesMax, mergeUsage, type Sight, type Wire } from "./wire.ts";

const keptBytesMax = 16 * 1024;
const textCharsMax = 256 * 1024;

export class Meter {
  readonly #wire: Wire;
  #usage: Usage | null = null;
  #final = false;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #text = "";
  /** Tokens of text that was too much to keep, by the rough guess. */
  #foldedTokens = 0;
  readonly #keptIds = new Set<string>();
  #keptIdBytes = 0;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** The provider's numbers so far. */
  get usage(): Usage | null {
    return this.#usage;
  }

  /** True once the numbers are those of the whole answer, so that a cut after this point changes nothing. */
  get isFinal(): boolean {
    return this.#final;
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
      this.#usage = mergeUsage(this.#usage, sight.usage);
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

  /** Takes the usage of an answer that is one JSON document. */
  seeBody(body: unknown): void {
    this.#keepIds(this.#wire.keptOfBody(body));
    this.#usage = this.#wire.usageOfBody(body);
    this.#final = this.#usage !== null;
    if (this.#usage === null) this.#text = this.#wire.textOfBody(body).slice(0, textCharsMax);
  }

  /** The text of the answer so far, and the tokens of what came before it and was let go. */
  written(): { text: string; foldedTokens: number } {
    this.#fold();
    return { text: this.#text, foldedTokens: this.#foldedTokens };
  }

  #keepIds(ids: readonly string[]): void {
    for (const id of ids) {
      const bytes = JSON.stringify(id).length + 1;
      if (this.#keptIds.has(id) || this.#keptIdBytes + bytes > keptIdBytesMax) continue;
      this.#keptIds.add(id);
      this.#keptIdBytes += bytes;
    }
  }

  #fold(): void {
    if (this.#keptBytes > 0) {
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
