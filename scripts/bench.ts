/**
 * The benchmarks: `bun run bench [llm|login|control|artifacts|budgets|usage|mcp] [--seconds N] [--json]`. Each figure stands beside its bar; exit 1 when one
 * is not met. Yardsticks run in the same minutes on the same machine.
 */
import { artifacts } from "./bench/artifacts.ts";
import { budgets } from "./bench/budgets.ts";
import { control } from "./bench/control.ts";
import { isMet, table } from "./bench/figures.ts";
import { llm } from "./bench/llm.ts";
import { login } from "./bench/login.ts";
import { mcp } from "./bench/mcp.ts";
import { usage } from "./bench/usage.ts";

const suites = { llm, login, control, artifacts, budgets, usage, mcp };

const args = process.argv.slice(2);
const option = args.indexOf("--seconds");
const seconds = option < 0 ? 8 : Number(args[option + 1]);
const name =
  args.find((word, index) => !word.startsWith("--") && (option < 0 || index !== option + 1)) ?? "llm";
const suite = suites[name as keyof typeof suites];
if (suite === undefined || !(seconds > 0)) {
  console.error(`usage: bun run bench [${Object.keys(suites).join("|")}] [--seconds N] [--json]`);
  process.exit(2);
}

const figures = await suite(seconds, (words) => console.error(`… ${words}`));
if (args.includes("--json")) console.log(JSON.stringify(figures, null, 2));
else console.log(table(figures));
process.exit(figures.every(isMet) ? 0 : 1);
