/** A PostgreSQL that no gateway starts again: stopped for as long as a trial wants it stopped. */
import { join } from "node:path";
import { urlOf } from "../../src/db/connection.ts";
import type { Embedded } from "../../src/db/embedded.ts";
import { type DataDir, openDataDir } from "../../src/platform/data-dir.ts";
import { silentLog } from "../../src/platform/log.ts";

export class Postgres {
  private constructor(
    readonly dir: DataDir,
    private server: Embedded,
  ) {}

  static async open(parent: string): Promise<Postgres> {
    const dir = openDataDir(join(parent, "elsewhere"), { create: true });
    return new Postgres(dir, await startServer(dir));
  }

  /** As a gateway is told where its database is. */
  get env(): Record<string, string> {
    return {
      DATABASE_URL: urlOf(this.server.gateway).reveal(),
      DATABASE_MIGRATE_URL: urlOf(this.server.owner).reveal(),
    };
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  async start(): Promise<void> {
    this.server = await startServer(this.dir);
  }
}

async function startServer(dir: DataDir): Promise<Embedded> {
  // Loaded here, because it embeds the packed PostgreSQL, which the build makes.
  const { startEmbedded } = await import("../../src/db/embedded.ts");
  const host = {
    pid: process.pid,
    uid: process.getuid?.() ?? 1,
    platform: process.platform,
    arch: process.arch,
  };
  return startEmbedded({ dir, host, postgresUid: null, log: silentLog });
}
