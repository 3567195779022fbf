/**
 * What must not be lost or doubled, tried by accident upon accident on the compiled binary:
 * `bun run chaos <name> [--seed N] [--calls N] [--seconds N] …`. The seed is printed, and the same seed tries the same again, as far as time lets it.
 */
import { buildIfChanged } from "./build.ts";
import { budgets } from "./chaos/budgets.ts";
import { kills } from "./chaos/kills.ts";
import { leaving } from "./chaos/leaving.ts";
import { ledger } from "./chaos/ledger.ts";
import { outage } from "./chaos/outage.ts";
import { provider } from "./chaos/provider.ts";
import { startChecks } from "./smoke/checks.ts";

export type Options = { seed: number; number(name: string, otherwise: number): number };

const suites = { ledger, outage, provider, leaving, budgets, kills };

const [name = "", ...args] = process.argv.slice(2);
const suite = suites[name as keyof typeof suites];
if (suite === undefined) {
  console.error(`usage: bun run chaos ${Object.keys(suites).join("|")} [--seed N] [--calls N] …`);
  process.exit(2);
}
const number = (flag: string, otherwise: number): number => {
  const at = args.indexOf(`--${flag}`);
  return at < 0 ? otherwise : Number(args[at + 1]);
};
const seed = number("seed", Date.now() % 1_000_000);
console.log(`chaos ${name}, seed ${seed}`);
if (!args.includes("--as-built")) await buildIfChanged();
const { check, counts } = startChecks();
await suite(check, { seed, number });
console.log(`${counts.passed} passed, ${counts.failed} failed (seed ${seed})`);
process.exit(counts.failed === 0 ? 0 : 1);
