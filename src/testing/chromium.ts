/**
 * Chromium as a person has it, without a window. It finds this machine alone, whatever a page names, so that a test that
 * reaches outside fails here as it would anywhere.
 */
import { env } from "node:process";
import { type Browser, type BrowserContext, chromium as driver, type Page } from "playwright-core";
import { chromium, findProgram, howToGet } from "../../scripts/packages.ts";

const path = findProgram(chromium);

/** Where there is no Chromium its tests are skipped; in CI they fail instead, and say what is missing. */
export const isMissing: boolean = path === null && !env.CI;

const flags = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** `hosts`: further names and the address, on this machine, that each of them leads to. */
export async function openChromium(hosts: Record<string, string> = {}): Promise<Browser> {
  if (path === null) throw new Error(howToGet(chromium));
  const rules = Object.entries(hosts).map(([name, address]) => `MAP ${name} ${address}`);
  const outside = ["EXCLUDE 127.0.0.1", "EXCLUDE localhost", "MAP * ~NOTFOUND"];
  return driver.launch({
    executablePath: path,
    // Its sandbox does not work as root, and in many a container; it opens the tests' own pages only.
    chromiumSandbox: false,
    args: [...flags, `--host-resolver-rules=${[...rules, ...outside].join(",")}`],
  });
}

/** What went on in a browser's pages that its person was not to see. */
export type Watch = {
  /** What pages said in a dialog: a script of somebody's ran. */
  readonly dialogs: string[];
  /** Errors, and what the pages' own policy stopped. */
  readonly complaints: string[];
  /** Origins that were asked for anything. */
  readonly origins: Set<string>;
};

export async function watch(context: BrowserContext): Promise<Watch> {
  const seen: Watch = { dialogs: [], complaints: [], origins: new Set() };
  context.on("dialog", (dialog) => {
    seen.dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  context.on("weberror", (error) => seen.complaints.push(String(error.error())));
  context.on("console", (message) => {
    // An answer of 4xx to a page itself is told here too; what it says is on the page.
    const isStatus = message.text().startsWith("Failed to load resource: the server responded");
    if (message.type() === "error" && !isStatus) seen.complaints.push(message.text());
  });
  context.on("request", (request) => seen.origins.add(new URL(request.url()).origin));
  await context.addInitScript(`addEventListener("securitypolicyviolation", (event) =>
    console.error("stopped: " + event.violatedDirective + " " + event.blockedURI))`);
  return seen;
}

/** What a person reads on the page. */
export const textOf = (page: Page): Promise<string | null> => page.locator("main").textContent();
