/**
 * What a command writes to its error output, as lines of the log: cut, counted, and without its secrets.
 */
import type { Log } from "../../platform/log.ts";
import { LineSplitter } from "./text-lines.ts";

export type ErrorOutputNeeds = { alias: string; redact: (text: string) => string; log: Log };

const lineBytesMax = 2_000;
/** In ten seconds; the rest is counted. */
const linesMax = 100;
const windowMs = 10_000;

export class ErrorOutput {
  readonly #needs: ErrorOutputNeeds;
  readonly #lines: LineSplitter;
  #windowAt = 0;
  #lineCount = 0;

  constructor(needs: ErrorOutputNeeds) {
    this.#needs = needs;
    this.#lines = new LineSplitter(() => lineBytesMax, {
      line: (bytes) => this.#write(Buffer.from(bytes).toString("utf8")),
      // Cut in the middle of a secret it would no longer be found.
      long: ({ tail, bytes }) => tail !== null && this.#write(`[a line of ${bytes} bytes]`),
    });
  }

  push(chunk: Uint8Array): void {
    this.#lines.push(chunk);
  }

  #write(line: string): void {
    const { alias, redact, log } = this.#needs;
    const now = performance.now();
    if (now - this.#windowAt > windowMs) {
      if (this.#lineCount > linesMax)
        log.debug("an upstream server wrote more than is logged", {
          upstream: alias,
          lines: this.#lineCount - linesMax,
        });
      this.#windowAt = now;
      this.#lineCount = 0;
    }
    if (++this.#lineCount > linesMax) return;
    // Control characters would speak to the terminal of whoever reads the log.
    log.debug("an upstream server wrote", { upstream: alias, line: redact(line).replace(/\p{Cc}/gu, " ") });
  }
}
