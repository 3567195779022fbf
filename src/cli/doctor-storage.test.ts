import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ListObjectsV2Command, PutBucketCorsCommand, S3Client } from "@aws-sdk/client-s3";
import type { Config } from "../platform/config.ts";
import { loadConfig } from "../platform/config-load.ts";
import { scratchDir } from "../testing/cluster.ts";
import { isMissing, startObjectStore } from "../testing/object-store.ts";
import { runAt } from "../testing/terminal.ts";
import type { Finding } from "./doctor.ts";
import { checkCors } from "./doctor-cors.ts";
import { checkStorage } from "./doctor-storage.ts";

function configure(env: Record<string, string>, dataDir = scratchDir()): Config {
  const loaded = loadConfig({ env, cwd: dataDir, flags: { dataDir }, terminal: false });
  if (!loaded.ok) throw new Error(loaded.mistakes.join("\n"));
  return loaded.config;
}

const publicUrl = "https://gate.example.com";
const secretAccessKey = "canary-of-a-secret";
const bucketAt = (endpoint: string, more: Record<string, string> = {}) =>
  configure({
    SPECGATE_STORAGE: "s3",
    S3_ENDPOINT: endpoint,
    S3_BUCKET: "artifacts",
    S3_ACCESS_KEY_ID: "AKIDCANARY",
    S3_SECRET_ACCESS_KEY: secretAccessKey,
    SPECGATE_CORS_ORIGINS: "tauri://localhost",
    ...more,
  });

const words = (findings: Finding[], status: Finding["status"]): string[] =>
  findings.filter((finding) => finding.status === status).map(({ message }) => message);

describe("doctor, of artifacts in the data dir", () => {
  test("says where they are and how much room is left, and leaves nothing behind", async () => {
    const config = configure({});
    expect(words(await checkStorage(config, publicUrl), "ok")).toEqual([
      expect.stringMatching(new RegExp(`^artifacts are kept in ${config.dataDir}; \\d+\\.\\d GiB free$`)),
    ]);
    mkdirSync(join(config.dataDir, "blobs"));
    const [found] = await checkStorage(config, publicUrl);
    expect(found?.message).toContain(`in ${config.dataDir}/blobs;`);
    expect(readdirSync(config.dataDir)).toEqual(["blobs"]);
    expect(readdirSync(join(config.dataDir, "blobs"))).toEqual([]);
  });

  test("warns when one artifact of the largest size would not fit", async () => {
    const config = configure({});
    config.gateway.artifacts.sizeBytesMax = 2 ** 60;
    expect(words(await checkStorage(config, publicUrl), "warning")[0]).toContain(
      "too little for one artifact",
    );
  });

  test("fails where nothing can be written, or where there is no data dir", async () => {
    const config = configure({});
    writeFileSync(join(config.dataDir, "blobs"), "");
    expect(words(await checkStorage(config, publicUrl), "failure")[0]).toContain("cannot be written to");
    const nowhere = configure({}, join(config.dataDir, "nowhere"));
    expect(words(await checkStorage(nowhere, publicUrl), "failure")[0]).toStartWith("there is no data dir");
    expect(existsSync(nowhere.dataDir)).toBe(false);
  });

  test.skipIf(!existsSync("/dev/shm"))("warns of a disk that does not last", async () => {
    const config = configure({}, "/dev/shm");
    const [, warned] = await checkStorage(config, publicUrl);
    expect(warned).toMatchObject({ status: "warning" });
    expect(warned?.message).toContain("mount a volume, or set SPECGATE_STORAGE=s3");
  });

  test("is a line of its own, also when there is no database to look at", async () => {
    const dataDir = scratchDir();
    const said = await runAt(dataDir, ["doctor", "--data-dir", dataDir], {});
    expect(said.code).toBe(1);
    expect(said.out).toMatch(/^FAIL +database .*^ok +storage +artifacts are kept in /ms);
  });
});

