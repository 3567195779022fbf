/**
 * Sessions and iterations on the wire.
 */
import { z } from "zod";
import { pageQuery } from "../../platform/page.ts";
import { commitSha, line, text } from "../../platform/text-form.ts";
import { iterationStates, sessionStates, steps } from "./states.ts";

const title = line(200);
const spec = line(200).nullable();
const notes = text(20_000).nullable();

export const newSessionForm = z.strictObject({
  title,
  spec: spec.optional(),
  notes: notes.optional(),
});
export type NewSession = z.infer<typeof newSessionForm>;

export const sessionChangeForm = z
  .strictObject({ title, spec, notes, status: z.enum(sessionStates) })
  .partial();
export type SessionChange = z.infer<typeof sessionChangeForm>;

export const newIterationForm = z.strictObject({
  step: z.enum(steps).default("SPEC"),
  commit_sha: commitSha.nullable().optional(),
  notes: notes.optional(),
});
export type NewIteration = z.infer<typeof newIterationForm>;

export const iterationChangeForm = z
  .strictObject({
    step: z.enum(steps),
    commit_sha: commitSha.nullable(),
    notes,
    status: z.enum(iterationStates),
  })
  .partial();
export type IterationChange = z.infer<typeof iterationChangeForm>;

export const sessionsQuery = z.strictObject({ ...pageQuery, status: z.enum(sessionStates).optional() });
export const iterationsQuery = z.strictObject({ ...pageQuery, status: z.enum(iterationStates).optional() });

export const sessionShape = z.object({
  id: z.string(),
  project_id: z.string(),
  title: z.string(),
  spec: z.string().nullable(),
  notes: z.string().nullable(),
  status: z.enum(sessionStates),
  iterations: z.int().describe("How many it has; the last one bears this number."),
  created_by: z.string(),
  created_at: z.string(),
  updated_at: z.string(),
  closed_at: z.string().nullable(),
  version: z.int(),
});
export type SessionView = z.infer<typeof sessionShape>;

export const iterationShape = z.object({
  id: z.string(),
  project_id: z.string(),
  session_id: z.string(),
  number: z.int().describe("1, 2, 3, … within the session."),
  step: z.enum(steps),
  status: z.enum(iterationStates),
  commit_sha: z.string().nullable(),
  notes: z.string().nullable(),
  created_by: z.string(),
  created_at: z.string(),
  updated_at: z.string(),
  ended_at: z.string().nullable(),
  version: z.int(),
});
export type IterationView = z.infer<typeof iterationShape>;
