/**
 * What in a body makes a call cost something other than its model's price: another tier of service, a faster mode,
 * another model in its place. Where a budget must know the price beforehand such a call cannot be let through.
 */
import { type Member, parseMember } from "../../platform/json.ts";

/** What each may say without a change of price, in any case but lower than the model's own; none where it must not be there. */
const plain: Record<string, ReadonlySet<string>> = {
  service_tier: new Set(["auto", "default", "standard", "standard_only", "on_demand", "flex", "batch"]),
  // Anthropic's: its fast mode costs several times the price.
  speed: new Set(["standard"]),
  inference_geo: new Set(["global"]),
  // OpenRouter's: the provider chooses among models that the caller names, at their prices.
  models: new Set(),
  route: new Set(),
  fallbacks: new Set(),
};

export const pricedApartKeys = Object.keys(plain);

const wordBytesMax = 64;

/** The key, or null when the model's own price holds. */
export function pricedApartBy(bytes: Uint8Array, members: readonly Member[]): string | null {
  const apart = members.find((member) => {
    if (member.kind === "null" || !Object.hasOwn(plain, member.key)) return false;
    return !(plain[member.key]?.has(wordAt(bytes, member)) ?? false);
  });
  return apart?.key ?? null;
}

function wordAt(bytes: Uint8Array, member: Member): string {
  if (member.kind !== "string" || member.end - member.start > wordBytesMax) return "";
  return String(parseMember(bytes, member));
}
