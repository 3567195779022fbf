import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Config, defaultArtifacts, defaultRetention } from "./config.ts";
import { type LoadedConfig, loadConfig } from "./config-load.ts";
import { configValues, printConfig } from "./config-print.ts";

const room = mkdtempSync(join(tmpdir(), "specgate-config-artifacts-"));
afterAll(() => rmSync(room, { recursive: true, force: true }));
let count = 0;

function load(env: Record<string, string>, yaml: string | null = null): LoadedConfig {
  const cwd = join(room, String(count++));
  mkdirSync(cwd);
  if (yaml !== null) writeFileSync(join(cwd, "specgate.yaml"), yaml);
  return loadConfig({ env, cwd, flags: {}, terminal: false });
}

function taken(env: Record<string, string>, yaml: string | null = null): Config & { warnings: string[] } {
  const loaded = load(env, yaml);
  if (!loaded.ok) throw new Error(loaded.mistakes.join("\n"));
  return { ...loaded.config, warnings: loaded.warnings };
}

function refused(env: Record<string, string>, yaml: string | null = null): string[] {
  const loaded = load(env, yaml);
  if (loaded.ok) throw new Error("this configuration was taken");
  return loaded.mistakes;
}

const canary = "sk-canary-7f3a91";
const account = "0123456789abcdef0123456789ABCDEF";
const key = { S3_ACCESS_KEY_ID: "AKIDEXAMPLE", S3_SECRET_ACCESS_KEY: canary };
const bucket = {
  SPECGATE_STORAGE: "s3",
  S3_ENDPOINT: "https://s3.eu-central-1.amazonaws.com",
  S3_BUCKET: "acme-artifacts",
  ...key,
};

