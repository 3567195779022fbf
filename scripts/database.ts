/** The embedded cluster of a gateway that is running, as the owner of its tables: for what no route shows. */
import type { Database } from "../src/db/database.ts";
import { openDataDir } from "../src/platform/data-dir.ts";

export type Sql = import("postgres").Sql;

export async function openTables(dataDir: string): Promise<Sql> {
  // They import the packed server, which the build makes.
  const { embeddedEndpoints } = await import("../src/db/embedded.ts");
  const { connect } = await import("../src/db/connection.ts");
  const endpoints = embeddedEndpoints(openDataDir(dataDir, { create: false }));
  if (endpoints === null) throw new Error(`${dataDir} holds no cluster`);
  const options = { applicationName: "outside", prepare: false, connectionsMax: 1, statementTimeoutMs: null };
  return connect(endpoints.owner, options);
}

/** The same as the gateway's own code takes a database. */
export async function openTablesDatabase(dataDir: string): Promise<Database> {
  const { embeddedEndpoints } = await import("../src/db/embedded.ts");
  const { openDatabase } = await import("../src/db/open.ts");
  const endpoints = embeddedEndpoints(openDataDir(dataDir, { create: false }));
  if (endpoints === null) throw new Error(`${dataDir} holds no cluster`);
  return openDatabase({
    endpoint: endpoints.owner,
    direct: null,
    prepare: false,
    applicationName: "outside",
  });
}
