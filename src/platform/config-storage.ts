/**
 * Where artifacts are kept, from the variables together: the data dir, or a bucket of a store that speaks S3.
 *
 * Half a bucket is a mistake that names all that is missing. A bucket that nobody asked for is a warning alone: the same
 * names are set for other programs in many shells, yet whoever meant this one must hear that it has no effect.
 */
import type { StorageConfig } from "./config.ts";
import { addressKind } from "./config-address.ts";
import { type EnvironmentReading, type EnvironmentValues, isGiven } from "./config-env.ts";
import type { VariableName } from "./config-variables.ts";

/** Of an environment in which `storageMistakes` found none. */
export function storageOf(values: EnvironmentValues): StorageConfig {
  const { S3_BUCKET: bucket, S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey } = values;
  const endpoint = values.S3_ENDPOINT ?? (values.R2_ACCOUNT_ID && r2Endpoint(values.R2_ACCOUNT_ID));
  if (values.SPECGATE_STORAGE !== "s3") return { kind: "local" };
  if (endpoint === undefined || bucket === undefined) return { kind: "local" };
  if (accessKeyId === undefined || secretAccessKey === undefined) return { kind: "local" };
  const region = values.S3_REGION ?? (isR2(endpoint) ? "auto" : "us-east-1");
  return { kind: "s3", endpoint, bucket, region, accessKeyId, secretAccessKey };
}

const r2Endpoint = (accountId: string): string => `https://${accountId}.r2.cloudflarestorage.com`;

/** Also with a jurisdiction in between, such as `<id>.eu.r2.cloudflarestorage.com`. */
const isR2 = (endpoint: string): boolean => new URL(endpoint).hostname.endsWith(".r2.cloudflarestorage.com");

const needed: readonly [VariableName, string][] = [
  ["S3_BUCKET", "the bucket's name"],
  ["S3_ACCESS_KEY_ID", "the id of a key that may read, write, delete and list in that bucket"],
  ["S3_SECRET_ACCESS_KEY", "that key's secret"],
];

export function storageMistakes(reading: EnvironmentReading): string[] {
  if (reading.values.SPECGATE_STORAGE !== "s3") return [];
  const unset = "not set, though SPECGATE_STORAGE is s3; would be";
  const hasEndpoint = isGiven(reading, "S3_ENDPOINT");
  const hasAccount = isGiven(reading, "R2_ACCOUNT_ID");
  const mistakes = needed
    .filter(([name]) => !isGiven(reading, name))
    .map(([name, right]) => `${name}: ${unset} ${right}`);
  if (!hasEndpoint && !hasAccount)
    mistakes.unshift(
      `S3_ENDPOINT: ${unset} the store's address, such as https://s3.eu-central-1.amazonaws.com, or R2_ACCOUNT_ID in its place`,
    );
  if (hasEndpoint && hasAccount)
    mistakes.unshift(
      "R2_ACCOUNT_ID: set beside S3_ENDPOINT, and each names an address of its own; would be one of the two",
    );
  return mistakes;
}

const bucketVariables: readonly VariableName[] = [
  "S3_ENDPOINT",
  "S3_BUCKET",
  "S3_REGION",
  "S3_ACCESS_KEY_ID",
  "S3_SECRET_ACCESS_KEY",
  "R2_ACCOUNT_ID",
];

export function storageWarnings(reading: EnvironmentReading, storage: StorageConfig): string[] {
  if (storage.kind === "local")
    return bucketVariables
      .filter((name) => isGiven(reading, name))
      .map(
        (name) =>
          `${name} is set, but artifacts are kept in the data dir: no effect without SPECGATE_STORAGE=s3`,
      );
  const { protocol, hostname } = new URL(storage.endpoint);
  if (protocol === "https:" || addressKind(hostname) === "loopback") return [];
  return ["S3_ENDPOINT begins with http://: artifacts and signed URLs can be read and changed on their way"];
}
