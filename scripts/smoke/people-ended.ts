/**
 * A person's app is in the middle of a stream when the person, or an administrator, ends it: on the gateway where that is
 * done, and on another one that shares its database.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { urlOf } from "../../src/db/connection.ts";
import { openDataDir } from "../../src/platform/data-dir.ts";
import { type Gateway, serve } from "../gateway.ts";
import { Caller, output } from "./caller.ts";
import { type Check, expect, expectEqual } from "./checks.ts";
import type { Place } from "./identity.ts";
import { discover, signInApp } from "./oauth-4webapi.ts";
import { signIn } from "./people.ts";
import { Browser } from "./people-browser.ts";

const grace = { email: "grace@example.com", password: "a fine long password" };
const cutWithinMs = 5_000;

export async function endedSignIns(check: Check, place: Place): Promise<void> {
  const browser = new Browser(place.gateway.url);
  let second: Gateway | undefined;
  try {
    await check("a second gateway shares the first one's database and its signing secret", async () => {
      second = await beside(place);
    });
    await check("an administrator adds a person in the console, who signs in", async () => {
      const response = await place.browser.fetch("/api/v1/users", { method: "POST", json: grace });
      expectEqual(response.status, 201, await response.text());
      await signIn(browser, grace);
    });
    const gateways = [place.gateway, ...(second === undefined ? [] : [second])];
    await check("an app that its person ends in the list of sign-ins is cut off within 5 s everywhere", () =>
      cutOff(gateways, browser, () => endApps(browser)),
    );
    await check(
      "specgate user disable cuts off a person's app within 5 s everywhere, and their browser",
      () => disabled(place, gateways, browser),
    );
  } finally {
    await second?.stop();
  }
}

/** Behind one public URL, as two gateways behind a load balancer are. */
async function beside({ gateway, dataDir, surroundings }: Place): Promise<Gateway> {
  // Loaded here, because it embeds the packed PostgreSQL, which a clean checkout does not have yet.
  const { embeddedEndpoints } = await import("../../src/db/embedded.ts");
  const endpoints = embeddedEndpoints(openDataDir(dataDir, { create: false }));
  if (endpoints === null) throw new Error(`no PostgreSQL runs in ${dataDir}`);
  const cwd = join(surroundings.cwd, "second");
  mkdirSync(cwd);
  const env = {
    ...surroundings.env,
    DATABASE_URL: urlOf(endpoints.gateway).reveal(),
    DATABASE_MIGRATE_URL: urlOf(endpoints.owner).reveal(),
    SPECGATE_JWT_SECRET: readFileSync(join(dataDir, "jwt-secret")).toString("base64url"),
    SPECGATE_PUBLIC_URL: gateway.url,
  };
  return serve([], { cwd, env });
}

/** Signs an app in, lets it stream from each gateway, ends it by `end`, and says how long the streams went on. */
async function cutOff(gateways: Gateway[], browser: Browser, end: () => Promise<unknown>): Promise<string> {
  const { access_token } = await signInApp(await discover(browser.home), browser);
  const streams = gateways.map((gateway) => streaming(new Caller(gateway, access_token)));
  await Bun.sleep(500);
  await end();
  const endedAt = performance.now();
  const cutAfter = await Promise.all(streams.map(async (stream) => Math.round((await stream) - endedAt)));
  expect(Math.max(...cutAfter) <= cutWithinMs, `the streams went on for ${cutAfter.join(" and ")} ms`);
  for (const gateway of gateways) {
    expectEqual(
      (await new Caller(gateway, access_token).fetch("/api/v1/me")).status,
      401,
      "status afterwards",
    );
  }
  return `cut after ${cutAfter.join(" and ")} ms`;
}

/** When a stream that has begun was cut. */
async function streaming(app: Caller): Promise<number> {
  const { status, body } = await app.chat("openai/paced-300");
  const cutAt = performance.now();
  const text = new TextDecoder().decode(body);
  expectEqual([status, text.includes("content")], [200, true], `the stream before: ${text}`);
  expect(!text.includes("[DONE]"), "the stream went on to its end");
  return cutAt;
}

async function disabled(
  { dataDir, surroundings }: Place,
  gateways: Gateway[],
  browser: Browser,
): Promise<string> {
  const words = ["user", "disable", grace.email, "--data-dir", dataDir];
  const note = await cutOff(gateways, browser, () => output(words, surroundings));
  expectEqual((await browser.open("/")).url.pathname, "/login", "where their browser lands");
  const again = await browser.submit(await browser.open("/login"), "/login", { typed: grace });
  expectEqual(again.status, 401, "status of a new sign-in");
  return note;
}

async function endApps(browser: Browser): Promise<void> {
  const response = await browser.fetch("/api/v1/me/sessions");
  const { data } = (await response.json()) as { data: { id: string; kind: string }[] };
  const apps = data.filter(({ kind }) => kind === "app");
  expectEqual(apps.length, 1, `apps in ${Bun.inspect(data)}`);
  for (const { id } of apps) {
    const ended = await browser.fetch(`/api/v1/me/sessions/${id}`, { method: "DELETE" });
    expectEqual(ended.status, 204, "status of ending it");
  }
}
