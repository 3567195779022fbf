/**
 * Credentials that were checked a short while ago, so that the hot path asks neither a signature nor the database.
 *
 * Bounded: when full, the oldest entry that was not used since it was last looked at makes room. Only credentials that
 * stood are kept, so nobody can fill it with garbage. Every drop raises `generation`: a look-up that saw another
 * generation at its start must not be believed.
 */
import type { Plane, Principal } from "../../platform/principal.ts";

export type CachedPrincipal = {
  principal: Principal;
  readonly planes: ReadonlySet<Plane>;
  /** Milliseconds since the epoch. */
  verifiedAt: number;
  /** When to ask the database again, in the background. */
  recheckAt: number;
  used: boolean;
};

export class PrincipalCache {
  readonly #entries = new Map<string, CachedPrincipal>();
  readonly #bySubject = new Map<string, Set<string>>();
  readonly #entriesMax: number;
  #generation = 0;

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get generation(): number {
    return this.#generation;
  }

  get size(): number {
    return this.#entries.size;
  }

  find(bearer: string): CachedPrincipal | undefined {
    const entry = this.#entries.get(bearer);
    if (entry !== undefined) entry.used = true;
    return entry;
  }

  put(bearer: string, entry: CachedPrincipal): void {
    this.drop(bearer);
    while (this.#entries.size >= this.#entriesMax) this.#makeRoom();
    this.#entries.set(bearer, entry);
    for (const subject of entry.principal.endsWith) {
      const bearers = this.#bySubject.get(subject) ?? new Set();
      this.#bySubject.set(subject, bearers.add(bearer));
    }
  }

  drop(bearer: string): void {
    const entry = this.#entries.get(bearer);
    if (entry === undefined) return;
    this.#entries.delete(bearer);
    for (const subject of entry.principal.endsWith) {
      const bearers = this.#bySubject.get(subject);
      bearers?.delete(bearer);
      if (bearers?.size === 0) this.#bySubject.delete(subject);
    }
  }

  /** Everything that ends with this user, client, key, sign-in or token. */
  dropSubject(subject: string): void {
    this.#generation++;
    for (const bearer of [...(this.#bySubject.get(subject) ?? [])]) this.drop(bearer);
  }

  dropAll(): void {
    this.#generation++;
    this.#entries.clear();
    this.#bySubject.clear();
  }

  #makeRoom(): void {
    for (const [bearer, entry] of this.#entries) {
      if (!entry.used) {
        this.drop(bearer);
        return;
      }
      // A second chance: used since the last round, so it goes to the end of the line.
      entry.used = false;
      this.#entries.delete(bearer);
      this.#entries.set(bearer, entry);
    }
  }
}
