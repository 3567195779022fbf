/**
 * The way to a store that speaks S3, and how long anyone waits on it.
 *
 * The SDK is loaded with the first request, so that a gateway with a disk of its own never pays for it. What the SDK would
 * take from the environment or from `~/.aws` is given here: the store is the one in the configuration, whatever else is set
 * on the machine. Two attempts share one deadline, and nobody waits longer than that.
 */
import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import type { S3RequestPresigner } from "@aws-sdk/s3-request-presigner";
import type { S3Config } from "../../platform/config.ts";

export type S3Timeouts = {
  connectMs: number;
  /** Until the store has answered, both attempts and what lies between them. */
  answerMs: number;
  /** Between two pieces of a body. */
  idleMs: number;
};

export const defaultTimeouts: S3Timeouts = { connectMs: 2_000, answerMs: 5_000, idleMs: 10_000 };

export type S3Kit = {
  readonly sdk: typeof import("@aws-sdk/client-s3");
  readonly client: S3Client;
  readonly presigner: S3RequestPresigner;
};

export async function openS3(config: S3Config, timeouts: S3Timeouts): Promise<S3Kit> {
  const [sdk, { S3RequestPresigner }] = await Promise.all([
    import("@aws-sdk/client-s3"),
    import("@aws-sdk/s3-request-presigner"),
  ]);
  const credentials = {
    accessKeyId: config.accessKeyId.reveal(),
    secretAccessKey: config.secretAccessKey.reveal(),
  };
  const client = new sdk.S3Client({
    endpoint: config.endpoint,
    region: config.region,
    credentials,
    ...fixed,
    requestHandler: {
      connectionTimeout: timeouts.connectMs,
      requestTimeout: timeouts.answerMs,
      socketTimeout: timeouts.idleMs,
      throwOnRequestTimeout: true,
    },
  });
  const presigner = new S3RequestPresigner({ ...client.config, credentials, region: config.region });
  return { sdk, client, presigner };
}

const quiet = () => {};

/** Each would be looked up in the environment if it were left out. */
const fixed: S3ClientConfig = {
  forcePathStyle: true,
  // R2 and others refuse the checksum of an empty body that the SDK adds to whatever is signed.
  requestChecksumCalculation: "WHEN_REQUIRED",
  responseChecksumValidation: "WHEN_REQUIRED",
  maxAttempts: 2,
  retryMode: "standard",
  defaultsMode: "standard",
  useDualstackEndpoint: false,
  useFipsEndpoint: false,
  useArnRegion: false,
  disableS3ExpressSessionAuth: true,
  authSchemePreference: ["aws.auth#sigv4"],
  userAgentAppId: "specgate",
  // It would write to the console.
  logger: { trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet },
};
