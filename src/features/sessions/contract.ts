/**
 * Sessions and iterations on the wire.
 */
import { z } from "zod";
import { pageQuery } from "../../platform/page.ts";
import { commitSha, line, text } from "../../platform/text-form.ts";
import {
  type IterationState,
  iterationStates,
  type SessionState,
  type Step,
  sessionStates,
  steps,
} from "./states.ts";

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

export type SessionView = {
  id: string;
  project_id: string;
  title: string;
  spec: string | null;
  notes: string | null;
  status: SessionState;
  /** How many it has; the last one bears this number. */
  iterations: number;
  created_by: string;
  created_at: string;
  updated_at: string;
  closed_at: string | null;
  version: number;
};

export type IterationView = {
  id: string;
  project_id: string;
  session_id: string;
  number: number;
  step: Step;
  status: IterationState;
  commit_sha: string | null;
  notes: string | null;
  created_by: string;
  created_at: string;
  updated_at: string;
  ended_at: string | null;
  version: number;
};
