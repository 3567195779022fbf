/**
 * Builds `dist/specgate` for this platform: the program, its workers, its SQL and its PostgreSQL in one file.
 *
 * The binary never reads a `.env` or a `bunfig.toml` of the directory it is started in. Whitespace stays: Elysia reads
 * the source text of its hooks. Workers keep their bare names, so `new URL("./sync.ts", import.meta.url)` finds them in
 * the binary as it does on disk.
 */
import { readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import manifest from "../package.json";
import { packPostgres } from "./pack.ts";

const root = `${import.meta.dir}/..`;
export const binary = `${root}/dist/specgate`;
const inputsStamp = `${binary}.inputs`;

const workers = ["src/platform/journal/sync.ts", "src/features/llm/counting.ts"];

/** `fast`: the quickly packed PostgreSQL will do. */
export async function build(options: { fast?: boolean; bytecode?: boolean } = {}): Promise<void> {
  await packPostgres({ fast: options.fast === true });
  const inputs = inputsDigest();
  await compile("src/main.ts", binary, { bytecode: options.bytecode !== false });
  await Bun.write(inputsStamp, inputs);
}

/** One program of `main` and the workers; PostgreSQL is packed already. */
export async function compile(main: string, outfile: string, options: { bytecode: boolean }): Promise<void> {
  const scratch = `${outfile}.${process.pid}`;
  try {
    await Bun.build({
      entrypoints: [main, ...workers].map((path) => `${root}/${path}`),
      target: "bun",
      format: "esm",
      bytecode: options.bytecode,
      minify: { syntax: true, identifiers: true, whitespace: false },
      // Every kind is embedded, so that stack traces name the sources; the files written beside it are not kept.
      sourcemap: "linked",
      naming: { entry: "[name].[ext]" },
      define: { SPECGATE_VERSION: JSON.stringify(version()) },
      compile: { outfile: `${scratch}/specgate`, autoloadDotenv: false, autoloadBunfig: false },
    });
    // Renamed into place: a running gateway keeps the file it was started from.
    renameSync(`${scratch}/specgate`, outfile);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Builds when something that goes into the binary is newer than it; true when it did. */
export async function buildIfChanged(): Promise<boolean> {
  const stamp = Bun.file(inputsStamp);
  const current = (await Bun.file(binary).exists()) && (await stamp.exists()) ? await stamp.text() : "";
  if (current === inputsDigest()) return false;
  await build({ fast: true });
  return true;
}

function inputsDigest(): string {
  const hash = new Bun.CryptoHasher("sha256");
  const isInput = (path: string): boolean => /\.\w+$/.test(path) && !/\.test\.ts$|^testing\//.test(path);
  const listed = ["src", "drizzle"].flatMap((folder) =>
    readdirSync(`${root}/${folder}`, { recursive: true, encoding: "utf8" })
      .filter(isInput)
      .map((path) => `${folder}/${path}`),
  );
  const rest = ["package.json", "bun.lock", "tsconfig.json", "scripts/build.ts", "scripts/pack.ts"];
  for (const path of [...listed.sort(), ...rest]) {
    hash.update(path);
    hash.update(readFileSync(`${root}/${path}`));
  }
  return hash.digest("hex");
}

/** `0.1.0+4d9619b`: the commit, where there is a checkout, and whether the sources differ from it. */
function version(): string {
  const git = (...words: string[]): string =>
    Bun.which("git") === null
      ? ""
      : Bun.spawnSync(["git", "-C", root, ...words], { stderr: "ignore" })
          .stdout.toString()
          .trim();
  const commit = git("rev-parse", "--short=7", "HEAD");
  if (commit === "") return manifest.version;
  const changed = git("status", "--porcelain", "--", "src", "drizzle", "bun.lock") !== "";
  return `${manifest.version}+${commit}${changed ? ".changed" : ""}`;
}

if (import.meta.main) {
  const started = performance.now();
  await build({ bytecode: !process.argv.includes("--no-bytecode") });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`dist/specgate: ${(Bun.file(binary).size / 1e6).toFixed(1)} MB in ${seconds} s`);
}
