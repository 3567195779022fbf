/**
 * A person's terminal: a home of their own, in which commands run as a shell would run them, but in this process. What
 * they are signed in with is in their own file, as `specgate login` leaves it, and never on the screen.
 */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "../cli/cli.ts";
import type { Credential } from "../cli/credentials.ts";
import type { World } from "../cli/world.ts";
import { host, scratchDir } from "./cluster.ts";

export type Said = { code: number; out: string; err: string };
export type Around = Partial<
  Pick<World, "openBrowser" | "sleep" | "host" | "stdinBytes" | "stdout" | "onSignal">
> & {
  env?: Record<string, string>;
};
/** One command, in this process. Nobody waits, but for five minutes forever. */
export async function runAt(home: string, args: readonly string[], around: Partial<World>): Promise<Said> {
  const said = { code: 0, out: "", err: "" };
  said.code = await run(args, {
    env: {},
    cwd: home,
    stdout: (text) => {
      // Bytes one by one, so that a test sees each of them.
      said.out += typeof text === "string" ? text : Buffer.from(text).toString("latin1");
    },
    stderr: (text) => {
      said.err += text;
    },
    stdin: async () => "",
    stdinBytes: () => new Blob([]).stream(),
    isTerminal: false,
    osUser: "tester",
    homeDir: home,
    host,
    version: "1.2.3",
    fetchesMax: 256,
    residentBytes: () => 0,
    openBrowser: () => false,
    sleep: (ms) => (ms >= 300_000 ? new Promise(() => undefined) : Promise.resolve()),
    onSignal: () => () => undefined,
    ...around,
  });
  return said;
}

export type Terminal = ReturnType<typeof openTerminal>;

/** SPECGATE_URL names the gateway. */
export function openTerminal(gatewayUrl: string) {
  const home = scratchDir();
  const file = join(home, ".config/specgate/credentials.json");
  const kept = (): Record<string, Credential> => JSON.parse(readFileSync(file, "utf8")).gateways;
  const secrets = new Set<string>();
  const learnSecrets = () => {
    const text = existsSync(file) ? readFileSync(file, "utf8") : "";
    for (const [, secret = ""] of text.matchAll(/"(?:access|refresh)_token": ?"([^"]+)"/g))
      secrets.add(secret);
  };
  return {
    home,
    file,
    kept,
    keep(credential: Credential, url = gatewayUrl): void {
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      writeFileSync(file, JSON.stringify({ version: 1, gateways: { [url]: credential } }), { mode: 0o600 });
    },
    modes: (): string[] => [file, dirname(file)].map((path) => (statSync(path).mode & 0o777).toString(8)),
    async specgate(line: string, { env = {}, ...more }: Around = {}): Promise<Said> {
      learnSecrets();
      const said = await runAt(home, line.split(" "), { env: { SPECGATE_URL: gatewayUrl, ...env }, ...more });
      learnSecrets();
      // That one is there to print it.
      const words = line.startsWith("token print") ? said.err : said.out + said.err;
      for (const secret of secrets) expect(words).not.toContain(secret);
      return said;
    },
  };
}

/** A desktop's browser: `goBack` says where the gateway sends it, and `page` what the terminal shows there. */
export function desktop(goBack: (url: string) => string | Promise<string>) {
  const pages: Promise<Response>[] = [];
  const openBrowser = (url: string): boolean => {
    pages.push(Promise.resolve(goBack(url)).then((back) => fetch(back)));
    return true;
  };
  return { openBrowser, page: async () => (await pages[0]) ?? new Response() };
}

export function changed(address: string, query: Record<string, string | null>): string {
  const url = new URL(address);
  for (const [name, value] of Object.entries(query)) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  return url.href;
}

export const past = (): string => new Date(Date.now() - 1_000).toISOString();
