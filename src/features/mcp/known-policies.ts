/**
 * Policies as this instance knows them, so that a decision asks no database.
 *
 * What is known is forgotten at once when the log of revocations says that it changed, read again each minute besides while
 * it is in use, and believed for 15 minutes at most: while the database is away, what was read then stays in force, and
 * whoever's policies were not is refused. That there is none is knowledge of the same kind.
 */
import type { Clock } from "../../platform/clock.ts";
import { asFailure, Failure } from "../../platform/failure.ts";
import { type CompiledPolicy, compilePolicy, type StoredPolicy } from "./rules.ts";

export type KnownPoliciesNeeds = {
  /** The newest revision of each that there is. */
  read: (principals: readonly string[]) => Promise<StoredPolicy[]>;
  clock: Clock;
};

type Entry = {
  readonly row: StoredPolicy | undefined;
  readonly policy: CompiledPolicy | null;
  /** Milliseconds since the epoch. */
  verifiedAt: number;
  recheckAt: number;
};

export type Policies = readonly CompiledPolicy[];

const trustedMs = 15 * 60_000;
const recheckMs = 60_000;
const retryMs = 5_000;
const readsMax = 3;
const entriesMax = 20_000;

/** Of a row in the log of revocations; no credential is called so, and so it ends none. */
const subjectStart = "policy:";
export const policySubject = (principal: string): string => subjectStart + principal;

export class KnownPolicies {
  readonly #needs: KnownPoliciesNeeds;
  readonly #entries = new Map<string, Entry>();
  readonly #pending = new Map<string, Promise<Policies>>();
  /** Goes up whenever something is forgotten: what was asked for before that may be older than it. */
  #generation = 0;

  constructor(needs: KnownPoliciesNeeds) {
    this.#needs = needs;
  }

  /** Those that there are; undefined when that is not known here. */
  find(principals: readonly string[]): Policies | undefined {
    const now = this.#needs.clock.now();
    const policies: CompiledPolicy[] = [];
    let isDue = false;
    for (const principal of principals) {
      const entry = this.#entries.get(principal);
      if (entry === undefined || now - entry.verifiedAt >= trustedMs) return undefined;
      isDue ||= now >= entry.recheckAt;
      if (entry.policy !== null) policies.push(entry.policy);
    }
    if (isDue) this.#recheck(principals, now);
    return policies;
  }

  /** Throws 503 when the database cannot say. A thousand first questions about the same are one. */
  read(principals: readonly string[]): Promise<Policies> {
    const key = principals.join("\n");
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending;
    const asked = this.#readSettled(principals).finally(() => {
      if (this.#pending.get(key) === asked) this.#pending.delete(key);
    });
    this.#pending.set(key, asked);
    return asked;
  }

  /** Takes every subject of the log; those of others mean nothing here. */
  forget(subject: string): void {
    if (!subject.startsWith(subjectStart)) return;
    this.#generation++;
    this.#entries.delete(subject.slice(subjectStart.length));
    // Whoever asks from here on must not be given an answer that was begun before.
    this.#pending.clear();
  }

  async #readSettled(principals: readonly string[]): Promise<Policies> {
    for (let time = 1; ; time++) {
      const generation = this.#generation;
      const entries = await this.#ask(principals);
      const isSettled = generation === this.#generation;
      if (isSettled) for (const [principal, entry] of entries) this.#keep(principal, entry);
      if (isSettled || time === readsMax) return [...entries.values()].flatMap(({ policy }) => policy ?? []);
    }
  }

  async #ask(principals: readonly string[]): Promise<Map<string, Entry>> {
    const verifiedAt = this.#needs.clock.now();
    const rows = await this.#needs.read(principals).catch((error: unknown) => {
      throw asFailure(error).kind === "unavailable" ? unavailable(error) : error;
    });
    const found = new Map(rows.map((row) => [row.principal, row]));
    const recheckAt = verifiedAt + recheckMs;
    return new Map(
      principals.map((principal) => {
        const row = found.get(principal);
        const known = this.#entries.get(principal);
        // The same object for as long as nothing changed: what was worked out from it hangs on it.
        const isSame = known !== undefined && Bun.deepEquals(known.row, row);
        const policy = isSame ? known.policy : row === undefined ? null : compilePolicy(row);
        return [principal, { row, policy, verifiedAt, recheckAt }];
      }),
    );
  }

  #recheck(principals: readonly string[], now: number): void {
    for (const principal of principals) {
      const entry = this.#entries.get(principal);
      if (entry !== undefined) entry.recheckAt = now + retryMs;
    }
    // What was verified stays in force; when that has been too long ago, `find` says so.
    this.read(principals).catch(() => undefined);
  }

  #keep(principal: string, entry: Entry): void {
    this.#entries.delete(principal);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < entriesMax) break;
      this.#entries.delete(oldest);
    }
    this.#entries.set(principal, entry);
  }
}

const unavailable = (cause: unknown): Failure =>
  new Failure(
    "unavailable",
    "auth_unavailable",
    "What this credential may do cannot be found out right now.",
    {
      cause,
    },
  );
