/**
 * Checks, gate policies, gate evaluations and waivers on the wire.
 */
import { z } from "zod";
import { isId } from "../../platform/ids.ts";
import { pageQuery } from "../../platform/page.ts";
import { commitSha, reason, text, word } from "../../platform/text-form.ts";
import { builtInGates, type Policy, usualPolicy } from "./policy.ts";

export const checkKinds = ["test", "coverage", "security", "lint", "custom"] as const;
export type CheckKind = (typeof checkKinds)[number];
export const checkStatuses = ["passed", "failed", "error", "skipped"] as const;
export type CheckStatus = (typeof checkStatuses)[number];

const percent = z.number().min(0).max(100);
const artifactId = z
  .string()
  .refine((id) => isId("art", id), "An artifact's id is `art_` and 32 lower-case hexadecimal digits.");

/** Looked at whatever else is wrong, so that every mistake is named at once. */
const always = { path: ["name"], when: () => true };

export const newCheckForm = z
  .strictObject({
    kind: z.enum(checkKinds),
    name: word.nullable().optional(),
    status: z.enum(checkStatuses),
    percent: percent.nullable().optional(),
    commit_sha: commitSha.nullable().optional(),
    summary: text(10_000).nullable().optional(),
    artifact_id: artifactId.nullable().optional(),
  })
  .refine(({ kind, name }) => kind !== "custom" || (name ?? null) !== null, {
    ...always,
    error: "A custom check needs a name: that of the gate it is for.",
  })
  .refine(({ kind, name }) => kind === "custom" || !checkKinds.includes(kind) || (name ?? null) === null, {
    ...always,
    error: "Only a custom check has a name; the others go by their kind.",
  });
export type NewCheck = z.infer<typeof newCheckForm>;

export const checksQuery = z.strictObject({ ...pageQuery, kind: z.enum(checkKinds).optional() });

const { tasks, tests, coverage, security } = usualPolicy;
const required = (usually: boolean) => z.boolean().default(usually);

/** A name alone is a gate that is required. */
const customGate = z.preprocess(
  (item) => (typeof item === "string" ? { name: item } : item),
  z.strictObject({
    name: word.refine(
      (name) => !(builtInGates as readonly string[]).includes(name),
      `${builtInGates.join(", ")} are there already: a custom gate has another name.`,
    ),
    required: required(true),
  }),
);

/** The whole policy; what is left out is as usual. */
export const policyForm = z.strictObject({
  tasks: z
    .strictObject({
      required: required(tasks.required),
      minimum: z.number().int().min(1).max(10_000).default(tasks.minimum),
    })
    .prefault({}),
  tests: z.strictObject({ required: required(tests.required) }).prefault({}),
  coverage: z
    .strictObject({
      required: required(coverage.required),
      percent_min: percent.default(coverage.percent_min),
    })
    .prefault({}),
  security: z.strictObject({ required: required(security.required) }).prefault({}),
  custom: z
    .array(customGate)
    .max(50, "At most 50 custom gates.")
    .refine(
      (gates) => new Set(gates.map(({ name }) => name)).size === gates.length,
      "Each gate is named once.",
    )
    .default(usualPolicy.custom),
}) satisfies z.ZodType<Policy>;

/** Everything is taken from what is there. */
export const newEvaluationForm = z.strictObject({});

export const newWaiverForm = z.strictObject({
  gate: z.string().min(1).max(64),
  reason,
  expires_at: z.iso
    .datetime({ offset: true, error: "Give a time as RFC 3339, such as 2026-05-01T00:00:00Z." })
    .transform((time) => new Date(time)),
});
export type NewWaiver = z.infer<typeof newWaiverForm>;

export const listQuery = z.strictObject(pageQuery);

export const checkShape = z.object({
  id: z.string(),
  project_id: z.string(),
  session_id: z.string(),
  iteration_id: z.string(),
  kind: z.enum(checkKinds),
  name: z.string().nullable(),
  status: z.enum(checkStatuses),
  percent: z.number().nullable(),
  commit_sha: z.string().nullable(),
  summary: z.string().nullable(),
  artifact_id: z.string().nullable(),
  created_by: z.string(),
  created_at: z.string(),
});
export type CheckView = z.infer<typeof checkShape>;

export type PolicyView = {
  project_id: string;
  policy: Policy;
  updated_by: string | null;
  updated_at: string | null;
  /** 0 where nobody has set one. */
  version: number;
};

export const evaluationShape = z.object({
  id: z.string(),
  project_id: z.string(),
  session_id: z.string(),
  iteration_id: z.string().nullable(),
  ok: z.boolean().describe("Whether every required gate is passed or waived."),
  commit_sha: z.string().nullable(),
  policy: z.record(z.string(), z.unknown()).describe("The project's gate policy that this went by."),
  checks: z
    .array(
      z.object({
        name: z.string(),
        ok: z.boolean(),
        code: z.string().describe("Why, such as `passed`, `waived`, `tasks_open` or `check_missing`."),
        details: z.record(z.string(), z.unknown()),
        waived_by: z.string().optional().describe("The waiver that lets a failed gate pass."),
      }),
    )
    .describe("Gate by gate."),
  created_by: z.string(),
  created_at: z.string(),
});
export type EvaluationView = z.infer<typeof evaluationShape>;

export type WaiverView = {
  id: string;
  project_id: string;
  session_id: string;
  iteration_id: string;
  gate: string;
  reason: string;
  /** Whether it counts: neither revoked nor expired. */
  active: boolean;
  created_by: string;
  created_at: string;
  expires_at: string;
  revoked_by: string | null;
  revoked_at: string | null;
  version: number;
};
