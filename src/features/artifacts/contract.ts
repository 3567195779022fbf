/**
 * Artifacts on the wire.
 */
import { z } from "zod";
import { isId } from "../../platform/ids.ts";
import { pageQuery } from "../../platform/page.ts";
import { word } from "../../platform/text-form.ts";

export const artifactStates = ["pending", "complete", "rejected", "deleted", "purged"] as const;
export type ArtifactState = (typeof artifactStates)[number];

/** Of what a person attaches to a chat; nothing in a session is of this kind. */
export const chatKind = "chat";

const iterationId = z
  .string()
  .refine((id) => isId("itr", id), "This is not spelled as the id of an iteration (`itr_…`).");

/** However large: `int()` would draw a line of its own. */
const whole = (least: number) => z.number().min(least).refine(Number.isInteger, "A whole number.");

/** Which of them are acceptable is for acceptance.ts to say: each refusal has a code of its own. */
const upload = {
  name: z.string(),
  content_type: z.string(),
  size_bytes: whole(0),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, "The SHA-256 of the bytes, as 64 lower-case hexadecimal digits."),
  ttl_seconds: whole(1).optional(),
};

export const newArtifactForm = z.strictObject({
  ...upload,
  kind: word
    .refine((kind) => kind !== chatKind, "`chat` is for attachments: POST /me/artifacts.")
    .default("file"),
  iteration_id: iterationId.nullable().optional(),
});
export type NewArtifact = z.infer<typeof newArtifactForm>;

export const newAttachmentForm = z.strictObject(upload);
export type NewAttachment = z.infer<typeof newAttachmentForm>;

export const newUploadForm = z.strictObject({ ttl_seconds: upload.ttl_seconds });

/** Everything is taken from what is there. */
export const completionForm = z.strictObject({});

export const artifactsQuery = z.strictObject({
  ...pageQuery,
  kind: word.optional(),
  iteration: iterationId.optional(),
  status: z.enum(artifactStates).optional(),
});
export type ArtifactsQuery = z.infer<typeof artifactsQuery>;

export const downloadQuery = z.strictObject({
  ttl_seconds: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, "A whole number of seconds, 1 or more.")
    .transform(Number)
    .optional(),
});

/** Null for a chat attachment. */
const ofSession = z.string().nullable();

export const artifactShape = z.object({
  id: z.string(),
  project_id: ofSession,
  session_id: ofSession,
  iteration_id: ofSession,
  kind: z.string(),
  name: z.string(),
  content_type: z.string(),
  size_bytes: z.int(),
  sha256: z.string(),
  status: z.enum(artifactStates),
  sha256_verified: z
    .boolean()
    .nullable()
    .describe("Whether `sha256` was held against the stored bytes at completion; null before."),
  etag: z.string().nullable(),
  created_by: z.string(),
  created_at: z.string(),
  completed_at: z.string().nullable(),
  expires_at: z.string().nullable().describe("When it goes by itself; null: not before somebody deletes it."),
  version: z.int(),
});
export type ArtifactView = z.infer<typeof artifactShape>;

export const uploadShape = z
  .object({
    method: z.literal("PUT"),
    url: z.string(),
    headers: z.record(z.string(), z.string()),
    expires_at: z.string(),
  })
  .describe("What to do with the bytes: this request, with `content-length` beside exactly these headers.");
export type UploadView = z.infer<typeof uploadShape>;

/** `upload` is null when an `Idempotency-Key` is answered again; `POST /artifacts/{id}/upload` signs another. */
export type NewArtifactView = { artifact: ArtifactView; upload: UploadView | null };

export const downloadShape = z.object({ url: z.string(), expires_at: z.string() });
export type DownloadView = z.infer<typeof downloadShape>;
