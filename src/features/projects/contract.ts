/**
 * Projects and their members on the wire.
 */
import { z } from "zod";
import { type ProjectRole, projectRoles } from "../../platform/scopes.ts";

/** Free text for people; the id decides, so two projects may share a name. */
export const projectNameForm = z
  .string()
  .trim()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters, and those that turn text around, are what this refuses
  .regex(/^[^\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]*$/);

const nameText = z.string().max(1_024);
export const newProjectForm = z.strictObject({ name: nameText });
const selfApprovals = ["deny", "allow"] as const;
export const projectChangeForm = z
  .strictObject({ name: nameText, approvals_self: z.enum(selfApprovals) })
  .partial();
export type ProjectChange = z.infer<typeof projectChangeForm>;
export const memberForm = z.strictObject({ role: z.enum(projectRoles) });

export type ProjectView = { id: string; name: string };
export type ProjectLine = ProjectView & { archived: boolean };
export const projectShape = z.object({
  id: z.string(),
  name: z.string(),
  archived: z.boolean(),
  role: z.enum(projectRoles).describe("The caller's own part in it."),
  approvals_self: z
    .enum(selfApprovals)
    .describe("Whether an owner may decide what they asked for themselves."),
  created_at: z.string(),
  version: z.int(),
});
export type ProjectDetail = z.infer<typeof projectShape>;
export type MemberView = {
  user_id: string;
  email: string;
  role: ProjectRole;
  created_at: string;
  version: number;
};
