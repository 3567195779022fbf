/** What the tools for a project's files take and answer. */
import { z } from "zod";
import { toolPage, toolPageOf } from "../../platform/tool-page.ts";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "64 lower-case hexadecimal digits.");
const projectId = z.string().describe("The project, such as prj_….");
const path = z.string().max(1_024);
const filePath = path.describe("Below the workspace's root, such as docs/plan.md. No `..`, no dotfiles.");

export const listForm = z.strictObject({
  project_id: projectId,
  path: path.default("").describe("The directory, such as docs; leave it out for the root."),
  ...toolPage,
});

export const listAnswer = toolPageOf(
  z.object({
    path: z.string(),
    type: z.enum(["file", "directory"]),
    size_bytes: z.int().nullable().describe("Null for a directory."),
    modified_at: z.string(),
    readable: z.boolean().describe("False also for what is above 1 MiB, or has a second name."),
    writable: z.boolean(),
  }),
);

export const readForm = z.strictObject({
  project_id: projectId,
  path: filePath,
  offset_bytes: z
    .int()
    .min(0)
    .default(0)
    .describe("Where to begin: 0, or `next_offset_bytes` of the answer before."),
  length_bytes: z
    .int()
    .min(4)
    .max(1_048_576)
    .default(262_144)
    .describe("How much at most; 262144 unless told."),
});

export const readAnswer = z.object({
  path: z.string(),
  content: z.string(),
  size_bytes: z.int().describe("Of the whole file."),
  sha256: sha256.describe("Of the whole file; send it as `expected_sha256` to replace it."),
  next_offset_bytes: z.int().nullable().describe("Where the rest begins; null when this is the end."),
});

export const writeForm = z.strictObject({
  project_id: projectId,
  path: filePath,
  content: z
    .string()
    .describe(
      "The whole new content, text in UTF-8. 1 MiB at most, and with the rest of the request no more than its limit.",
    ),
  expected_sha256: sha256
    .nullable()
    .default(null)
    .describe("Of the content that it replaces; null or left out for a file that is not there yet."),
  create_directories: z.boolean().default(false).describe("Make the directories on the way to it."),
});

export const writeAnswer = z.object({
  path: z.string(),
  size_bytes: z.int(),
  sha256,
  created: z.boolean().describe("Whether the file is new."),
});
