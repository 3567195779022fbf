/**
 * One event, one line. JSON for machines, a plain line for a terminal.
 *
 * Secrets are wrapped where they enter (config.ts) and print as `[redacted]` wherever they end up; request bodies,
 * query strings and credentials are never handed to this file.
 */
import pino from "pino";
import type { Call } from "./call.ts";
import type { Failure } from "./failure.ts";

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";
export type Fields = Record<string, unknown>;

export type Log = {
  debug(event: string, fields?: Fields): void;
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
  /** A request that ended in a failure of ours or of something behind us, with its private cause. */
  failure(failure: Failure, call: Call): void;
};

export function createLog(options: { level: LogLevel; format: "json" | "pretty"; fd?: number }): Log {
  // No transport: pino's worker threads do not survive `bun build --compile`.
  const target = pino.destination({ dest: options.fd ?? 2, sync: true });
  const sink = options.format === "pretty" ? { write: (line: string) => target.write(pretty(line)) } : target;
  const logger = pino({ level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, sink);
  const at =
    (level: "debug" | "info" | "warn" | "error") =>
    (event: string, fields: Fields = {}) =>
      logger[level](
        { ...fields, ...(fields.error === undefined ? {} : { error: reason(fields.error) }) },
        event,
      );
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    failure: (failure, call) =>
      logger.error(
        {
          request_id: call.id,
          code: failure.code,
          path: call.url.pathname,
          error: reason(failure.cause ?? failure),
        },
        "request failed",
      ),
  };
}

/** For tests, and for commands whose words are their output. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {}, failure() {} };

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error.cause === undefined ? "" : ` (${reason(error.cause)})`;
  return error.stack ? `${error.stack}${inner}` : `${error.message}${inner}`;
}

const names: Record<number, string> = { 20: "debug", 30: "info", 40: "warn", 50: "error" };

function pretty(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as { time: string; level: number; msg: string };
  const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${shown(value)}`);
  return `${time.slice(11, 23)} ${(names[level] ?? "").padEnd(5)} ${msg}${rest.join("")}\n`;
}

const shown = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
