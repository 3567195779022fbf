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

export type ArtifactView = {
  id: string;
  /** Null for a chat attachment, as are the two that follow. */
  project_id: string | null;
  session_id: string | null;
  iteration_id: string | null;
  kind: string;
  name: string;
  content_type: string;
  size_bytes: number;
  sha256: string;
  status: ArtifactState;
  /** Whether `sha256` was held against the stored bytes at completion; null before. */
  sha256_verified: boolean | null;
  etag: string | null;
  created_by: string;
  created_at: string;
  completed_at: string | null;
  /** When it goes by itself; null: not before somebody deletes it. */
  expires_at: string | null;
  version: number;
};

/** What to do with the bytes: this request, with `content-length` beside these headers. */
export type UploadView = {
  method: "PUT";
  url: string;
  headers: Readonly<Record<string, string>>;
  expires_at: string;
};

/** `upload` is null when an `Idempotency-Key` is answered again; `POST /artifacts/{id}/upload` signs another. */
export type NewArtifactView = { artifact: ArtifactView; upload: UploadView | null };

export type DownloadView = { url: string; expires_at: string };
