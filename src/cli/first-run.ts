/**
 * The first run: while nobody exists, one link by which the first administrator is made. It is printed and kept in the
 * data dir for whoever lost the terminal, and renewed before it ends. With SPECGATE_ADMIN_EMAIL and
 * SPECGATE_ADMIN_PASSWORD_FILE no browser is needed.
 */
import { rmSync } from "node:fs";
import { setupLinkMs } from "../features/identity/setup.ts";
import type { Config } from "../platform/config.ts";
import { type DataDir, writeWhole } from "../platform/data-dir.ts";
import type { Parts } from "../wiring.ts";
import type { World } from "./world.ts";

const lookEveryMs = 5_000;

export async function welcomeFirst(
  world: Pick<World, "stderr">,
  config: Pick<Config, "firstAdmin">,
  { identity, addresses }: Parts,
  dir: DataDir,
): Promise<{ stop: () => void }> {
  const { setup } = identity;
  const file = dir.file("setup-url");
  const { firstAdmin } = config;
  if (firstAdmin !== null) {
    const { email, password } = firstAdmin;
    if (await setup.fromConfiguration({ email, password: password.reveal() }))
      world.stderr(`The first administrator is ${email}.\n`);
  }
  const issue = async () => {
    const url = `${addresses().publicUrl}/setup?token=${await setup.link()}`;
    writeWhole(file, `${url}\n`);
    world.stderr(`Nobody is here yet. Within 30 minutes, make yourself the administrator at\n  ${url}\n`);
    return performance.now();
  };
  let issuedAt = (await setup.isNeeded()) ? await issue() : null;
  if (issuedAt === null) rmSync(file, { force: true });
  const timer = setInterval(() => void look().catch(() => undefined), lookEveryMs);
  const look = async () => {
    if (issuedAt !== null && (await setup.isNeeded())) {
      if (performance.now() - issuedAt > setupLinkMs - lookEveryMs) issuedAt = await issue();
      return;
    }
    clearInterval(timer);
    rmSync(file, { force: true });
  };
  return { stop: () => clearInterval(timer) };
}
