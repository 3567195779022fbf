import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { Config } from "./config.ts";
import { addressKind, parseBaseUrl } from "./config-address.ts";
import { type ConfigFlags, type LoadedConfig, loadConfig } from "./config-load.ts";
import { configValues, printConfig } from "./config-print.ts";
import { variables } from "./config-variables.ts";
import { formatUsd } from "./money.ts";
import { nearest } from "./nearest.ts";

const room = mkdtempSync(join(tmpdir(), "specgate-config-"));
afterAll(() => rmSync(room, { recursive: true, force: true }));
let count = 0;

function load(
  env: Record<string, string | undefined>,
  yaml: string | null = null,
  flags: ConfigFlags = {},
): LoadedConfig {
  const cwd = join(room, String(count++));
  mkdirSync(cwd);
  if (yaml !== null) writeFileSync(join(cwd, "specgate.yaml"), yaml);
  return loadConfig({ env, cwd, flags, terminal: false });
}

function good(
  env: Record<string, string | undefined>,
  yaml: string | null = null,
  flags: ConfigFlags = {},
): Config {
  const loaded = load(env, yaml, flags);
  if (!loaded.ok) throw new Error(loaded.mistakes.join("\n"));
  return loaded.config;
}

function bad(
  env: Record<string, string | undefined>,
  yaml: string | null = null,
  flags: ConfigFlags = {},
): string[] {
  const loaded = load(env, yaml, flags);
  if (loaded.ok) throw new Error("this configuration was taken");
  return loaded.mistakes;
}

const canary = "sk-canary-7f3a91";

