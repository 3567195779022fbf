/**
 * All calls of a question as one file, oldest first, for as long as the reader takes them.
 *
 * A page at a time, fetched when the reader has taken the one before: memory stays the same however many there are. It
 * shows what its credential may see when it begins and breaks off when that may have changed; a file that is not whole
 * breaks the connection, so that nobody takes it for one that is. Calls that begin later are not in it.
 */
import type { Db } from "../../db/database.ts";
import { Failure } from "../../platform/failure.ts";
import { isEndedBy, type Principal } from "../../platform/principal.ts";
import type { CallFilters, ExportFormat, RequestRow } from "./contract.ts";
import { csvLine } from "./csv.ts";
import { type Patience, type Position, searchCalls } from "./store-calls.ts";
import { sightOf, withAttempts } from "./usage.ts";

export type ExportsNeeds = {
  db: Db;
  /** Calls back with the subject of each revocation; returns how to stop. */
  onRevoked: (listener: (subject: string) => void) => () => void;
  /** Whether anything was recorded since then that ends this credential or changes what it may. */
  isEnded: (principal: Principal, since: Date) => Promise<boolean>;
  patience?: Patience;
};

const pageRows = 1_000;
const exportsPerCredential = 4;
const readerIdleMsMax = 300_000;
/** How much the database's clock, by which revocations are dated, may be behind. */
const clocksApartMs = 2_000;

export class Exports {
  readonly #open = new Map<string, number>();

  constructor(private readonly needs: ExportsNeeds) {}

  /** Throws 429 beyond four at once of one credential. The first page is there when it resolves. */
  async open(
    principal: Principal,
    { format, filters }: { format: ExportFormat; filters: CallFilters },
  ): Promise<ReadableStream<Uint8Array>> {
    const release = this.#enter(principal.credentialId);
    try {
      const now = new Date();
      const to = filters.to !== undefined && filters.to < now ? filters.to : now;
      const asked: Asked = { principal, format, filters: { ...filters, to } };
      return await Export.begin(this.needs, asked, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  #enter(credentialId: string): () => void {
    const open = this.#open.get(credentialId) ?? 0;
    if (open >= exportsPerCredential) throw tooMany();
    this.#open.set(credentialId, open + 1);
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      const left = (this.#open.get(credentialId) ?? 1) - 1;
      if (left > 0) this.#open.set(credentialId, left);
      else this.#open.delete(credentialId);
    };
  }
}

type Asked = { principal: Principal; format: ExportFormat; filters: CallFilters };
/** `position` null: there are no more. */
type Piece = { text: string; position: Position | null };

class Export {
  readonly #encoder = new TextEncoder();
  readonly #since = new Date(Date.now() - clocksApartMs);
  readonly #stopListening: () => void;
  #isEnded = false;
  #isClosed = false;
  #idle: Timer | null = null;

  private constructor(
    private readonly needs: ExportsNeeds,
    private readonly asked: Asked,
    private readonly release: () => void,
  ) {
    this.#stopListening = needs.onRevoked((subject) => {
      this.#isEnded ||= concerns(asked.principal, subject);
    });
  }

  static async begin(
    needs: ExportsNeeds,
    asked: Asked,
    release: () => void,
  ): Promise<ReadableStream<Uint8Array>> {
    const one = new Export(needs, asked, release);
    try {
      const first = await one.#read(null);
      const head = asked.format === "csv" ? csvLine(columns.map(([name]) => name)) : "";
      return one.#stream({ ...first, text: head + first.text });
    } catch (error) {
      one.#close();
      throw error;
    }
  }

