/**
 * The LLM plane on a gateway of its own: the packages that people use, books that agree with the provider's, callers who
 * leave, money for one, and kills. `bun run chaos` tries each of these for longer.
 */
import { onceEach } from "../chaos/budgets.ts";
import { killed } from "../chaos/kills.ts";
import { leftAtEach } from "../chaos/leaving.ts";
import { agreeing } from "../chaos/ledger.ts";
import { World } from "../chaos/world.ts";
import type { Check } from "./checks.ts";
import { llmSdks } from "./llm-sdks.ts";

export async function llm(check: Check, kills: number): Promise<void> {
  const seed = Date.now() % 1_000_000;
  const world = await World.open();
  try {
    await agreeing(check, world, { seed, calls: 1_000, width: 32 });
    await llmSdks(check, world);
    await leftAtEach(check, world, { seed: seed + 1, events: 100 });
    await onceEach(check, world, { rounds: 3, calls: 1_000 });
    if (kills > 0) await killed(check, world, { seed: seed + 2, times: kills });
  } finally {
    await world.close();
  }
}