describe("the environment", () => {
  test("nothing set is a complete configuration on loopback", () => {
    const config = good({});
    expect(config).toMatchObject({
      host: "127.0.0.1",
      port: 8080,
      publicUrl: null,
      journal: "disk",
      file: null,
    });
    expect(config.dataDir).toEndWith("/specgate-data");
    expect(config.log).toEqual({ level: "info", format: "json" });
    expect(config.gateway.providers).toEqual({});
  });

  test("a flag stands over its variable, and its mistakes are named by the flag", () => {
    expect(good({ SPECGATE_PORT: "9000" }, null, { port: "9001", dataDir: "d" }).port).toBe(9001);
    expect(bad({}, null, { port: "http" })).toEqual([
      "--port: not a port; would be a whole number from 0 to 65535, such as 8080",
    ]);
  });

  test("an empty value is a mistake, never a default", () => {
    for (const name of Object.keys(variables)) expect(bad({ [name]: "" })[0]).toStartWith(`${name}: empty`);
  });

  test("a mistyped variable of ours is refused with the nearest name", () => {
    expect(bad({ SPECGATE_PROT: "1" })).toEqual([
      `SPECGATE_PROT: no such variable; did you mean "SPECGATE_PORT"?`,
    ]);
  });

  test("Redis is known by its URL, and nothing else is taken for one", () => {
    expect(good({ REDIS_URL: "rediss://:pass@redis:6380/1" }).redisUrl?.reveal()).toBe(
      "rediss://:pass@redis:6380/1",
    );
    for (const wrong of ["redis", "http://redis", `redis:${canary}`])
      expect(bad({ REDIS_URL: wrong })[0]).toStartWith("REDIS_URL: not a Redis URL; would be such as");
  });

  test("a variable that shells set for other programs is warned of, aloud", () => {
    const loaded = load({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://x" });
    expect(loaded.ok && loaded.warnings).toEqual([
      "OTEL_EXPORTER_OTLP_ENDPOINT is set, but its feature is not in this version: it has no effect",
    ]);
  });

  test("a secret may come from a file, and from there alone", () => {
    const path = join(room, "secret");
    writeFileSync(path, `${"s".repeat(40)}\n`);
    expect(good({ SPECGATE_JWT_SECRET_FILE: path }).jwtSecrets?.map((one) => one.reveal())).toEqual([
      "s".repeat(40),
    ]);
    expect(bad({ SPECGATE_JWT_SECRET_FILE: path, SPECGATE_JWT_SECRET: "t".repeat(40) })[0]).toContain(
      "given twice",
    );
    expect(bad({ SPECGATE_JWT_SECRET_FILE: join(room, "absent") })[0]).toContain("cannot be read");
    writeFileSync(path, "\n");
    expect(bad({ SPECGATE_JWT_SECRET_FILE: path })[0]).toContain("is empty");
    expect(bad({ SPECGATE_PORT_FILE: path })[0]).toContain("would be SPECGATE_PORT");
  });

  test("signing secrets are long, and named by place when they are not", () => {
    expect(good({ SPECGATE_JWT_SECRET: `${"a".repeat(32)},${"b".repeat(32)}` }).jwtSecrets).toHaveLength(2);
    expect(bad({ SPECGATE_JWT_SECRET: `${"a".repeat(32)},short` })[0]).toContain(
      "secret 2 of 2 is too short",
    );
  });

  test("the public URL is an origin, and https beyond loopback", () => {
    expect(good({ SPECGATE_PUBLIC_URL: "https://Gate.example.com/" }).publicUrl).toBe(
      "https://gate.example.com",
    );
    expect(good({ SPECGATE_PUBLIC_URL: "http://localhost:8080" }).publicUrl).toBe("http://localhost:8080");
    for (const url of [
      "http://gate.example.com",
      "https://g.example/x",
      "ftp://g",
      "https://u:p@g.example",
      "gate.example",
    ])
      expect(bad({ SPECGATE_PUBLIC_URL: url })).toHaveLength(1);
  });

  test("hosts, networks and origins are exact lists, and a star is no entry", () => {
    const config = good({
      SPECGATE_ALLOWED_HOSTS: "Gate.example.com, gate:8443",
      SPECGATE_TRUSTED_PROXIES: "10.0.0.0/8 ::1",
      SPECGATE_CORS_ORIGINS: "https://a.example tauri://localhost",
    });
    expect(config.allowedHosts).toEqual(["gate.example.com", "gate:8443"]);
    expect(config.trustedProxies).toEqual(["10.0.0.0/8", "::1/128"]);
    expect(config.corsOrigins).toEqual(["https://a.example", "tauri://localhost"]);
    expect(bad({ SPECGATE_CORS_ORIGINS: "https://a.example *" })[0]).toContain("entry 2");
    expect(bad({ SPECGATE_ALLOWED_HOSTS: "*.example.com" })).toHaveLength(1);
    expect(bad({ SPECGATE_TRUSTED_PROXIES: "10.0.0.0/33" })).toHaveLength(1);
  });

  test("listening for other machines without a public URL is warned of", () => {
    const loaded = load({ SPECGATE_HOST: "0.0.0.0" });
    expect(loaded.ok && loaded.warnings[0]).toContain("without SPECGATE_PUBLIC_URL");
  });

  test("settings of a database that is not there are refused", () => {
    expect(bad({ DATABASE_PREPARE: "off" })[0]).toStartWith("DATABASE_PREPARE: set without DATABASE_URL");
    const config = good({ DATABASE_URL: "postgres://u:p@db/x", DATABASE_PREPARE: "off" });
    expect(config.database.prepare).toBe(false);
  });
});

describe("how people come in", () => {
  const client = {
    SPECGATE_OIDC_ISSUER: "https://login.example.com/realms/house",
    SPECGATE_OIDC_CLIENT_ID: "specgate",
    SPECGATE_OIDC_CLIENT_SECRET: canary,
  };

  test("apps register themselves unless told otherwise, and are not known by documents unless told so", () => {
    expect(good({}).oauth).toEqual({ registration: true, cimd: false });
    const other = { SPECGATE_OAUTH_REGISTRATION: "off", SPECGATE_OAUTH_CIMD: "on" };
    expect(good(other).oauth).toEqual({ registration: false, cimd: true });
    expect(bad({ SPECGATE_OAUTH_CIMD: "yes" })[0]).toContain("neither on nor off");
  });

  test("an identity provider is there when all three of its variables are", () => {
    expect(good({}).oidc).toBeNull();
    const { oidc } = good(client);
    expect(oidc).toMatchObject({ issuer: client.SPECGATE_OIDC_ISSUER, clientId: "specgate" });
    expect(oidc?.clientSecret.reveal()).toBe(canary);
    expect(bad({ SPECGATE_OIDC_CLIENT_ID: "specgate" })).toEqual([
      "SPECGATE_OIDC_ISSUER: not set, though SPECGATE_OIDC_CLIENT_ID is; would be set as well, or none of them",
      "SPECGATE_OIDC_CLIENT_SECRET: not set, though SPECGATE_OIDC_CLIENT_ID is; would be set as well, or none of them",
    ]);
  });

  test("its secret may come from a file, and one that cannot be read is one mistake", () => {
    const path = join(room, "client-secret");
    writeFileSync(path, `${canary}\n`);
    const { SPECGATE_OIDC_CLIENT_SECRET: _, ...rest } = client;
    const secretOf = (file: string) => ({ ...rest, SPECGATE_OIDC_CLIENT_SECRET_FILE: file });
    expect(good(secretOf(path)).oidc?.clientSecret.reveal()).toBe(canary);
    expect(bad(secretOf(join(room, "absent")))).toHaveLength(1);
  });

  test("an issuer is https, or http on loopback, and an issuer alone", () => {
    const taken = ["https://login.example.com/", "https://sso.corp.internal/x", "http://127.0.0.1:9000"];
    for (const issuer of taken)
      expect(good({ ...client, SPECGATE_OIDC_ISSUER: issuer }).oidc?.issuer).toBe(issuer);
    for (const issuer of [
      "http://login.example.com",
      "http://10.0.0.1",
      "https://169.254.169.254/",
      `https://u:${canary}@login.example.com`,
      `https://login.example.com?${canary}`,
      "https://login.example.com/#",
      "https://login.example.com/.well-known/openid-configuration",
      "login.example.com",
      canary,
    ]) {
      const mistakes = bad({ ...client, SPECGATE_OIDC_ISSUER: issuer });
      expect(mistakes).toHaveLength(1);
      expect(mistakes[0]).not.toContain(canary);
    }
  });

  test("a first administrator is an e-mail address and a password, or nobody", () => {
    expect(good({}).firstAdmin).toBeNull();
    const path = join(room, "admin-password");
    writeFileSync(path, "correct horse battery\n");
    const { firstAdmin } = good({
      SPECGATE_ADMIN_EMAIL: "Ada@example.com",
      SPECGATE_ADMIN_PASSWORD_FILE: path,
    });
    expect(firstAdmin?.email).toBe("Ada@example.com");
    expect(firstAdmin?.password.reveal()).toBe("correct horse battery");
    expect(bad({ SPECGATE_ADMIN_EMAIL: "ada@example.com" })).toEqual([
      "SPECGATE_ADMIN_PASSWORD: not set, though SPECGATE_ADMIN_EMAIL is; would be set as well, or none of them",
    ]);
    const wrong = { SPECGATE_ADMIN_EMAIL: "ada", SPECGATE_ADMIN_PASSWORD: "x".repeat(11) };
    expect(bad(wrong)).toEqual([
      "SPECGATE_ADMIN_EMAIL: not an e-mail address; would be such as ada@example.com",
      "SPECGATE_ADMIN_PASSWORD: too short; would be of 12 to 1024 bytes",
    ]);
    expect(bad({ ...wrong, SPECGATE_ADMIN_PASSWORD: "é".repeat(513) })[1]).toContain("too long");
  });
});

describe("providers of the environment", () => {
  test("a key registers its provider at the provider's own address", () => {
    const { providers } = good({ OPENAI_API_KEY: "k", GEMINI_API_KEY: "k", MISTRAL_API_KEY: "k" }).gateway;
    expect(Object.keys(providers)).toEqual(["openai", "gemini", "mistral"]);
    expect(providers.openai?.baseUrl).toBe("https://api.openai.com/v1");
    expect(providers.mistral?.includeUsage).toBe(false);
  });

  test("Ollama needs an address alone, may be private, and answers under /v1", () => {
    const { ollama } = good({ OLLAMA_BASE_URL: "http://10.1.2.3:11434/" }).gateway.providers;
    expect(ollama).toMatchObject({
      baseUrl: "http://10.1.2.3:11434/v1",
      apiKey: null,
      allowPrivateNetwork: true,
    });
  });

  test("a key and an address that belong together are asked for together", () => {
    expect(bad({ OPENAI_BASE_URL: "https://x.example/v1" })[0]).toContain("set without OPENAI_API_KEY");
    expect(bad({ BUILT_IN_FORGE_API_KEY: "k" })[0]).toStartWith("BUILT_IN_FORGE_API_URL: not set");
    expect(
      good({ BUILT_IN_FORGE_API_KEY: "k", BUILT_IN_FORGE_API_URL: "https://f.example" }).gateway.providers
        .forge?.baseUrl,
    ).toBe("https://f.example/v1");
  });

  test("loopback may be written in any spelling, private addresses need leave, metadata never gets it", () => {
    const kinds = {
      "http://2130706433/v1": "loopback",
      "http://127.1/v1": "loopback",
      "http://0x7f.0.0.1/v1": "loopback",
      "http://[::ffff:127.0.0.1]/v1": "loopback",
      "http://localhost./v1": "loopback",
      "http://10.0.0.1/": "private",
      "http://[fd12::1]/": "private",
      "http://0.0.0.0/": "private",
      "http://vllm:8000/": "private",
      "http://[::ffff:10.0.0.1]/": "private",
      "http://[64:ff9b::a00:1]/": "private",
      "http://169.254.169.254/": "metadata",
      "http://2852039166/": "metadata",
      "http://[::ffff:169.254.169.254]/": "metadata",
      "http://[fd00:ec2::254]/": "metadata",
      "http://METADATA.google.internal./": "metadata",
      "http://100.100.100.200/": "metadata",
      "https://api.openai.com/v1": "public",
      "https://[2606:4700::1111]/": "public",
      "https://8.8.8.8/": "public",
    };
    for (const [url, kind] of Object.entries(kinds)) {
      expect([url, addressKind(new URL(url).hostname)]).toEqual([url, kind]);
      expect("value" in parseBaseUrl(url, false)).toBe(kind === "public" || kind === "loopback");
      expect("value" in parseBaseUrl(url, true)).toBe(kind !== "metadata");
    }
  });

  test("an address with a password, a query or another scheme is refused without repeating it", () => {
    for (const url of [
      `https://u:${canary}@x.example/v1`,
      `https://x.example/v1?key=${canary}`,
      `file:///${canary}`,
      canary,
    ]) {
      const mistakes = bad({ OPENAI_API_KEY: "k", OPENAI_BASE_URL: url });
      expect(mistakes).toHaveLength(1);
      expect(mistakes[0]).not.toContain(canary);
    }
  });
});

describe("specgate.yaml", () => {
  test("says who answers, what callers ask for, what it costs and how much is allowed", () => {
    const { gateway, file } = good(
      { OPENAI_API_KEY: "from-env", TOKEN: "t0ken" },
      `
providers:
  main: { kind: openai, api_key: "\${TOKEN}" }
  local: { kind: openai, base_url: "http://127.0.0.1:11434/v1/", include_usage: false }
models:
  fast: { targets: [ { provider: openai, model: gpt-4o-mini } ], timeouts: { idle_ms: 5000 } }
prices:
  "local/*": { input: 0 }
  "house/x": { input: 1.0, cached_read: 0.1, output: 2.000000001 }
limits:
  llm: { requests_per_minute: null, streams_max: 10 }
`,
    );
    expect(file).toEndWith("/specgate.yaml");
    expect(Object.keys(gateway.providers)).toEqual(["main", "local", "openai"]);
    expect(gateway.providers.main?.apiKey?.reveal()).toBe("t0ken");
    expect(gateway.providers.local).toMatchObject({
      baseUrl: "http://127.0.0.1:11434/v1",
      includeUsage: false,
    });
    expect(gateway.models.fast).toEqual({
      targets: [{ provider: "openai", model: "gpt-4o-mini", weight: 1 }],
      fallbacks: [],
      retries: 2,
      timeouts: {
        connectMs: 5_000,
        firstTokenMs: 30_000,
        firstByteTotalMs: 55_000,
        idleMs: 5_000,
        totalMs: 600_000,
      },
    });
    expect(gateway.prices["house/x"]).toEqual({
      inputNanoPerMtok: 1_000_000_000,
      cachedReadNanoPerMtok: 100_000_000,
      cacheWriteNanoPerMtok: 1_000_000_000,
      outputNanoPerMtok: 2_000_000_001,
    });
    expect(gateway.limits.llm).toMatchObject({
      requestsPerMinute: null,
      streamsMax: 10,
      streamsPerToken: 200,
    });
  });

  test("an empty page is a page with nothing to say", () => {
    expect(good({}, "# nothing yet\n").gateway.limits.llm.streamsMax).toBe(2_000);
    expect(good({}, "providers:\nmodels:\n").gateway.models).toEqual({});
  });

  test("a provider of the file takes the place of the variable's", () => {
    const { providers } = good(
      { OPENAI_API_KEY: "env" },
      "providers: { openai: { kind: openai, base_url: https://proxy.example/v1, api_key: own } }",
    ).gateway;
    expect(Object.keys(providers)).toEqual(["openai"]);
    expect(providers.openai?.apiKey?.reveal()).toBe("own");
  });

  test("names that objects inherit are not found among models", () => {
    expect(good({}, "").gateway.models.constructor).toBeUndefined();
  });

  test("keys that nothing reads name their line and the nearest key", () => {
    expect(bad({}, "limits:\n  llm:\n    stream_max: 3\n")).toEqual([
      `specgate.yaml:3: limits.llm.stream_max: no such key; did you mean "streams_max"?`,
    ]);
  });

  test("routes are read whole: kinds, endpoints, weights, fallbacks, retries, every timeout", () => {
    const { gateway } = good(
      {},
      `
providers:
  a: { kind: openai, endpoints: [ chat/completions, embeddings ] }
  claude: { kind: anthropic }
models:
  m:
    targets: [ { provider: a, model: x, weight: 3 }, { provider: a, model: y } ]
    fallbacks: [ { provider: claude, model: z } ]
    retries: 0
    timeouts: { connect_ms: 1, first_token_ms: 2, first_byte_total_ms: 3, idle_ms: 4, total_ms: 5 }
`,
    );
    expect(gateway.providers.a).toMatchObject({ endpoints: ["chat/completions", "embeddings"] });
    expect(gateway.providers.claude).toMatchObject({
      kind: "anthropic",
      baseUrl: "https://api.anthropic.com",
      endpoints: ["messages", "messages/count_tokens", "chat/completions"],
    });
    expect(gateway.models.m).toEqual({
      targets: [
        { provider: "a", model: "x", weight: 3 },
        { provider: "a", model: "y", weight: 1 },
      ],
      fallbacks: [{ provider: "claude", model: "z" }],
      retries: 0,
      timeouts: { connectMs: 1, firstTokenMs: 2, firstByteTotalMs: 3, idleMs: 4, totalMs: 5 },
    });
  });

  test("a route that cannot be is said with what would be right", () => {
    expect(
      bad(
        {},
        `
providers:
  a: { kind: openai, endpoints: [ chat, messages ] }
models:
  m: { targets: [ { provider: a, model: x, weight: 0 } ], fallbacks: [ { provider: b, model: z } ], retries: 11 }
`,
      ).map((line) => line.replace(/; would be .*/, "")),
    ).toEqual([
      "specgate.yaml:3: providers.a.endpoints[0]: not an endpoint of the kind openai",
      "specgate.yaml:3: providers.a.endpoints[1]: not an endpoint of the kind openai",
      "specgate.yaml:5: models.m.retries: of another kind",
      'specgate.yaml:5: models.m.fallbacks[0].provider: no provider of that name is configured; did you mean "a"?',
      "specgate.yaml:5: models.m.targets[0].weight: of another kind",
    ]);
  });

  test("repeated keys, aliases, tags and broken YAML are refused, and nothing of the page is repeated", () => {
    for (const page of [
      `providers: {}\nproviders: {}`,
      `a: &a [1]\nmodels: *a`,
      `prices: !!binary ${canary}`,
      `providers: { openai: { kind: openai, api_key: "${canary} } }`,
      `providers:\n\tx: ${canary}`,
      `- ${canary}`,
      canary,
    ]) {
      const mistakes = bad({}, page);
      expect(mistakes.length).toBeGreaterThan(0);
      expect(mistakes.join()).not.toContain(canary);
    }
  });

  test("a bomb of aliases costs nothing", () => {
    const bomb = Array.from(
      { length: 30 },
      (_, i) => `a${i}: &a${i} [${i === 0 ? "x" : `*a${i - 1},*a${i - 1}`}]`,
    ).join("\n");
    expect(bad({}, bomb)).toHaveLength(30);
  });

  test("prices are exact, whatever decimals they have", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999_999_999_999_999 }), (nano) => {
        const { gateway } = good({}, `prices: { "a/b": { input: ${formatUsd(nano)} } }`);
        return gateway.prices["a/b"]?.inputNanoPerMtok === nano;
      }),
      { numRuns: 50 },
    );
    for (const price of ["-1", "0.0000000001", "1e3", "abc", "1000000", ".5", "null"])
      expect(bad({}, `prices: { "a/b": { input: ${price} } }`)).toHaveLength(1);
  });

  test("a file that was asked for must be there", () => {
    expect(bad({ SPECGATE_CONFIG: "nowhere.yaml" })).toEqual([
      "nowhere.yaml: no such file; would be a readable YAML file",
    ]);
    expect(bad({}, null, { config: "nowhere.yaml" })[0]).toContain("no such file");
  });
});

