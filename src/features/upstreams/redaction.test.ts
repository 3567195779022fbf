import { expect, test } from "bun:test";
import fc from "fast-check";
import { Secret } from "../../platform/secret.ts";
import { createRedact, secretsIn } from "./redaction.ts";

const secret = fc.oneof(
  fc.stringMatching(/^[A-Za-z0-9_/+=-]{8,60}$/),
  fc.string({ minLength: 8, maxLength: 30 }),
  fc.string({ minLength: 8, maxLength: 30, unit: "grapheme" }),
);
const around = fc.string({ maxLength: 20 });

/** As programs spell it; the text around it moves base64 by every offset. */
const spellings: ((secret: string, before: string, after: string) => { text: string; bare: string })[] = [
  (bare, before, after) => ({ text: before + bare + after, bare }),
  (it, before, after) => ({
    text: JSON.stringify(before + it + after),
    bare: JSON.stringify(it).slice(1, -1),
  }),
  (it, before, after) => ({
    text: encodeURIComponent((before + it + after).toWellFormed()),
    bare: encodeURIComponent(it.toWellFormed()),
  }),
  (it, before, after) => ({
    text: Buffer.from(before + it + after).toString("hex"),
    bare: Buffer.from(it).toString("hex"),
  }),
  (it) => ({
    text: Buffer.from(it).toString("base64"),
    bare: Buffer.from(it).toString("base64").slice(0, 10),
  }),
];

test("a secret is taken out of every string and name, however it is spelled, and the rest stays", () => {
  fc.assert(
    fc.property(secret, around, around, fc.nat(spellings.length - 1), (it, before, after, which) => {
      const { text, bare } = spellings[which]?.(it, before, after) ?? { text: "", bare: "" };
      const redact = createRedact([it]);
      const { value, count } = redact({ content: [{ type: "text", text }], [text]: 1, untouched: "fine" });
      const found = JSON.stringify(value);
      expect(count).toBeGreaterThanOrEqual(2);
      expect(value.content[0]?.text).not.toContain(bare);
      expect(Object.keys(value).join()).not.toContain(bare);
      expect(found).toContain("[redacted]");
      expect(value.untouched).toBe("fine");
    }),
    { numRuns: 1_000 },
  );
});

test("base64 of more than the secret is found at every offset", () => {
  const it = "sk-live-0123456789abcdef";
  for (const before of ["", "x", "xy", "user:", "Bearer "])
    for (const encoding of ["base64", "base64url"] as const) {
      const text = Buffer.from(`${before}${it}/and more`).toString(encoding);
      const { value, count } = createRedact([it])(text);
      expect(count).toBe(1);
      expect(Buffer.from(value.replace("[redacted]", ""), encoding).toString()).not.toContain("0123456789");
    }
});

test("it finds exactly what a plain search finds, also where secrets overlap", () => {
  const alphabet = fc.constantFrom("a", "b", "c");
  const word = fc.string({ unit: alphabet, minLength: 8, maxLength: 12 });
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 1, maxLength: 6 }),
      fc.string({ unit: alphabet, maxLength: 200 }),
      (words, noise) => {
        const text = noise + words.join(noise.slice(0, 5));
        const redact = createRedact(words);
        const { value } = redact(text);
        const kept = value.split("[redacted]");
        for (const word of words) for (const part of kept) expect(part).not.toContain(word);
        expect(redact(value).value).toBe(value);
      },
    ),
    { numRuns: 500 },
  );
  const innocent = { a: ["nothing", 12345678, null, true], b: { c: "secre" } };
  expect(createRedact(["secret-value", "12345678"])(innocent)).toEqual({ value: innocent, count: 0 });
  expect(createRedact(["secret-value"])(innocent).value).toBe(innocent);
});

test("short words are no secrets, and nothing is looked for where there are none", () => {
  const text = { a: "hunter2 and more" };
  expect(createRedact(["hunter2", ""])(text)).toEqual({ value: text, count: 0 });
});

test("a result that is nested without end is refused, not followed", () => {
  let deep: unknown = "x";
  for (let depth = 0; depth < 100_000; depth++) deep = [deep];
  expect(() => createRedact(["secret-value"])(deep)).toThrow("nested deeper than 100 levels");
});

