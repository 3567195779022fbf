import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "./config-load.ts";

function warningsOf(models: string): string[] {
  const cwd = mkdtempSync(join(tmpdir(), "config-routes-"));
  const yaml = `
providers:
  openai: { kind: openai, base_url: "http://127.0.0.1:1/v1" }
  claude: { kind: anthropic, base_url: "http://127.0.0.1:1" }
  vectors: { kind: openai, base_url: "http://127.0.0.1:1/v1", endpoints: [embeddings] }
models:
${models}`;
  writeFileSync(join(cwd, "specgate.yaml"), yaml);
  const loaded = loadConfig({ env: {}, cwd, flags: {}, terminal: false });
  rmSync(cwd, { recursive: true });
  return loaded.ok ? loaded.warnings : loaded.mistakes;
}

test("a fallback that can never serve is told of, by name and with what would be right", () => {
  const [warning, ...more] = warningsOf(
    "  fast: { targets: [{ provider: claude, model: a }], fallbacks: [{ provider: vectors, model: b }, { provider: openai, model: c }] }",
  );
  expect(more).toEqual([]);
  expect(warning).toStartWith(
    "models.fast: the fallback vectors/b can never serve: it answers embeddings, and no target does",
  );
  expect(warning).toContain("messages");
});

test("a fallback that shares one endpoint with one target is right", () => {
  expect(
    warningsOf(
      "  fast: { targets: [{ provider: claude, model: a }, { provider: openai, model: c }], fallbacks: [{ provider: vectors, model: b }] }",
    ),
  ).toEqual([]);
});
