/**
 * The Redis (or Valkey) that instances share, for what may be lost: counts of a minute and leases of streams.
 *
 * Nobody waits for it longer than 100 ms. When it does not answer it is left alone and whoever asks goes on in process.
 * It is tried each second, asked for or not; the log says once that it is away and once that it is back. No request fails
 * for it.
 */
import type { Redis } from "ioredis";
import type { Log } from "./log.ts";
import type { Secret } from "./secret.ts";

export type SharedRedis = {
  isUp(): boolean;
  /** What it answered, or undefined when it is away or did not answer in time. Never rejects. */
  ask<T>(work: (client: Redis) => Promise<T>): Promise<T | undefined>;
  /** Called each time it is there again, when it may have forgotten everything. */
  onBack(listener: () => void): void;
  /** For limiters, which keep it; to be used within `ask` alone. */
  readonly client: Redis;
  warnings(): string[];
  close(): void;
};

const answerMsMax = 100;
const tryMs = 1_000;
/** A connection that is silent for so long, though it was asked, is made anew. */
const silenceMsMax = 5_000;
const startMsMax = 1_000;

/** Waits a second for it at most: a gateway starts without it, too. */
export async function openRedis(url: Secret, log: Log): Promise<SharedRedis> {
  const client = await createClient(url);
  const shared = new Shared(client, log);
  await shared.start();
  return shared;
}

/** Loaded only where it is used. Nothing is queued for a connection that is not there. */
export async function createClient(url: Secret): Promise<Redis> {
  const { Redis } = await import("ioredis");
  return new Redis(url.reveal(), {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 2_000,
    socketTimeout: silenceMsMax,
    retryStrategy: (tries) => Math.min(tries * 100, 1_000),
    connectionName: "specgate",
  });
}

class Shared implements SharedRedis {
  readonly client: Redis;
  readonly #log: Log;
  readonly #listeners: (() => void)[] = [];
  #isUp = false;
  /** Whether the log has said that it is away. */
  #isMissed = false;
  #isClosed = false;
  #trying: Promise<void> | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(client: Redis, log: Log) {
    this.client = client;
    this.#log = log;
    // Without a listener ioredis writes to the console. What it says may repeat the URL, so only the kind is kept.
    client.on("error", (error: Error) => log.debug("redis connection", { code: codeOf(error) }));
    client.on("close", () => this.#doubt());
    client.on("ready", () => void this.#try());
  }

  async start(): Promise<void> {
    const connected = this.client.connect().catch(() => undefined);
    await Promise.race([connected, Bun.sleep(startMsMax)]);
    await this.#try();
    this.#timer = setInterval(() => void this.#try(), tryMs);
    this.#timer.unref?.();
  }

  isUp(): boolean {
    return this.#isUp;
  }

  async ask<T>(work: (client: Redis) => Promise<T>): Promise<T | undefined> {
    if (!this.#isUp) return undefined;
    const answer = await answerOf(() => work(this.client));
    if ("value" in answer) return answer.value;
    this.#doubt();
    return undefined;
  }

  onBack(listener: () => void): void {
    this.#listeners.push(listener);
  }

  warnings(): string[] {
    return this.#isMissed ? ["Redis does not answer: each instance counts limits for itself"] : [];
  }

  close(): void {
    clearInterval(this.#timer);
    this.#isUp = false;
    this.#isClosed = true;
    this.client.disconnect();
  }

  /** Nobody asks it until it has answered again, which for a moment's stall is at once. */
  #doubt(): void {
    if (!this.#isUp || this.#isClosed) return;
    this.#isUp = false;
    void this.#try();
  }

  #try(): Promise<void> {
    this.#trying ??= this.#probe().finally(() => {
      this.#trying = null;
    });
    return this.#trying;
  }

  /** Writes, because one that only reads is of no use here. */
  async #probe(): Promise<void> {
    const write = () => answerOf(() => this.client.set("specgate:probe", "1", "EX", 60));
    let answer = await write();
    if ("error" in answer && this.#isUp) {
      this.#isUp = false;
      answer = await write();
    }
    if (this.#isClosed) return;
    if ("error" in answer) this.#miss(answer.error);
    else if (!this.#isUp) this.#welcome();
  }

  #welcome(): void {
    this.#isUp = true;
    if (this.#isMissed) this.#log.info("Redis is back: limits are shared again");
    this.#isMissed = false;
    for (const listener of this.#listeners) listener();
  }

  #miss(error: unknown): void {
    this.#isUp = false;
    if (this.#isMissed) return;
    this.#isMissed = true;
    this.#log.warn("Redis does not answer: each instance counts limits for itself", { code: codeOf(error) });
  }
}

type Answer<T> = { value: T } | { error: unknown };

/** An answer that comes too late is nobody's. */
function answerOf<T>(work: () => Promise<T>): Promise<Answer<T>> {
  return new Promise((resolve) => {
    const late = () => resolve({ error: "no answer in time" });
    // A loop that stood still has not read yet what came in time.
    let timer = setTimeout(() => {
      timer = setTimeout(late, 1);
    }, answerMsMax);
    const settle = (answer: Answer<T>) => {
      clearTimeout(timer);
      resolve(answer);
    };
    try {
      work().then(
        (value) => settle({ value }),
        (error: unknown) => settle({ error }),
      );
    } catch (error) {
      settle({ error });
    }
  });
}

/** `ECONNREFUSED`, or the first word of what Redis said (`NOAUTH`, `READONLY`): neither holds a secret. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ("code" in error && typeof error.code === "string") return error.code;
  return /^[A-Z]{3,20}\b/.exec(error.message)?.[0] ?? error.name;
}