test("every secret of a configuration is known, with the passwords of URLs, and plain settings of commands are not", () => {
  const of = (text: string) => new Secret(text);
  const found = secretsIn({
    database: { url: of("postgres://gate:p%40ssword1@db/x") },
    jwtSecrets: [of("first-signing-secret"), of("second-signing-secret")],
    providers: { openai: { apiKey: of("sk-openai-000"), baseUrl: "https://example.com" } },
    upstreams: {
      notes: {
        env: {
          NODE_ENV: of("production"),
          NOTES_DIR: of("/srv/notes"),
          API_KEY: of("production"),
          OTHER: of("ghp_A1b2C3d4E5f6"),
          SOCKET: of("/9j4AAQSkZJRgABAQEAYABgAAD2wBDAAMCAgMCAgM"),
          BROKER: of("amqp://me:letmein12@host/"),
          AWS_REGION: of("us-east-1"),
          JIRA_URL: of("https://jira.example.com"),
          TZ: of("Europe/Berlin"),
          JIRA_USERNAME: of("ann@example.com"),
          ORG: of("my-org-2024"),
          GOOGLE_CLOUD_PROJECT: of("my-gcp-project-123456"),
          TENANT_ID: of("550e8400-e29b-41d4-a716-446655440000"),
          HOOK: of("https://hooks.example.com/T024/Zk3v9Qx0b7T2m5Nc8Rw1"),
          BASE64: of("qJ3/x9Kz+2Lw8vB1nM4c"),
          GH_PAT: of("correcthorse"),
          MODEL: of("Llama-3-70B-Instruct"),
          OTHER_MODEL: of("claude-3-5-sonnet-20241022"),
          SYSTEM: of("Windows11-x86"),
          OPENAPI_MCP_HEADERS: of('{"Authorization":"Bearer in-a-header", "x-api-key":"with-\\"quotes\\""}'),
          CONNECTION_STRING: of("Server=db;Database=main;User Id=sa;Password=Hunter2!Hunter2;Encrypt=yes"),
          PGCONN: of("host=db user=me password=correct-horse"),
          JDBC: of("jdbc:postgresql://db/main?user=me&password=battery-staple"),
          MONGO: of("mongodb://me:pass%40word@one:27017,two:27017/main"),
        },
      },
    },
  });
  expect([...new Set(found)].sort()).toEqual(
    [
      "postgres://gate:p%40ssword1@db/x",
      "p%40ssword1",
      "p@ssword1",
      "first-signing-secret",
      "second-signing-secret",
      "sk-openai-000",
      "production",
      "ghp_A1b2C3d4E5f6",
      "9j4AAQSkZJRgABAQEAYABgAAD2wBDAAMCAgMCAgM",
      "Bearer in-a-header",
      "in-a-header",
      'with-"quotes"',
      "Hunter2!Hunter2",
      "correct-horse",
      "correcthorse",
      "battery-staple",
      "pass%40word",
      "pass@word",
      "Zk3v9Qx0b7T2m5Nc8Rw1",
      "qJ3/x9Kz+2Lw8vB1nM4c",
      "letmein12",
    ].sort(),
  );
});

test("keys in a command's arguments and in an address are secrets, and names, paths and settings are not", () => {
  const commands = [
    ["/bin/x", "--token", "ghp_secretsecretsecret", "--api-key=plain-looking-key", "SOME_SECRET=another-one"],
    [
      "/usr/bin/npx",
      "-y",
      "mcp-remote",
      "https://x.example/",
      "--header",
      "Authorization: Bearer of-somebody",
    ],
    ["/opt/server", "9f86d081884c7d659a2feaa0c55ad015", "550e8400-e29b-41d4-a716-446655440000"],
    ["/usr/bin/npx", "@modelcontextprotocol/server-filesystem@2025.8.21", "/srv/notes-2025-11-30-and-more"],
    ["/opt/server", "--auth-mode", "disabled", "--key", "/etc/keys/one", "--keep-token", "--verbose"],
  ];
  expect(commands.flatMap((command) => secretsIn({ upstreams: { a: { command } } }))).toEqual([
    "ghp_secretsecretsecret",
    "plain-looking-key",
    "another-one",
    "of-somebody",
    "9f86d081884c7d659a2feaa0c55ad015",
    "550e8400-e29b-41d4-a716-446655440000",
  ]);
  const url =
    "https://mcp.example.com/api/mcp/s/Zk3v9Qx0b7T2m5Nc8Rw1/mcp?key=0123456789abcdefghij&mode=readonly";
  expect(secretsIn({ upstreams: { a: { url } }, publicUrl: "https://gateway.example.com/a/b" })).toEqual([
    "Zk3v9Qx0b7T2m5Nc8Rw1",
    "0123456789abcdefghij",
  ]);
});

test("a megabyte is looked through in a few milliseconds", () => {
  const secrets = Array.from({ length: 30 }, () => crypto.randomUUID() + crypto.randomUUID());
  const redact = createRedact(secrets);
  const result = { content: [{ type: "text", text: "The quick brown fox; ".repeat(50_000) }] };
  redact(result);
  const took = Array.from({ length: 10 }, () => {
    const begun = performance.now();
    redact(result);
    return performance.now() - begun;
  });
  expect(Math.min(...took)).toBeLessThan(25);
});
