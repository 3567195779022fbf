/** One message of the app's, as long as something is owed for it. */
import type { Envelope } from "./connect-envelope.ts";

const greetings = new Set(["initialize", "notifications/initialized", "server/discover", "ping"]);

export class Errand {
  readonly opened: Envelope;
  readonly #abort = new AbortController();
  readonly #over = Promise.withResolvers<void>();
  /** Whether the answer comes from this program itself. */
  isLocal = false;

  constructor(opened: Envelope) {
    this.opened = opened;
  }

  /** A request that is answered when somebody ends it, and not before. */
  get isStream(): boolean {
    return this.opened.method === "subscriptions/listen";
  }

  /** What an app asks before anything else: if it fails, the app gives the server up until somebody restarts it. */
  get isGreeting(): boolean {
    return greetings.has(this.opened.method ?? "");
  }

  get isOver(): boolean {
    return this.#abort.signal.aborted;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** Nothing more is owed, read or said. */
  end(): void {
    this.#abort.abort();
    this.#over.resolve();
  }
}
