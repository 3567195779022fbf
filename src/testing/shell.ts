/**
 * A shell somewhere else, in which commands go to a gateway over HTTP: with a machine's key in the environment, or as a
 * person who signed in there. What they are let in with is never on the screen.
 */
import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { World } from "../cli/world.ts";
import { scratchDir } from "./cluster.ts";
import type { Person } from "./gateway.ts";
import { desktop, runAt, type Said } from "./terminal.ts";

type Around = Partial<Pick<World, "isTerminal" | "openBrowser" | "sleep">> & {
  env?: Record<string, string>;
  stdin?: string | Uint8Array;
};
export type Shell = ReturnType<typeof openShell>;

/** A line is split at its spaces; a list is taken as it is. Without a bearer it is nobody's until somebody signs in. */
export function openShell(url: string, bearer?: string) {
  const home = scratchDir();
  const token: Record<string, string> = bearer === undefined ? {} : { SPECGATE_TOKEN: bearer };
  const specgate = async (args: string | readonly string[], around: Around = {}): Promise<Said> => {
    const { env = {}, stdin = "", ...more } = around;
    const list = typeof args === "string" ? args.split(" ") : args;
    const shell = {
      env: { SPECGATE_URL: url, ...token, ...env },
      stdin: () => new Response(stdin).text(),
      stdinBytes: () => new Blob([stdin]).stream(),
    };
    const said = await runAt(home, list, { ...shell, ...more });
    if (bearer !== undefined) expect(said.out + said.err).not.toContain(bearer);
    return said;
  };
  return {
    home,
    specgate,
    /** What a command that must succeed prints with `--json`. */
    async json<T = Record<string, unknown>>(args: string | readonly string[], around?: Around): Promise<T> {
      const list = typeof args === "string" ? args.split(" ") : args;
      const said = await specgate([...list, "--json"], around);
      expect({ args, code: said.code, err: said.code === 0 ? "" : said.err }).toEqual({
        args,
        code: 0,
        err: "",
      });
      return JSON.parse(said.out) as T;
    },
    /** A file where commands run; gives its name back. */
    write(name: string, text: string | Uint8Array): string {
      mkdirSync(dirname(join(home, name)), { recursive: true });
      writeFileSync(join(home, name), text);
      return name;
    },
  };
}

/** Signs somebody in by their browser, with these scopes ticked. */
export async function signedInShell(url: string, person: Person, scopes: readonly string[]): Promise<Shell> {
  const shell = openShell(url);
  const { openBrowser } = desktop(async (page) => {
    const { pathname, search } = new URL(page);
    const asked = (await person.fetch(pathname + search)).headers.get("location") ?? "";
    const body = new URLSearchParams({
      ticket: new URL(asked).searchParams.get("ticket") ?? "",
      decision: "allow",
    });
    for (const scope of scopes) body.append("scope", scope);
    const decided = await person.fetch("/oauth/consent", { method: "POST", body });
    return decided.headers.get("location") ?? "";
  });
  const said = await shell.specgate(["login", "--scope", scopes.join(" ")], { openBrowser });
  expect([said.code, said.out]).toEqual([0, ""]);
  return shell;
}
