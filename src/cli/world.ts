/**
 * What a command may touch: handed in by main.ts, so that a test can be the terminal. Data goes to `stdout`, words to
 * `stderr`, and the exit code says ok, failed or misused.
 */
import type { Host } from "../platform/host.ts";
import type { McpExtras } from "../platform/mcp-sources.ts";

export type World = {
  readonly env: Record<string, string | undefined>;
  readonly cwd: string;
  /** Bytes are written as they are. */
  stdout(text: string | Uint8Array): void;
  stderr(text: string): void;
  /** All of standard input, as text. */
  stdin(): Promise<string>;
  /** Standard input as it comes, instead of `stdin`. */
  stdinBytes(): AsyncIterable<Uint8Array>;
  /** Whether a person sees `stderr` as it is written. */
  readonly isTerminal: boolean;
  readonly osUser: string;
  /** Where the person's own files are. */
  readonly homeDir: string;
  readonly host: Host;
  readonly version: string;
  /** How many outgoing requests this process may have under way. */
  readonly fetchesMax: number;
  residentBytes(): number;
  /** Shows a page to the person; false where there is no desktop to show it on. */
  openBrowser(url: string): boolean;
  sleep(ms: number): Promise<void>;
  /** Hears SIGTERM, SIGINT and SIGHUP until the function it returns is called. */
  onSignal(listener: (signal: string) => void): () => void;
  /** What `serve` offers MCP clients beside the gateway's own; the product has none. */
  readonly mcpExtras?: McpExtras;
};

/** 0 ok, 1 failed, 2 misused. */
export type ExitCode = 0 | 1 | 2;

/** Ends a command whose words are already said. */
export class Ended extends Error {
  constructor(readonly code: ExitCode) {
    super(`ended with ${code}`);
  }
}

/** The command was given wrongly: exit 2, one line for each mistake. */
export class Misuse extends Error {
  constructor(readonly mistakes: readonly string[]) {
    super(mistakes.join("\n"));
  }
}