test("everything wrong with a broken environment and a broken file is said at once, and no secret with it", () => {
  const env = {
    SPECGATE_PORT: canary,
    SPECGATE_HOST: `http://${canary}`,
    SPECGATE_PUBLIC_URL: `http://u:${canary}@gate.example.com`,
    SPECGATE_JWT_SECRET: canary,
    SPECGATE_LOG_LEVEL: canary,
    SPECGATE_METRICS_TOKEN: `${canary} x`,
    DATABASE_URL: `mysql://u:${canary}@db`,
    OPENAI_API_KEY: `${canary}\u0000é`,
    GROQ_API_KEY: "k",
    GROQ_BASE_URL: "http://169.254.169.254/",
    SPECGATE_DATADIR: canary,
    REDIS_URL: `amqp://:${canary}@r`,
    TOKEN: `${canary} with spaces`,
  };
  const mistakes = bad(
    env,
    `
providers:
  Main: { kind: openai, api_key: "\${TOKEN}", api_kee: "${canary}" }
  b: { kind: opnai, base_url: "http://10.0.0.1/v1", api_key: "\${ABSENT}" }
models:
  m: { targets: [ { provider: maim, model: x } ] }
prices: { "x": { inptu: 1 } }
limits: { llm: { streams_max: 0 } }
`,
  );
  expect(mistakes.length).toBe(22);
  expect(mistakes.join("\n")).not.toContain(canary);
  for (const line of mistakes) expect(line).toMatch(/^([A-Z_0-9]+|specgate\.yaml:\d+): /);
});

