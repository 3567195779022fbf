/**
 * Python's botocore, which signs URLs of S3 in its own way: what two signers agree on is the standard, not a habit of one.
 */
import { join } from "node:path";
import { env } from "node:process";
import { botocore, findProgram, howToGet } from "../../scripts/packages.ts";

/** Where botocore is missing its tests are skipped; in CI they fail instead, and say what is missing. */
export const isMissing: boolean = findProgram(botocore) === null && !env.CI;

type Keys = { accessKeyId: string; secretAccessKey: string; region: string };

/** `time` as S3 writes it, `20261231T235959Z`. */
type Case = Keys & { method: string; url: string; headers: Record<string, string>; time: string };

/** The URLs with their signatures. */
export const signByBotocore = (cases: readonly (Case & { expires: number })[]): Promise<string[]> =>
  ask(cases) as Promise<string[]>;

/** Whether each URL's signature is right for what arrives with it, at that time. */
export const judgeByBotocore = (cases: readonly Case[]): Promise<boolean[]> =>
  ask(cases) as Promise<boolean[]>;

async function ask(cases: readonly Case[]): Promise<unknown> {
  if (findProgram(botocore) === null) throw new Error(howToGet(botocore));
  // Debian's own Python has Debian's packages; another that comes first on the path has not.
  const child = Bun.spawn(["/usr/bin/python3", join(import.meta.dir, "s3-signer.py")], {
    stdin: new Blob([JSON.stringify(cases)]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`botocore failed: ${err.slice(-2_000)}`);
  return JSON.parse(out);
}