describe("where artifacts are kept", () => {
  test("is the data dir, unless a bucket is asked for", () => {
    expect(taken({})).toMatchObject({ storage: { kind: "local" }, warnings: [] });
    expect(taken({ SPECGATE_STORAGE: "local" }).storage).toEqual({ kind: "local" });
    expect(refused({ SPECGATE_STORAGE: "S3" })).toEqual(['SPECGATE_STORAGE: not a storage; would be "s3"']);
  });

  test("a bucket has an address, a name, a region and a key", () => {
    const { storage } = taken({ ...bucket, S3_ENDPOINT: "https://S3.example.com:9000/", S3_REGION: "eu" });
    if (storage.kind !== "s3") throw new Error("not a bucket");
    expect(storage).toMatchObject({
      endpoint: "https://s3.example.com:9000",
      bucket: "acme-artifacts",
      region: "eu",
    });
    expect(storage.accessKeyId.reveal()).toBe("AKIDEXAMPLE");
    expect(storage.secretAccessKey.reveal()).toBe(canary);
    expect(taken(bucket).storage).toMatchObject({ region: "us-east-1" });
  });

  test("Cloudflare's account id alone says where R2 is", () => {
    const { S3_ENDPOINT: _, ...rest } = bucket;
    expect(taken({ ...rest, R2_ACCOUNT_ID: account }).storage).toMatchObject({
      endpoint: `https://${account.toLowerCase()}.r2.cloudflarestorage.com`,
      region: "auto",
    });
    const european = { ...bucket, S3_ENDPOINT: `https://${account}.eu.r2.cloudflarestorage.com` };
    expect(taken(european).storage).toMatchObject({ region: "auto" });
    expect(refused({ ...bucket, R2_ACCOUNT_ID: account })).toEqual([
      "R2_ACCOUNT_ID: set beside S3_ENDPOINT, and each names an address of its own; would be one of the two",
    ]);
    expect(refused({ ...rest, R2_ACCOUNT_ID: canary })).toEqual([
      "R2_ACCOUNT_ID: not an account id of Cloudflare; would be 32 hexadecimal digits",
    ]);
  });

  test("everything that a bucket lacks is named at once", () => {
    const names = (lines: string[]) => lines.map((line) => line.split(":")[0]);
    const lacking = refused({ SPECGATE_STORAGE: "s3" });
    expect(names(lacking)).toEqual(["S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]);
    for (const line of lacking) expect(line).toContain("not set, though SPECGATE_STORAGE is s3; would be");
    // What is there and wrong is not missing as well.
    const broken = { SPECGATE_STORAGE: "s3", S3_ENDPOINT: "x", S3_BUCKET: "X", S3_ACCESS_KEY_ID: "k" };
    expect(names(refused(broken))).toEqual(["S3_ENDPOINT", "S3_BUCKET", "S3_SECRET_ACCESS_KEY"]);
  });

  test("its key may come from files", () => {
    const path = join(room, "key");
    writeFileSync(path, `${canary}\n`);
    const { S3_ACCESS_KEY_ID: _, S3_SECRET_ACCESS_KEY: __, ...rest } = bucket;
    const { storage } = taken({ ...rest, S3_ACCESS_KEY_ID_FILE: path, S3_SECRET_ACCESS_KEY_FILE: path });
    expect(storage.kind === "s3" && storage.accessKeyId.reveal()).toBe(canary);
    expect(refused({ ...bucket, S3_SECRET_ACCESS_KEY_FILE: path })[0]).toContain("given twice");
  });

  test("its address is an origin and never the machine's own credentials, and no wrong value is repeated", () => {
    for (const endpoint of [
      "s3.example.com",
      `https://u:${canary}@s3.example.com`,
      `https://s3.example.com/${canary}`,
      `https://s3.example.com?key=${canary}`,
      "https://s3.example.com/#",
      "ftp://s3.example.com",
      "http://169.254.169.254",
      canary,
    ]) {
      const mistakes = refused({ ...bucket, S3_ENDPOINT: endpoint });
      expect(mistakes).toHaveLength(1);
      expect(mistakes[0]).toStartWith("S3_ENDPOINT: ");
      expect(mistakes[0]).not.toContain(canary);
    }
  });

  test("plain http is warned of, unless it stays on this machine", () => {
    const warningsAt = (endpoint: string) => taken({ ...bucket, S3_ENDPOINT: endpoint }).warnings;
    expect(warningsAt("http://minio:9000")).toEqual([
      "S3_ENDPOINT begins with http://: artifacts and signed URLs can be read and changed on their way",
    ]);
    expect(warningsAt("http://127.0.0.1:9000")).toEqual([]);
    expect(warningsAt("https://minio.lan")).toEqual([]);
  });

  test("its name and region are such as S3 has", () => {
    for (const name of ["abc", "a.b-c", "0".repeat(63)])
      expect(taken({ ...bucket, S3_BUCKET: name }).storage).toMatchObject({ bucket: name });
    for (const name of ["ab", "0".repeat(64), "Acme", "a_b", "-abc", "abc-", "a..b", "10.0.0.1", "a/b"])
      expect(refused({ ...bucket, S3_BUCKET: name })[0]).toStartWith("S3_BUCKET: not a bucket's name");
    for (const region of ["eu central", "a/b", "é", "x".repeat(65)])
      expect(refused({ ...bucket, S3_REGION: region })[0]).toStartWith("S3_REGION: not a region");
  });

  test("a bucket that nobody asked for is warned of, and does not stop the start", () => {
    const { storage, warnings } = taken({ ...bucket, SPECGATE_STORAGE: "local", R2_ACCOUNT_ID: account });
    expect(storage).toEqual({ kind: "local" });
    expect(warnings).toEqual(
      ["S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "R2_ACCOUNT_ID"].map(
        (name) =>
          `${name} is set, but artifacts are kept in the data dir: no effect without SPECGATE_STORAGE=s3`,
      ),
    );
  });

  test("is printed without its key", () => {
    const config = taken({ ...bucket, S3_ACCESS_KEY_ID: `id-${canary}` });
    const page = printConfig(config, { defaults: false });
    expect(page + JSON.stringify(configValues(config))).not.toContain(canary);
    expect(page).toContain("bucket: acme-artifacts");
    expect(page).toContain('secret_access_key: "[redacted]"');
  });
});

describe("artifacts and retention in specgate.yaml", () => {
  test("have defaults, as a whole and one by one", () => {
    expect(taken({}).gateway).toMatchObject({ artifacts: defaultArtifacts, retention: defaultRetention });
    expect(taken({}, "artifacts:\nretention:\n").gateway.artifacts).toEqual(defaultArtifacts);
    const { artifacts, retention } = taken({}, "artifacts: { retention_days: 7 }\nretention: {}").gateway;
    expect(artifacts).toEqual({ ...defaultArtifacts, retentionDays: 7 });
    expect(retention).toEqual({ requestsDays: 400, auditDays: null, eventsHours: 24 });
  });

  test("say how large, how long, of which kind and how much", () => {
    const { artifacts, retention } = taken(
      {},
      `
artifacts:
  size_bytes_max: 5368709120
  put_ttl_seconds: 43200
  get_ttl_seconds: 604800
  retention_days: null
  content_types: [ Application/PDF, "image/*", "*/*", application/pdf, application/vnd.api+json ]
  quota_bytes: 10737418240
retention: { requests_days: null, audit_days: null, events_hours: 720 }
`,
    ).gateway;
    expect(artifacts).toEqual({
      sizeBytesMax: 5_368_709_120,
      putTtlSeconds: 43_200,
      getTtlSeconds: 604_800,
      retentionDays: null,
      contentTypes: ["application/pdf", "image/*", "*/*", "application/vnd.api+json"],
      quotaBytes: 10_737_418_240,
    });
    expect(retention).toEqual({ requestsDays: null, auditDays: null, eventsHours: 720 });
  });

  test.each([
    ["artifacts: { size_bytes_max: 5368709121 }", "would be a whole number from 1 to 5368709120"],
    ["artifacts: { size_bytes_max: null }", "empty; would be a whole number"],
    ["artifacts: { put_ttl_seconds: 43201 }", "from 1 to 43200"],
    ["artifacts: { get_ttl_seconds: 0 }", "from 1 to 604800"],
    ["artifacts: { retention_days: 36501 }", "from 1 to 36500, or null"],
    ["artifacts: { quota_bytes: 0 }", ", or null"],
    ["artifacts: { content_types: [] }", "an empty list"],
    ["artifacts: { content_types: text/plain }", "would be a list"],
    ["artifacts: { content_types: [ pdf ] }", "artifacts.content_types[0]: not a content type"],
    ['artifacts: { content_types: [ "*/pdf" ] }', "not a content type"],
    ['artifacts: { content_types: [ "text/plain; charset=utf-8" ] }', "not a content type"],
    ["artifacts: { retention_day: 3 }", 'no such key; did you mean "retention_days"?'],
    ["retention: { requests_days: 0 }", "from 1 to 36500, or null"],
    ["retention: { events_hours: 721 }", "from 1 to 720"],
    ["retention: { events_hours: null }", "from 1 to 720"],
    ["retention: { audit_days: 365 }", "not in this version; would be null: kept for ever"],
  ])("%s is refused with what would be right", (yaml, sentence) => {
    const mistakes = refused({}, yaml);
    expect(mistakes).toHaveLength(1);
    expect(mistakes[0]).toStartWith("specgate.yaml:1: ");
    expect(mistakes[0]).toContain(sentence);
  });

  test("are printed as they are in force, and in the defaults", () => {
    const page = printConfig(taken({}, "artifacts: { quota_bytes: 5 }"), { defaults: false });
    expect(page).toContain("quota_bytes: 5\n");
    expect(page).toContain("audit_days: null\n");
    const defaults = printConfig(null, { defaults: true });
    expect(defaults).toContain("size_bytes_max: 104857600");
    expect(defaults).toContain("events_hours: 24");
    expect(defaults).toContain("; or S3_SECRET_ACCESS_KEY_FILE\n#S3_SECRET_ACCESS_KEY=");
  });
});
