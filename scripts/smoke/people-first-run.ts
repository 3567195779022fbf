/** The first administrator: by the one-time link in a browser, or from the configuration. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Gateway, type Surroundings, serve } from "../gateway.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { type Person, signIn } from "./people.ts";
import { Browser } from "./people-browser.ts";

const linkForm = /http:\/\/\S+\/setup\?token=\S+/g;

/** The administrator's browser, signed in, and the link that was used. */
export async function firstAdministrator(
  check: Check,
  gateway: Gateway,
  dataDir: string,
  admin: Person,
): Promise<{ browser: Browser; link: string } | undefined> {
  const file = join(dataDir, "setup-url");
  const browser = new Browser(gateway.url);
  let link = "";
  let made = false;
  await check("with nobody there, one setup link is printed and kept for the owner alone", async () => {
    // A moment after it is ready.
    const look = async (): Promise<string[]> => gateway.words().match(linkForm) ?? [];
    const printed = await eventually(look, (found) => found.length > 0, 5_000);
    expectEqual(printed.length, 1, `links in\n${gateway.words()}\n`);
    link = printed[0] ?? "";
    expect(link.startsWith(`${gateway.url}/`), `it leads to ${link}`);
    expectEqual(readFileSync(file, "utf8").trim(), link, "the link in setup-url");
    expectEqual((statSync(file).mode & 0o777).toString(8), "600", "the mode of setup-url");
  });
  await check("a browser with the link makes the first administrator, who is signed in", async () => {
    const page = await browser.submit(await browser.open(link), "/setup", { typed: admin });
    expectEqual([page.status, page.url.pathname], [200, "/"], page.text);
    expect(page.text.includes(admin.email) && page.text.includes("admin"), page.text);
    made = true;
  });
  return made ? { browser, link } : undefined;
}

/** Takes seconds: the gateway looks now and then whether anybody is there yet. */
export async function deadLink(check: Check, { gateway, dataDir }: Place, link: string): Promise<void> {
  const file = join(dataDir, "setup-url");
  await check("the setup link is dead, and its file is gone within seconds", async () => {
    expectEqual((await new Browser(gateway.url).open(link)).status, 403, "status of the link");
    const isThere = await eventually(
      async () => existsSync(file),
      (there) => !there,
      7_000,
    );
    expect(!isThere, "setup-url is still there");
  });
}

export async function configuredAdministrator(check: Check, dir: string): Promise<void> {
  mkdirSync(dir);
  const admin = { email: "root@example.com", password: "correct horse battery" };
  writeFileSync(join(dir, "password"), `${admin.password}\n`, { mode: 0o600 });
  const env = { SPECGATE_ADMIN_EMAIL: admin.email, SPECGATE_ADMIN_PASSWORD_FILE: join(dir, "password") };
  const surroundings: Surroundings = { cwd: dir, env };
  await check("an administrator from the configuration signs in, and no link is printed", async () => {
    const gateway = await serve([], surroundings);
    try {
      expect(!linkForm.test(gateway.words()), `a link is printed:\n${gateway.words()}`);
      expect(!existsSync(join(dir, "specgate-data/setup-url")), "setup-url is there");
      await signIn(new Browser(gateway.url), admin);
    } finally {
      expectEqual(await gateway.stop(), 0, "exit code");
    }
  });
}
