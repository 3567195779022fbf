/**
 * `kill -9` while two hundred files come, are completed, deleted and purged: nobody ever sees half an object, what was
 * confirmed stays, and a purge that was broken off is finished by the next. Moments and sizes come from a seed that is
 * printed.
 */
import { join } from "node:path";
import { binary } from "../build.ts";
import { openTables, type Sql } from "../database.ts";
import { type Gateway, type Surroundings, serve } from "../gateway.ts";
import { countOf, objectsOf, partialsOf } from "./artifacts-objects.ts";
import { type Artifact, bytesOf, Shelf, type Store, send, sha256Of } from "./artifacts-shelf.ts";
import { output } from "./caller.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";

const uploads = 200;
const bytesMax = 200_000;

export const crashConfig = `limits: { control: { requests_per_minute: null } }\n`;

type Options = { rounds: number; seed: number };

export async function killed(
  check: Check,
  surroundings: Surroundings,
  store: Store,
  { rounds, seed }: Options,
) {
  let gateway: Gateway = await serve([], surroundings);
  try {
    const chaos = new Chaos(surroundings, store, seed, await Shelf.open(gateway, surroundings));
    await check(
      `no half object is seen after ${rounds} × kill -9 (${store.name}, seed ${seed})`,
      async () => {
        for (let round = 1; round <= rounds; round++) {
          const { port } = gateway;
          await chaos.strike(gateway);
          const startedAt = Date.now();
          // Tokens are for one public URL, and that names the port.
          gateway = await serve([], surroundings, { port });
          await chaos.inspect(gateway, startedAt);
        }
        return chaos.words();
      },
    );
    await check(`the next purge finishes what was begun (${store.name})`, () => chaos.finish());
  } finally {
    await gateway.stop();
  }
}

class Chaos {
  /** What each artifact must be when it is complete. */
  readonly #hashes = new Map<string, string>();
  /** Told to be complete, and nobody has asked for their end since. */
  readonly #confirmed = new Set<string>();
  /** Made to expire, and due for a purge. */
  readonly #aged = new Set<string>();
  readonly #counts = { announced: 0, confirmed: 0, deleted: 0, whole: 0, swept: 0 };
  #random: () => number;

  constructor(
    private readonly surroundings: Surroundings,
    private readonly store: Store,
    seed: number,
    private shelf: Shelf,
  ) {
    this.#random = randomOf(seed);
  }

  words(): string {
    const { announced, confirmed, deleted, whole } = this.#counts;
    return `${announced} announced, ${confirmed} confirmed, ${deleted} deleted; ${whole} downloads were whole`;
  }

