/**
 * The PostgreSQL server that travels inside the binary, unpacked once per version beside the cluster it runs.
 */
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import archive from "../../dist/postgres.tar.zst" with { type: "file" };
import version from "../../dist/postgres.version" with { type: "text" };
import { Failure } from "../platform/failure.ts";

/** Names the packed server: its version, platform and layout. Empty where there is none. */
export const serverVersion = version.trim();

/** Returns the folder that holds `bin`, `lib` and `share`. */
export async function unpackServer(parent: string): Promise<string> {
  if (serverVersion === "") throw noServer();
  const target = `${parent}/${serverVersion}`;
  if (existsSync(target)) return target;
  // Unpacked beside and renamed: a folder under the right name is complete.
  const scratch = `${target}.${Bun.randomUUIDv7()}`;
  mkdirSync(scratch, { recursive: true });
  try {
    const packed = await Bun.file(archive).bytes();
    await new Bun.Archive(Bun.zstdDecompressSync(packed)).extract(scratch);
    openToAll(scratch);
    renameSync(scratch, target);
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true });
    // Another process was faster.
    if (!existsSync(target)) throw error;
  }
  return target;
}

/** The cluster may run under another user than the one who unpacks; nothing in here is secret. */
function openToAll(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const path = `${entry.parentPath}/${entry.name}`;
    const runs = entry.isDirectory() || entry.parentPath === `${folder}/bin`;
    chmodSync(path, runs ? 0o755 : 0o644);
  }
}

const noServer = (): Failure =>
  new Failure(
    "invalid",
    "no_embedded_database",
    "This build carries no PostgreSQL for this platform. Set DATABASE_URL to a PostgreSQL 14 or newer.",
  );
