/**
 * What a store that speaks S3 said, or did not say, in words for whoever runs the gateway. They name the bucket and the
 * way out, never a key, its secret, or what the store wrote.
 */
import { Failure } from "../../platform/failure.ts";

/** S3's own word for what went wrong, such as `NoSuchKey`; a network's, such as `ECONNREFUSED`; or the error's class. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const { code, Code: s3Code } = error as { code?: unknown; Code?: unknown };
  if (typeof s3Code === "string") return s3Code;
  return typeof code === "string" ? code : error.name;
}

export function statusOf(error: unknown): number | null {
  const { $metadata } = (error ?? {}) as { $metadata?: { httpStatusCode?: number } };
  return $metadata?.httpStatusCode ?? null;
}

/** It answered, and with success, but not as S3 does. */
export class NotS3 extends Error {
  override name = "NotS3";
}

export function storageUnavailable(bucket: string, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  return new Failure("unavailable", "storage_unavailable", `${reasonOf(bucket, cause)} Try again later.`, {
    cause,
    retryAfterSeconds: 5,
  });
}

function reasonOf(bucket: string, error: unknown): string {
  const known = reasons[codeOf(error)];
  if (known !== undefined) return known.replace("BUCKET", () => bucket);
  const status = statusOf(error);
  if (status !== null && status >= 300) return `The object store answers ${status}.`;
  if (status !== null) return notS3;
  return "The object store cannot be reached.";
}

const notS3 = "The object store's address answers, but not as S3 does: correct S3_ENDPOINT.";
const slow = "The object store does not answer in time.";
const reasons: Record<string, string> = {
  NoSuchBucket: "The object store has no bucket `BUCKET`: create it, or correct S3_BUCKET.",
  InvalidAccessKeyId: "The object store does not know the access key: correct S3_ACCESS_KEY_ID.",
  SignatureDoesNotMatch: "The object store refuses the signature: correct S3_SECRET_ACCESS_KEY.",
  AuthorizationHeaderMalformed: "The object store is of another region: correct S3_REGION.",
  RequestTimeTooSkewed: "The object store's clock and this machine's are too far apart.",
  AccessDenied: "The object store does not let this key do that in the bucket `BUCKET`.",
  PermanentRedirect: "The bucket `BUCKET` is at another address: correct S3_ENDPOINT or S3_REGION.",
  NotS3: notS3,
  AbortError: slow,
  TimeoutError: slow,
  ENOTFOUND: "The object store's name cannot be resolved: correct S3_ENDPOINT.",
};
