/**
 * What providers keep for whom: an id that a provider gave out is honoured only for the project, or outside of projects
 * the principal, that got it, and only at that provider.
 *
 * The rows are written by the merge of the ledger, from the END of the call that was given the id, and hold marks of ids;
 * this room only reads them, and remembers what went through this process, since a caller may follow up before its row is
 * there, and since an answer may have more ids than an END has room for.
 */
import { and, eq, inArray } from "drizzle-orm";
import type { Db } from "../../db/database.ts";
import { providerStates } from "../../db/schema.ts";
import { markOf } from "./kept-marks.ts";
import { isKeptId } from "./wire.ts";

const rememberedMax = 20_000;
/** A row comes with the drain, normally within a second of END; another instance's call may ask before that. */
const laterMs = [300, 1_000] as const;
/** More than any call has reason to name. */
const idsMax = 1_000;

export type StatesNeeds = { db: Db; sleep?: (milliseconds: number) => Promise<void> };

export class States {
  readonly #db: Db;
  readonly #sleep: (milliseconds: number) => Promise<void>;
  /** Providers by owner and id, the latest last. */
  readonly #remembered = new Map<string, Set<string>>();

  constructor({ db, sleep = Bun.sleep }: StatesNeeds) {
    this.#db = db;
    this.#sleep = sleep;
  }

  /** The call that was answered with these ids is over. */
  remember(provider: string, ids: readonly string[], owner: string): void {
    for (const id of ids) {
      const key = keyOf(owner, id);
      const providers = this.#remembered.get(key) ?? new Set();
      providers.add(provider);
      this.#remembered.delete(key);
      this.#remembered.set(key, providers);
    }
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= rememberedMax) break;
      this.#remembered.delete(oldest);
    }
  }

  /** Providers that gave all of these ids to this owner; none for an id that nobody was given. */
  async findProviders(ids: readonly string[], owner: string): Promise<ReadonlySet<string>> {
    const wanted = [...new Set(ids)];
    if (wanted.length === 0 || wanted.length > idsMax || !wanted.every(isKeptId)) return new Set();
    const remembered = allOf(wanted, (id) => this.#remembered.get(keyOf(owner, id)));
    if (remembered.size > 0) return remembered;
    for (const milliseconds of [0, ...laterMs]) {
      if (milliseconds > 0) await this.#sleep(milliseconds);
      const found = await this.#recorded(wanted, owner);
      if (found.size > 0) return found;
    }
    return new Set();
  }

  /** Rows and memory together: of two ids in one call, the one may be old and the other a moment young. */
  async #recorded(ids: readonly string[], owner: string): Promise<ReadonlySet<string>> {
    const marks = new Map(ids.map((id) => [id, markOf(id)]));
    const rows = await this.#db
      .select({ id: providerStates.id, provider: providerStates.provider })
      .from(providerStates)
      .where(and(inArray(providerStates.id, [...marks.values()]), eq(providerStates.owner, owner)));
    const providers = Map.groupBy(rows, (row) => row.id);
    return allOf(ids, (id) => [
      ...(providers.get(marks.get(id) ?? "") ?? []).map((row) => row.provider),
      ...(this.#remembered.get(keyOf(owner, id)) ?? []),
    ]);
  }
}

const keyOf = (owner: string, id: string): string => `${owner}\n${id}`;

/** The providers that stand at each of the ids. */
function allOf(
  ids: readonly string[],
  providersOf: (id: string) => Iterable<string> | undefined,
): ReadonlySet<string> {
  const [first, ...rest] = ids.map((id) => new Set(providersOf(id) ?? []));
  if (first === undefined) return new Set();
  return new Set([...first].filter((provider) => rest.every((others) => others.has(provider))));
}