describe("what is printed", () => {
  test("shows everything in force and no secret", () => {
    const config = good(
      {
        OPENAI_API_KEY: canary,
        SPECGATE_JWT_SECRET: canary.repeat(3),
        SPECGATE_OIDC_ISSUER: "https://login.example.com",
        SPECGATE_OIDC_CLIENT_ID: "gate",
        SPECGATE_OIDC_CLIENT_SECRET: canary,
        SPECGATE_ADMIN_EMAIL: "ada@example.com",
        SPECGATE_ADMIN_PASSWORD: canary,
        DATABASE_URL: `postgres://u:${canary}@db/x`,
      },
      `prices: { "a/b": { input: 0.15 } }\nmodels: { fastOne: { targets: [ { provider: openai, model: gpt-4o } ] } }`,
    );
    const page = printConfig(config, { defaults: false });
    expect(page + JSON.stringify(configValues(config))).not.toContain(canary);
    expect(page).toContain("base_url: https://api.openai.com/v1");
    expect(page).toContain("fastOne:");
    expect(page).toContain('client_secret: "[redacted]"');
    expect(page).toContain("first_admin:\n  email: ada@example.com");
    expect(page).toContain(`input: "0.15"`);
  });

  test("the defaults name every variable", () => {
    const page = printConfig(null, { defaults: true });
    for (const name of [...Object.keys(variables), "OPENAI_API_KEY", "OLLAMA_BASE_URL"])
      expect(page).toContain(`#${name}=`);
    expect(page).toContain("streams_max: 2000");
  });

  test("the defaults show every key of what people name themselves, as the file would take it", () => {
    const [, commented = ""] = printConfig(null, { defaults: true }).split("Names are yours:\n");
    const yaml = commented.replaceAll(/^# ?/gm, "");
    const config = good({ ANTHROPIC_API_KEY: "k", GITHUB_MCP_TOKEN: "t" }, yaml);
    const { providers, models, prices, mcp } = configValues(config);
    const { workspaces, upstreams } = mcp as Record<string, object>;
    const keys = [providers, models, prices, workspaces, upstreams]
      .flatMap((group) => Object.values(group as Record<string, object>))
      .flatMap((one) => Object.keys(one))
      // Those are shown above.
      .filter((key) => key !== "timeouts");
    for (const key of keys) expect(yaml).toContain(`${key}:`);
  });
});

test("the nearest name is found when it is near, and not when it is far", () => {
  expect(nearest("prot", ["port", "host"])).toBe("port");
  expect(nearest("entirely_else", ["port", "host"])).toBeNull();
});
