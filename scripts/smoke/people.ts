/** What people do on the gateway's pages. */
import { expect, expectEqual } from "./checks.ts";
import type { Browser, Page } from "./people-browser.ts";

export type Person = { email: string; password: string };

export async function signIn(browser: Browser, person: Person): Promise<Page> {
  const page = await browser.submit(await browser.open("/login"), "/login", { typed: person });
  expect(page.text.includes(person.email), `/login answered ${page.status}:\n${page.text}`);
  return page;
}

/** Opens what an app asks with, signs in when asked to, allows it, and returns where the browser was sent back to. */
export async function allow(
  browser: Browser,
  authorizationUrl: URL,
  { unticked = [], person }: { unticked?: string[]; person?: Person } = {},
): Promise<URL> {
  let asked = await browser.open(authorizationUrl.href);
  if (person !== undefined) asked = await browser.submit(asked, "/login", { typed: person });
  expect(asked.status !== 0, `nobody was asked; the app was told ${asked.url.search}`);
  const answered = await browser.submit(asked, "/oauth/consent", {
    unticked: unticked.map((scope) => ["scope", scope]),
    button: ["decision", "allow"],
  });
  expectEqual(answered.status, 0, `status after consent, where the app waits (${answered.text})`);
  return answered.url;
}

/** Opens the address that holds the code, and goes through with it. */
export async function connectDevice(browser: Browser, address: string): Promise<void> {
  const device = await browser.submit(await browser.open(address), "/device");
  const decided = await browser.submit(device, "/device", { button: ["decision", "allow"] });
  expect(decided.text.includes("Connected"), `/device answered ${decided.status}:\n${decided.text}`);
}

/** Whom the gateway takes an app's token for. */
export async function personBehind(url: string, token: string): Promise<string | null> {
  const response = await fetch(`${url}/api/v1/me`, { headers: { authorization: `Bearer ${token}` } });
  expect(response.ok, `/api/v1/me answered ${response.status}: ${await response.clone().text()}`);
  return ((await response.json()) as { principal: { email: string | null } }).principal.email;
}
