/**
 * The gateway over each store that artifacts can be in, for suites that must not see a difference; and a caller who sends
 * bytes as a signed URL asks for.
 */
import type { NewArtifactView, UploadView } from "../features/artifacts/contract.ts";
import { type Actor, type GatewayOptions, startGateway, type TestGateway } from "./gateway.ts";
import { isMissing, startObjectStore } from "./object-store.ts";
import { ok } from "./wire.ts";

export type StoreKind = "local" | "s3";

/** Where there is no S3 server its half is skipped, by name. */
export const storeKinds: readonly { kind: StoreKind; isMissing: boolean }[] = [
  { kind: "local", isMissing: false },
  { kind: "s3", isMissing },
];

export async function startGatewayOn(kind: StoreKind, options: GatewayOptions = {}): Promise<TestGateway> {
  if (kind === "local") return startGateway(options);
  return startGateway({ ...options, env: { ...options.env, ...(await s3Env()) } });
}

/** What `serve` needs for a bucket of its own. */
export async function s3Env(): Promise<Record<string, string>> {
  const server = await startObjectStore();
  const bucket = await server.bucket();
  return {
    SPECGATE_STORAGE: "s3",
    S3_ENDPOINT: server.endpoint,
    S3_BUCKET: bucket,
    S3_REGION: server.region,
    S3_ACCESS_KEY_ID: server.accessKeyId,
    S3_SECRET_ACCESS_KEY: server.secretAccessKey,
  };
}

export const sha256Of = (bytes: Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** What announces these bytes; `more` takes precedence. */
export const announcing = (bytes: Uint8Array, more: Record<string, unknown> = {}) => ({
  name: "notes.txt",
  content_type: "text/plain",
  size_bytes: bytes.length,
  sha256: sha256Of(bytes),
  ...more,
});

export async function announce(
  who: Pick<Actor, "fetch">,
  sessionId: string,
  bytes: Uint8Array,
  more: Record<string, unknown> = {},
): Promise<{ id: string; upload: UploadView }> {
  const path = `/sessions/${sessionId}/artifacts`;
  const { artifact, upload } = await ok<NewArtifactView>(who, "POST", path, announcing(bytes, more));
  if (upload === null) throw new Error("no upload was signed");
  return { id: artifact.id, upload };
}

/** `headers` take precedence; undefined leaves one out. */
export function put(
  upload: UploadView,
  bytes: Uint8Array | string,
  headers: Record<string, string | undefined> = {},
): Promise<Response> {
  const wanted = Object.entries({ ...upload.headers, ...headers });
  const sent = wanted.filter((entry): entry is [string, string] => entry[1] !== undefined);
  return fetch(upload.url, { method: upload.method, headers: sent, body: bytes });
}

/** Announced, sent and completed. */
export async function keep(
  who: Pick<Actor, "fetch">,
  sessionId: string,
  bytes: Uint8Array,
  more: Record<string, unknown> = {},
): Promise<string> {
  const { id, upload } = await announce(who, sessionId, bytes, more);
  const sent = await put(upload, bytes);
  if (!sent.ok) throw new Error(`the store says ${sent.status}: ${await sent.text()}`);
  await ok(who, "POST", `/artifacts/${id}/completion`);
  return id;
}