describe.skipIf(isMissing)("doctor, of a real bucket", () => {
  const open = async () => {
    const store = await startObjectStore();
    const bucket = await store.bucket();
    const { accessKeyId, secretAccessKey: secret } = store;
    const right = { S3_BUCKET: bucket, S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secret };
    const client = new S3Client({
      endpoint: store.endpoint,
      region: store.region,
      credentials: { accessKeyId, secretAccessKey: secret },
      forcePathStyle: true,
    });
    const { endpoint } = store;
    return { bucket, client, endpoint, right, config: bucketAt(endpoint, right) };
  };

  test("tries what callers do, says what the store cannot, and leaves the bucket empty", async () => {
    const { bucket, client, config } = await open();
    const findings = await checkStorage(config, publicUrl);
    expect(words(findings, "failure")).toEqual([]);
    const [done] = words(findings, "ok");
    expect(done).toContain("uploaded, downloaded and deleted by signed URLs");
    // This store keeps no SHA-256, and compares it with nothing.
    expect(done).toContain("read back at completion");
    expect(done).toContain("takes other bytes, which completion finds");
    expect((await client.send(new ListObjectsV2Command({ Bucket: bucket }))).Contents).toBeUndefined();
    client.destroy();
  }, 60_000);

  test("the CORS policy that it prints is what the bucket lacks: once pasted, pages may upload and download", async () => {
    const { bucket, client, config } = await open();
    const loose = expect.stringContaining("takes headers that nobody signed");
    const [first, warned, ...others] = words(await checkStorage(config, publicUrl), "warning");
    expect([first, others]).toEqual([loose, []]);
    expect(warned).toStartWith(`pages of ${publicUrl}, tauri://localhost cannot upload or download`);
    const policy = JSON.parse(warned?.slice(warned.indexOf("[")) ?? "");
    expect(policy).toEqual([
      {
        AllowedOrigins: [publicUrl, "tauri://localhost"],
        AllowedMethods: ["GET", "PUT"],
        AllowedHeaders: ["content-type", "if-none-match", "x-amz-checksum-sha256"],
        ExposeHeaders: ["ETag"],
        MaxAgeSeconds: 3600,
      },
    ]);
    const paste = (rules: typeof policy) =>
      client.send(new PutBucketCorsCommand({ Bucket: bucket, CORSConfiguration: { CORSRules: rules } }));
    const lacking = [
      { ...policy[0], AllowedMethods: ["GET"] },
      { ...policy[0], AllowedMethods: ["PUT"] },
      { ...policy[0], AllowedHeaders: ["content-type"] },
      { ...policy[0], AllowedOrigins: ["https://else.example.com"] },
    ];
    for (const rule of lacking) {
      await paste([rule]);
      expect(words(await checkStorage(config, publicUrl), "warning")).toHaveLength(2);
    }
    await paste([{ ...policy[0], AllowedOrigins: [publicUrl] }]);
    const [, half] = words(await checkStorage(config, publicUrl), "warning");
    expect(half).toStartWith("pages of tauri://localhost cannot upload");
    await paste(policy);
    const findings = await checkStorage(config, publicUrl);
    expect(words(findings, "warning")).toEqual([loose]);
    expect(words(findings, "ok")).toContain(
      `pages of ${publicUrl}, tauri://localhost may upload and download`,
    );
    client.destroy();
  }, 60_000);

  test("a wrong key, a wrong secret and a wrong bucket fail by their variable's name, and nothing is repeated", async () => {
    const { client, endpoint, right } = await open();
    client.destroy();
    for (const [variable, wrong] of [
      ["S3_ACCESS_KEY_ID", "AKIDCANARY"],
      ["S3_SECRET_ACCESS_KEY", secretAccessKey],
      ["S3_BUCKET", "not-there"],
    ] as const) {
      const findings = await checkStorage(bucketAt(endpoint, { ...right, [variable]: wrong }), publicUrl);
      expect(findings).toHaveLength(1);
      expect(words(findings, "failure")[0]).toContain(variable);
      expect(JSON.stringify(findings)).not.toMatch(/canary/i);
    }
  }, 60_000);
});

type Habits = { keepsFirst?: boolean; checksBytes?: boolean; refuses?: string; dateOf?: () => Date };

