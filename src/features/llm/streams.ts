/**
 * How many streams may be open at once: of one credential, of one project, and in this process.
 *
 * Each place taken is given back once. Where instances share a Redis they also share the places of credentials and
 * projects, as leases that are renewed while their streams last: those of an instance that was killed come back within a
 * minute. With Redis away each instance counts its own streams, and puts them back when Redis is there again.
 */
import type { LimitsConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { SharedRedis } from "../../platform/redis.ts";

/** `credentialId`: the key, the sign-in or the token that holds it. */
export type StreamPlace = { readonly credentialId: string; readonly projectId: string | null };

const leaseMs = 45_000;
const renewMs = 15_000;
const renewedAtOnce = 200;

export class Streams {
  readonly #limits: () => LimitsConfig["llm"];
  readonly #redis: SharedRedis | null;
  /** By credential and by project; their ids never collide. */
  readonly #open = new Map<string, number>();
  #openInAll = 0;
  /** The places of this process, by lease: the keys they stand under in Redis. */
  readonly #leases = new Map<string, string[]>();
  readonly #timer: ReturnType<typeof setInterval> | undefined;

  constructor(limits: () => LimitsConfig["llm"], redis: SharedRedis | null = null) {
    this.#limits = limits;
    this.#redis = redis;
    if (redis === null) return;
    redis.onBack(() => void this.#renew());
    this.#timer = setInterval(() => void this.#renew(), renewMs);
    this.#timer.unref?.();
  }

  /** In this process. */
  open(): number {
    return this.#openInAll;
  }

  /** Takes a place and returns what gives it back, to be called once. Throws 429 or 503. No promise without Redis. */
  enter(place: StreamPlace): (() => void) | Promise<() => void> {
    const { streamsPerToken, streamsPerProject, streamsMax } = this.#limits();
    const { credentialId, projectId } = place;
    if (this.#openOf(credentialId) >= streamsPerToken) throw tooMany("This credential", streamsPerToken);
    if (projectId !== null && streamsPerProject !== null && this.#openOf(projectId) >= streamsPerProject)
      throw tooMany("This project", streamsPerProject);
    if (this.#openInAll >= streamsMax) throw full();
    this.#count(place, 1);
    const leave = () => this.#count(place, -1);
    return this.#redis === null ? leave : this.#lease(this.#redis, place, leave);
  }

  /** Renews nothing any more. */
  close(): void {
    clearInterval(this.#timer);
  }

  #lease(redis: SharedRedis, { credentialId, projectId }: StreamPlace, leave: () => void) {
    const lease = crypto.randomUUID();
    const keys = [keyOf(credentialId), ...(projectId === null ? [] : [keyOf(projectId)])];
    const giveBack = () => {
      leave();
      this.#leases.delete(lease);
      void redis.ask((client) => client.eval(leaveScript, keys.length, ...keys, lease));
    };
    const { streamsPerToken, streamsPerProject } = this.#limits();
    if (!redis.isUp()) {
      this.#leases.set(lease, keys);
      return giveBack;
    }
    const most = [streamsPerToken, streamsPerProject ?? Number.MAX_SAFE_INTEGER].slice(0, keys.length);
    return redis
      .ask((client) => client.eval(enterScript, keys.length, ...keys, leaseMs, lease, ...most))
      .then((answer) => {
        if (answer === 1 || answer === 2) {
          leave();
          throw answer === 1
            ? tooMany("This credential", streamsPerToken)
            : tooMany("This project", streamsPerProject ?? 0);
        }
        this.#leases.set(lease, keys);
        return giveBack;
      });
  }

  async #renew(): Promise<void> {
    const all = [...this.#leases];
    for (let first = 0; first < all.length; first += renewedAtOnce) {
      const part = all.slice(first, first + renewedAtOnce).filter(([lease]) => this.#leases.has(lease));
      const keys = part.flatMap(([, keys]) => keys);
      const leases = part.flatMap(([lease, keys]) => keys.map(() => lease));
      if (keys.length === 0) continue;
      await this.#redis?.ask((client) => client.eval(renewScript, keys.length, ...keys, leaseMs, ...leases));
    }
  }

  #openOf(id: string): number {
    return this.#open.get(id) ?? 0;
  }

  #count({ credentialId, projectId }: StreamPlace, more: 1 | -1): void {
    this.#openInAll += more;
    for (const id of projectId === null ? [credentialId] : [credentialId, projectId]) {
      const open = this.#openOf(id) + more;
      if (open === 0) this.#open.delete(id);
      else this.#open.set(id, open);
    }
  }
}

const keyOf = (id: string): string => `specgate:streams:${id}`;

/** By Redis' own clock: those of instances differ. */
const now = `local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)`;

/** Takes a place under every key or none; 0, or the number of the key that is full. */
const enterScript = `${now}
for i = 1, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[2 + i]) then return i end
end
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[i], ARGV[1])
end
return 0`;

const leaveScript = `for i = 1, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end`;

const renewScript = `${now}
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + ARGV[1], ARGV[1 + i])
  redis.call('PEXPIRE', KEYS[i], ARGV[1])
end`;

const tooMany = (who: string, most: number): Failure =>
  new Failure("rate", "rate_limit_exceeded", `${who} may hold ${most} streams open at once.`, {
    retryAfterSeconds: 1,
  });

const full = (): Failure =>
  new Failure("unavailable", "unavailable", "The gateway holds as many streams open as it may. Try again.", {
    retryAfterSeconds: 1,
  });
