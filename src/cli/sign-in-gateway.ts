/**
 * Which gateway a client command talks to, and how that is said in help and in errors.
 *
 * A bearer goes over https, or stays on this machine. The spellings of loopback name one gateway, because its issuer is
 * spelled in one way only.
 */
import { addressKind } from "../platform/config-address.ts";
import { clientVariables, type Variable } from "../platform/config-variables.ts";
import { Failure } from "../platform/failure.ts";
import { Misuse, type World } from "./world.ts";

export type GatewayFlags = { url?: string; token?: string };

/** Without a trailing slash. */
export function gatewayUrl(world: World, flags: GatewayFlags): string {
  const { parse, default: standard } = clientVariables.SPECGATE_URL;
  const name = flags.url === undefined ? "SPECGATE_URL" : "--url";
  const text = flags.url ?? world.env.SPECGATE_URL ?? standard ?? "";
  const parsed =
    text.trim() === "" ? { wrong: "empty; give it a value or leave it out" } : parse(text.trim());
  if ("wrong" in parsed) throw new Misuse([`${name}: ${parsed.wrong}`]);
  return parsed.value;
}

export function isSameGateway(one: string, other: string): boolean {
  if (one === other) return true;
  if (!URL.canParse(one) || !URL.canParse(other)) return false;
  const [a, b] = [new URL(one), new URL(other)];
  const areLoopback = [a, b].every(({ hostname }) => addressKind(hostname) === "loopback");
  const areOrigins = a.origin === one && b.origin === other;
  return areLoopback && areOrigins && a.protocol === b.protocol && a.port === b.port;
}

export function unreachable(url: string, cause: unknown): Failure {
  // A timeout's is a number that says nothing.
  const isNamed = cause instanceof Error && "code" in cause && typeof cause.code === "string";
  const code = isNamed ? ` (${cause.code})` : "";
  return new Failure(
    "unavailable",
    "unreachable",
    `${url} cannot be reached${code}; is the gateway running there?`,
    {
      cause,
    },
  );
}

/** For the end of a command's help. */
export function clientHelp(examples: string): string {
  const lines = Object.entries<Variable<unknown>>(clientVariables).map(
    ([name, { meaning, default: standard }]) =>
      `  ${name.padEnd(14)}  ${meaning}${standard === null ? "" : ` (${standard})`}`,
  );
  return `\n${examples}\nEnvironment:\n${lines.join("\n")}\n`;
}
