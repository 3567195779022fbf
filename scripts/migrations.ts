/**
 * Writes `drizzle/migrations.ts`, the list of text imports by which the binary carries its migrations.
 *
 * `--check` writes nothing and fails when the list, or the SQL generated from the schema, is out of date.
 */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { argv, execPath, exit } from "node:process";

const root = `${import.meta.dir}/..`;
const listPath = `${root}/drizzle/migrations.ts`;

function migrationList(): string {
  const names = readdirSync(`${root}/drizzle`)
    .filter((name) => /^\d{4}_\w+\.sql$/.test(name))
    .sort();
  const imports = names.map((name) => `import m${name.slice(0, 4)} from "./${name}" with { type: "text" };`);
  const rows = names.map((name) => `  { name: "${name.replace(".sql", "")}", sql: m${name.slice(0, 4)} },`);
  return [
    "// Written by scripts/migrations.ts.",
    ...imports,
    "",
    "export const migrations: readonly { readonly name: string; readonly sql: string }[] = [",
    ...rows,
    "];",
    "",
  ].join("\n");
}

/** True when drizzle-kit, run on a copy, finds nothing to add. It takes relative paths only, and exits 0 when it breaks. */
function schemaIsCovered(): boolean {
  const copy = `dist/migrations-${Bun.randomUUIDv7()}`;
  try {
    cpSync(`${root}/drizzle`, `${root}/${copy}`, { recursive: true });
    const options = ["--dialect=postgresql", "--schema=./src/db/schema.ts", `--out=./${copy}`];
    const ran = Bun.spawnSync({
      cmd: [execPath, "node_modules/drizzle-kit/bin.cjs", "generate", ...options],
      cwd: root,
      stderr: "inherit",
    });
    return ran.stdout.toString().includes("No schema changes");
  } finally {
    rmSync(`${root}/${copy}`, { recursive: true, force: true });
  }
}

if (!argv.includes("--check")) {
  writeFileSync(listPath, migrationList());
} else if (readFileSync(listPath, "utf8") !== migrationList()) {
  console.error("drizzle/migrations.ts is out of date: run `bun scripts/migrations.ts`.");
  exit(1);
} else if (!schemaIsCovered()) {
  console.error(
    "src/db/schema.ts has changes without a migration: run `bunx drizzle-kit generate --config scripts/drizzle.config.ts`.",
  );
  exit(1);
}
