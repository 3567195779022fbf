/**
 * Artifacts in a real Chromium, through each store: a desktop app's page sends and fetches them with signed URLs, a person
 * who follows one gets a file, and what a hostile file holds is neither run nor shown, wherever it is put.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser, BrowserContext, BrowserContextOptions, Dialog, Page } from "playwright-core";
import { isMissing as noChromium, openChromium } from "../../testing/chromium.ts";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { type HostileFile, hostileFiles } from "../../testing/hostile-files.ts";
import {
  canary,
  desktop,
  elsewhere,
  type HostileSite,
  startHostileSite,
} from "../../testing/hostile-site.ts";
import { startObjectStore } from "../../testing/object-store.ts";
import { putSession } from "../../testing/objects.ts";
import { announce, keep, type StoreKind, s3Env, storeKinds } from "../../testing/stores.ts";
import { ok } from "../../testing/wire.ts";
import type { DownloadView, NewArtifactView, UploadView } from "./contract.ts";

const yaml = `
artifacts: { content_types: [ "*/*" ] }
limits: { control: { requests_per_minute: null } }
`;
const files = hostileFiles(canary);

type Target = { file: HostileFile; url: string };

for (const { kind, isMissing } of storeKinds) {
  describe.skipIf(noChromium || isMissing)(`artifacts in Chromium, in the store ${kind}`, () => {
    let gateway: TestGateway;
    let session: string;
    let site: HostileSite;
    let browser: Browser;
    setDefaultTimeout(90_000);

    beforeAll(async () => {
      gateway = await startGateway({ yaml, env: await envOf(kind) });
      session = await putSession(gateway.database, gateway.robo.projectId);
      site = startHostileSite(files);
      browser = await openChromium(site.hosts);
    });
    afterAll(async () => {
      await browser?.close();
      await site?.stop();
      await gateway?.close();
    });

    const signed = async (id: string) =>
      (await ok<DownloadView>(gateway.robo, "GET", `/artifacts/${id}/download`)).url;
    const keepFile = ({ name, type, bytes }: HostileFile) =>
      keep(gateway.robo, session, bytes, { name, content_type: type });
    const onPage = (origin: string, work: (page: Page, context: BrowserContext) => Promise<void>) =>
      inContext(browser, {}, async (context) => {
        const page = await context.newPage();
        await page.goto(origin);
        await work(page, context);
      });

    test("a desktop app's page asks the gateway, sends the bytes, completes, and fetches them again", () =>
      onPage(desktop, async (page) => {
        const bytes = crypto.getRandomValues(new Uint8Array(300_000)).toBase64();
        const { url, robo } = gateway;
        const told = await page.evaluate(wholeRound, { url, bearer: robo.bearer, session, bytes });
        expect(told).toEqual({ statuses: [201, 200, 200, 200, 200], same: true });
      }));

    test("whoever opens a download gets a file with its name, and the page stays where it was", () =>
      onPage(elsewhere, async (page) => {
        for (const name of ["รายงาน ประชุม.html", "a'b(c)*!~ 100%.svg", "ünïcode ✓.xml", 'quo"te;x=y.html']) {
          const id = await keepFile({
            name,
            type: "text/html",
            bytes: new TextEncoder().encode("<h1>x</h1>"),
          });
          const [download] = await Promise.all([page.waitForEvent("download"), open(page, await signed(id))]);
          // Chromium puts _ where a file system would not have the character.
          expect(download.suggestedFilename()).toBe(name.replace(/[":*]/g, "_"));
          expect(page.url()).toBe(`${elsewhere}/`);
        }
      }));

    test("forty hostile files run no script and show no page, however they are opened", async () => {
      expect(files.length).toBeGreaterThanOrEqual(40);
      const targets = await Promise.all(
        files.map(async (file) => ({ file, url: await signed(await keepFile(file)) })),
      );
      await onPage(elsewhere, (page) => navigatedTo(page, targets));
      await onPage(elsewhere, (page, context) => inWindows(page, context, targets));
      await inContext(browser, {}, (context) => insidePage(context, elsewhere, elements, targets));
      // A page that asks for a script runs it, as itself. The gateway's own pages are not to be brought to it.
      const own = `${gateway.url}/login`;
      await inContext(browser, {}, (context) => insidePage(context, own, [...elements, "script"], targets));
      const lawless = { bypassCSP: true };
      await inContext(browser, lawless, (context) => insidePage(context, own, elements, targets));
      expect(site.heard).toEqual([]);
    }, 180_000);

    if (kind === "s3") return;

    test("a page from anywhere may use a URL that it was given, and no other", () =>
      onPage(elsewhere, async (page) => {
        const { id, upload } = await announce(gateway.robo, session, new TextEncoder().encode("given"));
        expect(await page.evaluate(sendText, { upload, text: "taken" })).toBe(400);
        expect(await page.evaluate(sendText, { upload, text: "given" })).toBe(200);
        expect(await page.evaluate(sendText, { upload, text: "given" })).toBe(412);
        await ok(gateway.robo, "POST", `/artifacts/${id}/completion`);
        const url = await signed(id);
        expect(await page.evaluate(fetchText, url)).toBe("200 given");
        expect(await page.evaluate(fetchText, url.replace("exp=", "exp=1"))).toStartWith("403 ");
      }));

    test("every answer of /blobs says that it is a file and nothing else", async () => {
      for (const file of files) {
        const { headers } = await fetch(await signed(await keepFile(file)));
        expect(headers.get("content-disposition")).toStartWith("attachment; ");
        expect(headers.get("x-content-type-options")).toBe("nosniff");
        expect(headers.get("content-security-policy")).toBe("sandbox; default-src 'none'");
        expect(headers.get("content-type")).toBe(file.type);
      }
    });

    test("a server that is not careful would have them run", async () => {
      await inContext(browser, {}, async (context) => {
        for (const at of files.keys()) {
          const page = await context.newPage();
          page.on("dialog", dismiss);
          await open(page, `${elsewhere}/careless/${at}`);
        }
        await Bun.sleep(500);
      });
      const ran = new Set(site.heard.filter((what) => what.startsWith("/ran")));
      expect(ran.size).toBeGreaterThan(10);
    });
  });
}

async function navigatedTo(page: Page, targets: readonly Target[]): Promise<void> {
  for (const { file, url } of targets) {
    const [download] = await Promise.all([page.waitForEvent("download"), open(page, url)]);
    expect([file.name, page.url()]).toEqual([file.name, `${elsewhere}/`]);
    await download.cancel();
  }
}

async function inWindows(page: Page, context: BrowserContext, targets: readonly Target[]): Promise<void> {
  const asked = new Set<string>();
  context.on("request", (request) => asked.add(request.url()));
  for (const { url } of targets) await page.evaluate(`void window.open(${JSON.stringify(url)})`);
  await settled();
  expect(unasked(targets, asked)).toEqual([]);
  expect(shownIn(context, targets)).toEqual([]);
}

/** The names of those that were not even asked for, so that nothing was tried. */
const unasked = (targets: readonly Target[], asked: ReadonlySet<string>): string[] =>
  targets.filter(({ url }) => !asked.has(url)).map(({ file }) => file.name);

/** Put into a page as everything that a page can hold. */
async function insidePage(
  context: BrowserContext,
  address: string,
  tags: readonly string[],
  targets: readonly Target[],
): Promise<void> {
  const page = await context.newPage();
  const [dialogs, asked] = [[] as string[], new Set<string>()];
  page.on("request", (request) => asked.add(request.url()));
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    dismiss(dialog);
  });
  await page.goto(address);
  const title = await page.title();
  await page.evaluate(
    putAll(
      tags,
      targets.map(({ url }) => url),
    ),
  );
  await settled();
  const found = { dialogs, title: await page.title(), shown: shownIn(context, targets) };
  expect(found).toEqual({ dialogs: [], title, shown: [] });
  // The gateway's own policy does not even ask.
  if (!tags.includes("script")) expect(unasked(targets, asked)).toEqual([]);
}

const elements = ["iframe", "object", "embed", "img", "video", "audio", "track", "input"];

/** Runs in the page. */
const putAll = (tags: readonly string[], urls: readonly string[]): string => `
  for (const url of ${JSON.stringify(urls)}) for (const tag of ${JSON.stringify(tags)}) {
    const element = document.createElement(tag)
    element.setAttribute(tag === "object" ? "data" : "src", url)
    if (tag === "input") element.setAttribute("type", "image")
    const home = tag === "track" ? document.createElement("video") : document.body
    home.append(element)
    if (tag === "track") document.body.append(home)
  }`;

async function inContext(
  browser: Browser,
  options: BrowserContextOptions,
  work: (context: BrowserContext) => Promise<void>,
): Promise<void> {
  const context = await browser.newContext(options);
  try {
    await work(context);
  } finally {
    await context.close();
  }
}

/** A navigation that becomes a download is an error to the driver. */
async function open(page: Page, url: string): Promise<void> {
  await page.goto(url, { timeout: 10_000 }).catch((error) => {
    if (!/Download is starting|ERR_ABORTED/.test(String(error))) throw error;
  });
}

/** Long enough for a script that runs to be heard of. A window whose page became a download never says that it is idle. */
const settled = (): Promise<void> => Bun.sleep(2_000);

/** It may have gone with its page. */
const dismiss = (dialog: Dialog): void => void dialog.dismiss().catch(() => {});

/** Frames and windows that stand at one of the URLs. */
function shownIn(context: BrowserContext, targets: readonly Target[]): string[] {
  const names = new Map(targets.map(({ file, url }) => [url, file.name]));
  const frames = context.pages().flatMap((page) => page.frames());
  return frames.flatMap((frame) => names.get(frame.url()) ?? []);
}

async function envOf(kind: StoreKind): Promise<Record<string, string>> {
  if (kind === "local") return {};
  const env = await s3Env();
  await (await startObjectStore()).cors(env.S3_BUCKET ?? "", [desktop]);
  return env;
}

/** Runs in the page, as the two below do. */
async function wholeRound(asked: { url: string; bearer: string; session: string; bytes: string }) {
  const bytes = Uint8Array.from(atob(asked.bytes), (letter) => letter.charCodeAt(0));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const headers = { authorization: `Bearer ${asked.bearer}`, "content-type": "application/json" };
  const ask = (method: string, path: string, body?: object) =>
    fetch(`${asked.url}/api/v1${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  const said = { name: "a.zip", content_type: "application/zip", size_bytes: bytes.length, sha256 };
  const made = await ask("POST", `/sessions/${asked.session}/artifacts`, said);
  const { artifact, upload } = (await made.json()) as NewArtifactView;
  if (upload === null) throw new Error("no upload was signed");
  const sent = await fetch(upload.url, { method: upload.method, headers: upload.headers, body: bytes });
  const completed = await ask("POST", `/artifacts/${artifact.id}/completion`, {});
  const download = await ask("GET", `/artifacts/${artifact.id}/download`);
  const fetched = await fetch(((await download.json()) as DownloadView).url);
  const back = new Uint8Array(await fetched.arrayBuffer());
  const same = back.length === bytes.length && back.every((byte, at) => byte === bytes[at]);
  return { statuses: [made, sent, completed, download, fetched].map(({ status }) => status), same };
}

async function sendText({ upload, text }: { upload: UploadView; text: string }): Promise<number> {
  const { url, method, headers } = upload;
  return (await fetch(url, { method, headers, body: text })).status;
}

async function fetchText(url: string): Promise<string> {
  const response = await fetch(url);
  return `${response.status} ${await response.text()}`;
}
