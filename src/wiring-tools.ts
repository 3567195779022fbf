/**
 * Everything behind /mcp: the servers behind this one, the record of each decision, and the door itself.
 */
import type { RecordAudit } from "./db/audit-entry.ts";
import type { GuardedFetch } from "./platform/guarded-fetch.ts";
import type { WiringInput } from "./wiring.ts";
import { wireDecisions } from "./wiring-audit.ts";
import { type WireMcpNeeds, wireMcp } from "./wiring-mcp.ts";
import { wireUpstreams } from "./wiring-upstreams.ts";

type WireToolsNeeds = Omit<WireMcpNeeds, "records" | "upstreams"> & {
  fetch: GuardedFetch;
  record: RecordAudit;
  /** Counts clusters: see `findEpoch`. */
  epoch: number;
  /** Stands with each decision that is recorded. */
  origin: { readonly instance: string; readonly boot: number };
};

export type Tools = Awaited<ReturnType<typeof wireTools>>;

export async function wireTools(input: WiringInput, needs: WireToolsNeeds) {
  const { work, cursors, fetch, record, epoch, origin, ledger } = needs;
  const upstreams = await wireUpstreams(input, { changes: work.changes, cursors, fetch });
  const decisions = wireDecisions(input, { epoch, record, origin }, ledger);
  const door = wireMcp(input, { ...needs, records: decisions.records, upstreams: upstreams.servers });
  return {
    parts: {
      upstreams,
      /** What is due among the files of decisions. */
      mcpLog: decisions.sweep,
      mcp: door.mcp,
      mcpPolicies: door.policies,
      /** What of the tools at /mcp a caller sees. */
      visibleTools: door.visibleTools,
    },
    warners: [upstreams.servers, decisions.copy],
    async close(): Promise<void> {
      await door.close();
      await upstreams.servers.close();
      await decisions.close();
    },
  };
}
