/**
 * Artifacts of the compiled binary, in each store: a runner's files and who reads them, what is refused, and what
 * `kill -9` leaves behind. On data dirs of their own.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runnerLoop } from "../demo-runner.ts";
import { type Gateway, type Surroundings, serve } from "../gateway.ts";
import { crashConfig, killed } from "./artifacts-crash.ts";
import { drains } from "./artifacts-drain.ts";
import { refusals, refusingConfig } from "./artifacts-refusals.ts";
import { openStores, Shelf, type Store, storeAt } from "./artifacts-shelf.ts";
import type { Check } from "./checks.ts";

export type ArtifactParts = {
  /** How often it is killed, and the seed of when. */
  kills: number;
  seed: number;
};

/** `dir` is made. */
export async function artifacts(check: Check, dir: string, { kills, seed }: ArtifactParts): Promise<void> {
  mkdirSync(dir);
  const stores = await openStores(check);
  try {
    for (const store of stores) {
      const home = (name: string, yaml = "") => homeOf(join(dir, `${store.name}-${name}`), yaml, store);
      await runner(check, store, home("runner"));
      await refused(check, store, home("refusals", refusingConfig));
      if (store.bucket === null) await drains(check, home("drains"));
      if (kills === 0) continue;
      // Rows and objects are compared, so that nobody else's may be there.
      const own = store.bucket === null ? store : await storeAt(store.bucket.server);
      // Ceph takes its time to be compared with.
      const rounds = store.bucket === null ? kills : 1;
      const surroundings = homeOf(join(dir, `${store.name}-killed`), crashConfig, own);
      await killed(check, surroundings, own, { rounds, seed });
    }
  } finally {
    for (const { bucket } of stores) await bucket?.server.close();
  }
}

function homeOf(cwd: string, yaml: string, { env }: Store): Surroundings {
  mkdirSync(cwd);
  writeFileSync(join(cwd, "specgate.yaml"), yaml);
  return { cwd, env: { ...env, SPECGATE_LOG_LEVEL: "error" } };
}

async function runner(check: Check, { name, env }: Store, { cwd }: Surroundings): Promise<void> {
  await check(`a runner's zip of 50 MB and its report come back byte for byte (${name})`, async () => {
    const steps: string[] = [];
    await runnerLoop(
      cwd,
      50,
      (step, milliseconds, note) => {
        if (/uploads|is read/.test(step)) steps.push(`  ${step}: ${note} [${Math.round(milliseconds)} ms]`);
      },
      env,
    );
    return `\n${steps.join("\n")}\n `;
  });
}

async function refused(check: Check, store: Store, surroundings: Surroundings): Promise<void> {
  let gateway: Gateway | undefined;
  try {
    gateway = await serve([], surroundings);
    await refusals(check, await Shelf.open(gateway, surroundings), store);
  } finally {
    await gateway?.stop();
  }
}
