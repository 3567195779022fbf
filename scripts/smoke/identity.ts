/**
 * People and their apps: a first administrator made in a browser, every grant of the OAuth server with the client
 * libraries that apps are made of, the command line's own sign-in, and what stops when a sign-in ends. On a data dir of
 * its own.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Provider } from "../../src/testing/provider.ts";
import { type Gateway, type Surroundings, serve } from "../gateway.ts";
import { type Client, createClient } from "./caller.ts";
import type { Check } from "./checks.ts";
import { connect } from "./connect.ts";
import { oauth4webapi } from "./oauth-4webapi.ts";
import { behindAlias } from "./oauth-alias.ts";
import { mcpClient } from "./oauth-mcp.ts";
import { openidClient } from "./oauth-openid-client.ts";
import type { Person } from "./people.ts";
import type { Browser } from "./people-browser.ts";
import { atTheTerminal, byDevice } from "./people-command.ts";
import { endedSignIns } from "./people-ended.ts";
import { configuredAdministrator, deadLink, firstAdministrator } from "./people-first-run.ts";

export type Place = {
  gateway: Gateway;
  surroundings: Surroundings;
  dataDir: string;
  admin: Person;
  /** The administrator's, signed in. */
  browser: Browser;
  /** A runner with a secret. */
  machine: Client;
};

const admin: Person = { email: "ada@example.com", password: "a password of some length" };

export async function identity(check: Check, dir: string, provider: Provider): Promise<void> {
  mkdirSync(dir);
  const surroundings = { cwd: dir, env: { OPENAI_API_KEY: "sk-smoke", OPENAI_BASE_URL: provider.url } };
  const dataDir = join(dir, "specgate-data");
  let gateway: Gateway | undefined;
  try {
    await check("a gateway for people is ready", async () => {
      gateway = await serve([], surroundings);
      return `${Math.round(gateway.readyMs)} ms`;
    });
    if (gateway === undefined) return;
    const made = await firstAdministrator(check, gateway, dataDir, admin);
    if (made === undefined) return;
    const machine = await createClient(dataDir, surroundings);
    const place = { gateway, surroundings, dataDir, admin, browser: made.browser, machine };
    // Some wait for seconds; together they wait once.
    await Promise.all([
      deadLink(check, place, made.link),
      oauth4webapi(check, place),
      openidClient(check, place),
      mcpClient(check, place),
      byDevice(check, place),
      behindAlias(check, place),
      configuredAdministrator(check, join(dir, "configured")),
    ]);
    await atTheTerminal(check, place);
    await connect(check, place);
    await endedSignIns(check, place);
  } finally {
    await gateway?.stop();
  }
}
