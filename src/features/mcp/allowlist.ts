/**
 * The one decision about tools, for lists and calls alike: the gateway's ceiling ∩ every policy that the principal has.
 */
import type { GatewayConfig } from "../../platform/config.ts";
import type { Principal } from "../../platform/principal.ts";
import type { Scope } from "../../platform/scopes.ts";

/** What is decided about. */
export type Judged = { readonly name: string; readonly scopes: readonly Scope[] };

export type Sight = { readonly isVisible: boolean; readonly rule: string | null };

export type CallVerdict =
  | {
      readonly verdict: "allowed";
      readonly rule: string | null;
      /** The least of all rules that matched; null for the gateway's own limit. */
      readonly resultBytesMax: number | null;
      /** Each is counted by itself, under its key. */
      readonly rates: readonly { readonly key: string; readonly requestsPerMinute: number }[];
    }
  | { readonly verdict: "hidden" | "denied"; readonly rule: string | null; readonly message: string };

/** What holds for one principal at one moment. */
export type Judge = {
  readonly revisions: Readonly<Record<string, number>>;
  /** Whether the tool is there at all, as far as the caller may know; a list shows exactly what this says. */
  sees(tool: Judged): Sight;
  /** Whether it may be called with these arguments. `hidden` for exactly what `sees` does not see. */
  judge(tool: Judged, args: unknown): CallVerdict;
};

export type AllowlistNeeds = { gateway: () => GatewayConfig };

export class Allowlist {
  readonly #needs: AllowlistNeeds;

  constructor(needs: AllowlistNeeds) {
    this.#needs = needs;
  }

  /** At once when its policies are known here already. */
  for(principal: Principal): Judge | Promise<Judge> {
    const { deny } = this.#needs.gateway().mcp;
    const sees = ({ name, scopes }: Judged): Sight => {
      const isVisible = !deny.includes(name) && scopes.every((scope) => principal.reach.has(scope));
      return { isVisible, rule: isVisible ? null : "ceiling" };
    };
    return {
      revisions: {},
      sees,
      judge(tool) {
        const { isVisible, rule } = sees(tool);
        if (isVisible) return { verdict: "allowed", rule, resultBytesMax: null, rates: [] };
        return { verdict: "hidden", rule, message: "There is no such tool." };
      },
    };
  }
}
