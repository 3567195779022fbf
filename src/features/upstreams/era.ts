/**
 * The two eras of MCP, and how to tell which of them a server speaks: `server/discover` is asked first, and whoever does
 * not know it is greeted with `initialize`.
 *
 * Servers are told who asks and nothing else: no capability is offered, so none of them may ask back.
 */
import type { Line } from "./line.ts";
import { checkComplete, isObject, type RpcAnswer, rpcCodes } from "./rpc.ts";
import { nonsense } from "./upstream-failure.ts";

export const modernVersion = "2026-07-28";
/** The newest is offered; a server may choose an older one. */
const legacyVersions = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

export type Speech = { readonly era: Line["era"]; readonly version: string };

/** What every request of the modern era carries. */
export const envelopeOf = (version: string) => ({
  "io.modelcontextprotocol/protocolVersion": modernVersion,
  "io.modelcontextprotocol/clientInfo": { name: "specgate", version },
  "io.modelcontextprotocol/clientCapabilities": {},
});

export const greetingOf = (version: string) => ({
  protocolVersion: legacyVersions[0],
  capabilities: {},
  clientInfo: { name: "specgate", version },
});

/** Null: to be greeted in the old way. Throws when it can be spoken to in neither. */
export function judgeDiscovery(answer: RpcAnswer): Speech | null {
  if ("error" in answer) {
    const { code, data } = answer.error;
    const supported = isObject(data) ? data.supported : undefined;
    if (code === rpcCodes.unsupportedVersion && isOnlyUnknown(supported)) throw noCommonVersion();
    return null;
  }
  const { supportedVersions, resultType } = answer.result;
  if (!Array.isArray(supportedVersions)) return null;
  checkComplete(resultType);
  if (supportedVersions.includes(modernVersion)) return { era: "modern", version: modernVersion };
  if (isOnlyUnknown(supportedVersions)) throw noCommonVersion();
  return null;
}

/** Throws unless it chose a version that was spoken before 2026-07-28. */
export function judgeGreeting(answer: RpcAnswer): Speech {
  if ("error" in answer) throw nonsense(`refused to begin (JSON-RPC error ${answer.error.code})`);
  const { protocolVersion } = answer.result;
  if (typeof protocolVersion !== "string" || !legacyVersions.includes(protocolVersion))
    throw noCommonVersion();
  return { era: "legacy", version: protocolVersion };
}

const isOnlyUnknown = (versions: unknown): boolean =>
  Array.isArray(versions) &&
  versions.length > 0 &&
  !versions.some((version) => version === modernVersion || legacyVersions.includes(version));

const noCommonVersion = () =>
  nonsense(
    `speaks no version of MCP that the gateway knows (${modernVersion}, ${legacyVersions.join(", ")})`,
  );