  #stream(first: Piece): ReadableStream<Uint8Array> {
    let next: Piece | null = first;
    let position = first.position;
    this.#watch(() => {});
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          this.#watch(() => controller.error(brokenOff()));
          try {
            let piece: Piece = next ?? (await this.#readOn(position));
            next = null;
            // What is rare is looked for a while at a time. Nobody asks again for a piece that brought nothing.
            while (piece.text === "" && piece.position !== null && !this.#isClosed)
              piece = await this.#readOn(piece.position);
            if (this.#isClosed) return;
            position = piece.position;
            if (piece.text !== "") controller.enqueue(this.#encoder.encode(piece.text));
            if (position !== null) return;
            this.#close();
            controller.close();
          } catch (error) {
            this.#close();
            controller.error(error);
          }
        },
        cancel: () => this.#close(),
      },
      { highWaterMark: 0 },
    );
  }

  async #readOn(position: Position | null): Promise<Piece> {
    const { principal } = this.asked;
    this.#isEnded ||= principal.expiresAt <= Date.now() || (await this.needs.isEnded(principal, this.#since));
    const piece = await this.#read(position);
    // Asked again behind the page: what was revoked while it was read is not shown any more.
    if (this.#isEnded) throw brokenOff();
    return piece;
  }

  async #read(position: Position | null): Promise<Piece> {
    const { db, patience } = this.needs;
    const { principal, filters, format } = this.asked;
    const sight = sightOf(principal);
    const asked = { sight, filters, position, order: "oldest", rowsMax: pageRows } as const;
    const { rows, next } = await searchCalls(db, asked, patience);
    const shown = await withAttempts(db, rows);
    const text = shown.map(format === "csv" ? csvRow : jsonLine).join("");
    return { text, position: next };
  }

  /** A reader that takes nothing holds nothing for long. */
  #watch(breakOff: () => void): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#close();
      breakOff();
    }, readerIdleMsMax);
  }

  #close(): void {
    this.#isClosed = true;
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#stopListening();
    this.release();
  }
}

/** Any changed membership of theirs: what they see is fixed when an export begins. */
function concerns(principal: Principal, subject: string): boolean {
  if (isEndedBy(principal, subject)) return true;
  return principal.userId !== null && subject.startsWith(`${principal.userId} `);
}

const jsonLine = (row: RequestRow): string => `${JSON.stringify(row)}\n`;
const csvRow = (row: RequestRow): string => csvLine(columns.map(([, cellOf]) => cellOf(row)));

type Column = [name: string, cellOf: (row: RequestRow) => string | number | boolean | null];

const plain = (
  name: {
    [Name in keyof RequestRow]: RequestRow[Name] extends string | number | boolean | null ? Name : never;
  }[keyof RequestRow],
): Column => [name, (row) => row[name]];
const tokens = (name: keyof RequestRow["usage"]): Column => [`${name}_tokens`, (row) => row.usage[name]];
const price = (name: keyof NonNullable<RequestRow["prices"]>): Column => [
  `${name}_usd_per_million`,
  (row) => row.prices?.[name] ?? null,
];

const columns: readonly Column[] = [
  ...(["id", "state", "at", "endpoint", "requested_model", "provider", "model"] as const).map(plain),
  ...(["project_id", "session_id", "iteration_id", "task_id", "principal"] as const).map(plain),
  ...(["client_id", "key_id"] as const).map(plain),
  ["tags", ({ tags }) => tags && tagList(tags)],
  ...(["stream", "status", "delivery"] as const).map(plain),
  ...(["input", "cached_read", "cache_write", "output", "reasoning", "audio"] as const).map(tokens),
  ...(["cost_usd", "charged_usd"] as const).map(plain),
  ...(["input", "cached_read", "cache_write", "output"] as const).map(price),
  ["attempts", ({ attempts }) => attempts.length],
  ...(["first_token_ms", "duration_ms", "trace_id"] as const).map(plain),
];

/** As callers send them. */
const tagList = (tags: Record<string, string>): string =>
  Object.entries(tags)
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");

const brokenOff = (): Error => new Error("the export was broken off");

const tooMany = (): Failure =>
  new Failure(
    "rate",
    "too_many_exports",
    `This credential has ${exportsPerCredential} exports under way already. Let one end first.`,
    { retryAfterSeconds: 10 },
  );
