/**
 * Verdicts of the gates in words: a row for each gate, and a line for each that stands in the way.
 */
import { z } from "zod";
import { printable } from "./print.ts";
import { ApiRefusal } from "./sign-in-api.ts";
import { Ended, type World } from "./world.ts";

const evaluationForm = z.looseObject({
  ok: z.boolean(),
  checks: z.array(
    z.object({
      name: z.string(),
      ok: z.boolean(),
      code: z.string(),
      details: z.record(z.string(), z.unknown()).default({}),
      waived_by: z.string().optional(),
    }),
  ),
});
type Evaluation = z.infer<typeof evaluationForm>;

export type GateRow = { gate: string; verdict: "ok" | "FAIL"; code: string; details: string };

export const gateColumns = ["gate", "verdict", "code", "details"] as const satisfies (keyof GateRow)[];

export const gateRows = (evaluation: unknown): GateRow[] => rowsOf(evaluationForm.parse(evaluation));

const rowsOf = ({ checks }: Evaluation): GateRow[] =>
  checks.map(({ name, ok, code, details, waived_by }) => ({
    gate: name,
    verdict: ok ? "ok" : "FAIL",
    code,
    details: inWords({ ...(waived_by === undefined ? {} : { waived_by }), ...details }),
  }));

/** `{a: 1, b: {c: null}}` is `a=1 c=none`. */
const inWords = (details: Record<string, unknown>): string =>
  Object.entries(details)
    .map(([name, value]) =>
      typeof value === "object" && value !== null
        ? inWords(value as Record<string, unknown>)
        : `${name}=${value ?? "none"}`,
    )
    .join(" ");

/** What the gates may stand in the way of. When they do, each that does is named, and the command ends with 1. */
export async function throughGates<T>(world: World, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const refusal = error instanceof ApiRefusal && error.code === "gate_failed" ? error : null;
    const { success, data } = evaluationForm.safeParse(refusal?.problem.evaluation);
    if (!success) throw error;
    world.stderr("specgate: not every gate is passed:\n");
    for (const { gate, verdict, code, details } of rowsOf(data)) {
      if (verdict === "FAIL") world.stderr(`  ${printable(`${gate}: ${code} ${details}`.trimEnd())}\n`);
    }
    throw new Ended(1);
  }
}