/** As much of S3 as is asked here, with the habits of one store or another. It looks at no signature. */
function startStore({ keepsFirst, checksBytes, refuses, dateOf = () => new Date() }: Habits) {
  const objects = new Map<string, Uint8Array<ArrayBuffer>>();
  const error = (status: number, code: string) =>
    new Response(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>canary</Message></Error>`, {
      status,
      headers: { "content-type": "application/xml" },
    });
  const answer = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    const kept = objects.get(pathname);
    if (request.method === "OPTIONS")
      return new Response(null, {
        headers: {
          "access-control-allow-origin": "*",
          "access-control-allow-methods": "*",
          "access-control-allow-headers": "*",
        },
      });
    if (refuses !== undefined && request.method !== "GET") return error(403, refuses);
    if (request.method === "PUT") {
      if (kept !== undefined && keepsFirst) return error(412, "PreconditionFailed");
      if (checksBytes && request.headers.has("x-amz-meta-unsigned")) return error(403, "AccessDenied");
      const bytes = new Uint8Array(await request.arrayBuffer());
      const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("base64");
      if (checksBytes && request.headers.get("x-amz-checksum-sha256") !== sha256)
        return error(400, "BadDigest");
      objects.set(pathname, bytes);
      return new Response();
    }
    if (request.method === "DELETE")
      return objects.delete(pathname) ? new Response(null, { status: 204 }) : error(404, "NoSuchKey");
    if (kept === undefined) return error(404, "NoSuchKey");
    const sha256 = new Bun.CryptoHasher("sha256").update(kept).digest("base64");
    const headers = {
      etag: '"1"',
      "content-type": "text/plain",
      ...(checksBytes && { "x-amz-checksum-sha256": sha256 }),
    };
    return new Response(kept, { headers });
  };
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const response = await answer(request);
      response.headers.set("date", dateOf().toUTCString());
      return response;
    },
  });
  servers.push(server);
  return { objects, config: bucketAt(`http://127.0.0.1:${server.port}`) };
}

const servers: Bun.Server<undefined>[] = [];
afterAll(async () => {
  for (const server of servers) await server.stop(true);
});

describe("doctor, of stores with habits of their own", () => {
  test("a store that keeps every promise is told apart from one that lets uploads be replaced", async () => {
    const strict = startStore({ keepsFirst: true, checksBytes: true });
    const findings = await checkStorage(strict.config, publicUrl);
    expect(words(findings, "failure")).toEqual([]);
    expect(words(findings, "ok")[0]).toContain("tells SHA-256; refuses other bytes");
    // It has no list to give.
    expect(words(findings, "warning")).toEqual([expect.stringContaining("lists no objects")]);
    expect(strict.objects.size).toBe(0);

    const lenient = startStore({});
    const weaker = words(await checkStorage(lenient.config, publicUrl), "warning");
    expect(weaker).toHaveLength(3);
    expect(weaker[0]).toContain("does not honour If-None-Match");
    expect(lenient.objects.size).toBe(0);
  }, 20_000);

  test("a page may upload when origin, method and every header are allowed, and not before", async () => {
    const may = async (origin: string, methods: string, headers: string) => {
      const answer = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": methods,
        "access-control-allow-headers": headers,
      };
      const findings = await checkCors(async () => new Response(null, { headers: answer }), "x", [publicUrl]);
      return findings[0]?.status === "ok";
    };
    const all = "Content-Type, If-None-Match, X-Amz-Checksum-Sha256";
    expect(await may(publicUrl, "GET, PUT", all)).toBe(true);
    expect(await may("*", "*", "*")).toBe(true);
    expect(await may("", "GET, PUT", all)).toBe(false);
    expect(await may("https://gate.example.co", "GET, PUT", all)).toBe(false);
    expect(await may(publicUrl, "GET, POST", all)).toBe(false);
    expect(await may(publicUrl, "PUT", "content-type, if-none-match")).toBe(false);
  });

  test("a clock apart is warned of, and named when it is why signatures are refused", async () => {
    const anHourAhead = () => new Date(Date.now() + 3_600_000);
    const apart = startStore({ keepsFirst: true, dateOf: anHourAhead });
    const said = /The store's clock is (3599|3600) s ahead of this machine's: set both by NTP\./;
    expect(words(await checkStorage(apart.config, publicUrl), "warning").join("\n")).toMatch(said);
    const refusing = startStore({ refuses: "RequestTimeTooSkewed", dateOf: anHourAhead });
    const findings = await checkStorage(refusing.config, publicUrl);
    expect(findings).toHaveLength(1);
    expect(words(findings, "failure")[0]).toMatch(said);
    expect(words(findings, "failure")[0]).toContain(
      "An upload by a signed URL was refused: 403 RequestTimeTooSkewed",
    );
    expect(JSON.stringify(findings)).not.toMatch(/canary/i);
  }, 20_000);

  test("a store that is not there is one failure", async () => {
    const findings = await checkStorage(bucketAt("http://127.0.0.1:9"), publicUrl);
    expect(findings).toEqual([
      {
        name: "storage",
        status: "failure",
        message: expect.stringMatching(/^bucket artifacts at 127\.0\.0\.1:9: .*cannot be reached/),
      },
    ]);
  }, 20_000);
});