  /** All at once, and at a random moment nothing runs any more. */
  async strike(gateway: Gateway): Promise<void> {
    this.shelf = this.shelf.at(gateway);
    await this.#withTables((sql) => this.#age(sql));
    const asked = Array.from({ length: uploads }, () => this.#upload().catch(() => {}));
    const ended = [...this.#confirmed].slice(0, 40).map((id) => this.#delete(id).catch(() => {}));
    const purges = [this.#purge(), this.#purge()];
    const until = this.#counts.confirmed + 10 + Math.floor(this.#random() * 120);
    const enough = () => Promise.resolve(this.#counts.confirmed >= until);
    await eventually(enough, (is) => is, 10_000);
    await Bun.sleep(100 * this.#random());
    for (const purge of purges) purge.kill("SIGKILL");
    await gateway.stop("SIGKILL");
    await Promise.all([...asked, ...ended, ...purges.map(({ exited }) => exited)]);
  }

  async inspect(gateway: Gateway, startedAt: number): Promise<void> {
    this.shelf = this.shelf.at(gateway);
    const old = partialsOf(this.#dataDir).filter(({ modifiedAt }) => modifiedAt < startedAt);
    expectEqual(old, [], "files of uploads that a dead gateway had under way");
    const listed = await this.#listed();
    for (const { id, status, sha256 } of listed) {
      if (this.#confirmed.has(id)) expectEqual(status, "complete", `the status of ${id}, once confirmed`);
      if (status !== "complete") continue;
      expectEqual(sha256, this.#hashes.get(id) ?? sha256, `what ${id} says of itself`);
      // No download is given of what has expired, and a purge that was killed may have left it as it was.
      if (this.#aged.has(id)) continue;
      expectEqual(sha256Of(await this.shelf.fetched(id)), sha256, `the bytes of ${id}`);
      this.#counts.whole++;
    }
    await this.#withTables((sql) => this.#compare(sql));
  }

  /** What is due goes in two purges, the first of them killed; and nothing else is there afterwards. */
  async finish(): Promise<string> {
    return this.#withTables(async (sql) => {
      await this.#age(sql);
      const due = await this.#due(sql);
      const objectsBefore = await this.#countObjects();
      const broken = this.#purge();
      // Between the first object's end and the mark on its row.
      const hasBegun = async () => broken.exitCode !== null || (await this.#countObjects()) < objectsBefore;
      await eventually(hasBegun, (is) => is, 10_000, 2);
      broken.kill("SIGKILL");
      await broken.exited;
      const halfway = await this.#due(sql);
      const removed = objectsBefore - (await this.#countObjects());
      await output(["purge"], this.surroundings);
      expectEqual(await this.#due(sql), 0, "rows that are due and not purged");
      await this.#compare(sql);
      const objects = await objectsOf(this.store, this.#dataDir);
      const rows = await sql<Row[]>`select key, status, size_bytes, sha256 from artifacts`;
      for (const { key, status } of rows) {
        if (status === "complete") expect(objects.has(key), `${key} is complete and has no object`);
        if (status === "purged") expect(!objects.has(key), `${key} is purged and has an object`);
      }
      return `${due} rows were due, ${halfway} when the first purge was killed, ${removed} objects later; ${objects.size} objects are left, each with its row`;
    });
  }

  async #upload(): Promise<void> {
    const seed = Math.floor(this.#random() * 2 ** 31);
    const size = 1 + Math.floor(this.#random() * bytesMax);
    const [goes, wait] = [this.#random() < 0.25, this.#random() * 1_000];
    await Bun.sleep(wait);
    const bytes = bytesOf(seed, size);
    const { artifact, upload } = await this.shelf.announced({ name: `${seed}.bin`, type, bytes });
    this.#counts.announced++;
    this.#hashes.set(artifact.id, sha256Of(bytes));
    await send(upload, bytes);
    const { status } = await this.shelf.complete(artifact.id);
    if (status !== 200) return;
    this.#counts.confirmed++;
    this.#confirmed.add(artifact.id);
    if (goes) await this.#delete(artifact.id);
  }

  async #delete(id: string): Promise<void> {
    this.#confirmed.delete(id);
    const { status } = await this.shelf.ask("DELETE", `/artifacts/${id}`);
    if (status === 200) this.#counts.deleted++;
  }

  #purge(): Bun.Subprocess {
    const { cwd, env, program = binary } = this.surroundings;
    return Bun.spawn([program, "purge"], {
      cwd,
      env: { PATH: process.env.PATH ?? "", HOME: cwd, ...env },
      stdio: ["ignore", "ignore", "ignore"],
    });
  }

  /** Makes work for the purges: what was deleted, and some of what is complete. */
  async #age(sql: Sql): Promise<void> {
    await sql`update artifacts set upload_until = now() - interval '2 hours' where status in ('rejected', 'deleted')`;
    const aged = await sql<{ id: string }[]>`
      update artifacts set expires_at = now() - interval '1 second' where id in
        (select id from artifacts where status = 'complete' order by random() limit 100) returning id`;
    for (const { id } of aged) {
      this.#confirmed.delete(id);
      this.#aged.add(id);
    }
  }

  async #due(sql: Sql): Promise<number> {
    const [{ due } = { due: 0 }] = await sql<{ due: number }[]>`
      select count(*)::int as due from artifacts
      where status in ('rejected', 'deleted') or (status = 'complete' and expires_at < now())`;
    return due;
  }

  /** Objects and rows, rows and the accounts of room. */
  async #compare(sql: Sql): Promise<void> {
    const rows = await sql<Row[]>`select key, status, size_bytes::int, sha256 from artifacts`;
    const byKey = new Map(rows.map((row) => [row.key, row]));
    for (const [key, { sizeBytes, sha256 }] of await objectsOf(this.store, this.#dataDir)) {
      const row = byKey.get(key);
      expect(row !== undefined, `${key} has no row`);
      expectEqual([sizeBytes, sha256], [row.size_bytes, row.sha256], `the object ${key}`);
    }
    const [taken] = await sql`
      select coalesce(sum(size_bytes), 0)::int as bytes, count(*)::int as objects from artifacts where status <> 'purged'`;
    const [room] = await sql`
      select coalesce(sum(size_bytes), 0)::int as bytes, coalesce(sum(objects), 0)::int as objects from artifact_room`;
    expectEqual({ ...room }, { ...taken }, "the room that is taken, against the rows");
  }

  #countObjects(): Promise<number> {
    return countOf(this.store, this.#dataDir);
  }

  async #listed(): Promise<Artifact[]> {
    const all: Artifact[] = [];
    for (let cursor = ""; ; ) {
      const from = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const path = `/sessions/${this.shelf.sessionId}/artifacts?limit=200${from}`;
      const { status, body } = await this.shelf.ask<{ data: Artifact[]; next_cursor: string | null }>(
        "GET",
        path,
      );
      expectEqual(status, 200, `the list (${JSON.stringify(body)})`);
      all.push(...body.data);
      if (body.next_cursor === null) return all;
      cursor = body.next_cursor;
    }
  }

  async #withTables<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    const sql = await openTables(this.#dataDir);
    try {
      return await work(sql);
    } finally {
      await sql.end();
    }
  }

  get #dataDir(): string {
    return join(this.surroundings.cwd, "specgate-data");
  }
}

type Row = { key: string; status: string; size_bytes: number; sha256: string };

const type = "application/octet-stream";

/** Mulberry32: small, and the same again for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
