/**
 * Artifacts in a real Chromium, through each store: a desktop app's page sends and fetches them with signed URLs, a person
 * who follows one gets a file, and what a hostile file holds is neither run nor shown, wherever it is put.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type { DownloadView, UploadView } from "./features/artifacts/contract.ts";
import { isMissing as noChromium, openChromium } from "./testing/chromium.ts";
import { startGateway, type TestGateway } from "./testing/gateway.ts";
import { type HostileFile, hostileFiles } from "./testing/hostile-files.ts";
import { startObjectStore } from "./testing/object-store.ts";
import { putSession } from "./testing/objects.ts";
import { announce, keep, type StoreKind, s3Env, storeKinds } from "./testing/stores.ts";
import { call, ok } from "./testing/wire.ts";

/** An origin that the gateway allows unless it is told otherwise, and one that it has never heard of. */
const desktop = "http://tauri.localhost";
const elsewhere = "http://elsewhere.test";
const canary = "http://canary.test";
const yaml = `
artifacts: { content_types: [ "*/*" ] }
limits: { control: { requests_per_minute: null } }
`;

describe.skipIf(noChromium).each(storeKinds)(
  "artifacts in Chromium, in the store $kind",
  ({ kind, isMissing }) => {
    describe.skipIf(isMissing)("with a gateway before it", () => {
      let gateway: TestGateway;
      let session: string;
      let site: ReturnType<typeof startSite>;
      let browser: Browser;
      setDefaultTimeout(90_000);

      beforeAll(async () => {
        gateway = await startGateway({ yaml, env: await envOf(kind) });
        session = await putSession(gateway.database, gateway.robo.projectId);
        site = startSite();
        const here = `127.0.0.1:${site.port}`;
        browser = await openChromium(
          Object.fromEntries([desktop, elsewhere, canary].map((origin) => [new URL(origin).hostname, here])),
        );
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
      const onPage = async (origin: string, work: (page: Page, context: BrowserContext) => Promise<void>) => {
        const context = await browser.newContext();
        try {
          const page = await context.newPage();
          await page.goto(origin);
          await work(page, context);
        } finally {
          await context.close();
        }
      };

      test("a desktop app's page asks the gateway, sends the bytes, completes, and fetches them again", () =>
        onPage(desktop, async (page) => {
          const bytes = crypto.getRandomValues(new Uint8Array(300_000)).toBase64();
          const { url, bearer } = { url: gateway.url, bearer: gateway.robo.bearer };
          const told = await page.evaluate(wholeRound, { url, bearer, session, bytes });
          expect(told).toEqual({ statuses: [201, 200, 200, 200, 200], same: true });
        }));

      test.skipIf(kind === "s3")("a page from anywhere may use a URL that it was given, and no other", () =>
        onPage(elsewhere, async (page) => {
          const bytes = new TextEncoder().encode("given");
          const { id, upload } = await announce(gateway.robo, session, bytes);
          expect(await page.evaluate(sendText, { upload, text: "taken" })).toBe(400);
          expect(await page.evaluate(sendText, { upload, text: "given" })).toBe(200);
          expect(await page.evaluate(sendText, { upload, text: "given" })).toBe(412);
          await ok(gateway.robo, "POST", `/artifacts/${id}/completion`);
          const url = await signed(id);
          expect(await page.evaluate(fetchText, url)).toBe("200 given");
          expect(await page.evaluate(fetchText, url.replace("exp=", "exp=1"))).toStartWith("403 ");
        }),
      );

      test("whoever opens a download gets a file with its name, and the page stays where it was", () =>
        onPage(elsewhere, async (page) => {
          for (const name of [
            "รายงาน ประชุม.html",
            "a'b(c)*!~ 100%.svg",
            "ünïcode ✓.xml",
            'quo"te;x=y.html',
          ]) {
            const id = await keepFile({
              name,
              type: "text/html",
              bytes: new TextEncoder().encode("<h1>x</h1>"),
            });
            const [download] = await Promise.all([
              page.waitForEvent("download"),
              open(page, await signed(id)),
            ]);
            // Chromium puts _ where a file system would not have the character.
            expect(download.suggestedFilename()).toBe(name.replace(/[":*]/g, "_"));
            expect(page.url()).toBe(`${elsewhere}/`);
          }
        }));

      test("forty hostile files run no script and show no page, however they are opened", async () => {
        const files = hostileFiles(canary);
        expect(files.length).toBeGreaterThanOrEqual(40);
        const ids = await Promise.all(files.map(keepFile));
        const targets = await Promise.all(
          files.map(async (file, at) => ({ file, url: await signed(ids[at] ?? "") })),
        );
        await byNavigation(targets);
        for (const place of ["foreign", "own", "own without its policy"] as const)
          await inside(place, targets);
        expect(site.calls).toEqual([]);
      });

      test("the same files from a server that is not careful do run", async () => {
        const files = hostileFiles(canary);
        site.show(files);
        await onPage(elsewhere, async (page) => {
          page.on("dialog", (dialog) => void dialog.dismiss());
          for (const at of files.keys()) await open(page, `${elsewhere}/careless/${at}`);
          await Bun.sleep(300);
        });
        const ran = new Set(site.calls.filter(({ path }) => path === "/ran").map(({ from }) => from));
        expect(ran.size).toBeGreaterThan(10);
      });

      test.skipIf(kind === "s3")(
        "every answer of /blobs says that it is a file and nothing else",
        async () => {
          for (const file of hostileFiles(canary)) {
            const { headers } = await fetch(await signed(await keepFile(file)));
            expect(headers.get("content-disposition")).toStartWith("attachment; ");
            expect(headers.get("x-content-type-options")).toBe("nosniff");
            expect(headers.get("content-security-policy")).toBe("sandbox; default-src 'none'");
            expect(headers.get("content-type")?.toLowerCase()).toBe(file.type);
          }
        },
      );

      async function byNavigation(targets: Target[]): Promise<void> {
        await onPage(elsewhere, async (page, context) => {
          for (const { file, url } of targets) {
            const [download] = await Promise.all([page.waitForEvent("download"), open(page, url)]);
            expect([file.name, page.url()]).toEqual([file.name, `${elsewhere}/`]);
            await download.cancel();
          }
          const downloads: string[] = [];
          context.on("page", (popup) => popup.on("download", ({ url }) => downloads.push(url())));
          for (const { url } of targets) {
            await page.evaluate((to) => void window.open(to), url);
          }
          await settled(context, targets);
          expect(shownIn(context, targets)).toEqual([]);
        });
      }

      /** Put into a page as everything that a page can hold. */
      async function inside(
        place: "foreign" | "own" | "own without its policy",
        targets: Target[],
      ): Promise<void> {
        const context = await browser.newContext({ bypassCSP: place === "own without its policy" });
        try {
          const page = await context.newPage();
          const dialogs: string[] = [];
          page.on("dialog", (dialog) => {
            dialogs.push(dialog.message());
            void dialog.dismiss();
          });
          await page.goto(place === "foreign" ? elsewhere : `${gateway.url}/login`);
          const title = await page.title();
          // A page that asks for a script runs it, as itself: only the gateway's own pages, and their policy, are at stake.
          const tags = place === "own" ? [...elements, "script"] : elements;
          for (const tag of tags) {
            await page.evaluate(putAll, { tag, urls: targets.map(({ url }) => url) });
            await settled(context, targets);
          }
          expect({ place, dialogs, title: await page.title(), shown: shownIn(context, targets) }).toEqual({
            place,
            dialogs: [],
            title,
            shown: [],
          });
        } finally {
          await context.close();
        }
      }
    });
  },
);

type Target = { file: HostileFile; url: string };

const elements = ["iframe", "object", "embed", "img", "video", "audio", "track", "input"];

async function envOf(kind: StoreKind): Promise<Record<string, string>> {
  if (kind === "local") return {};
  const env = await s3Env();
  await (await startObjectStore()).cors(env.S3_BUCKET ?? "", [desktop]);
  return env;
}

/** A navigation that becomes a download is an error to the driver. */
async function open(page: Page, url: string): Promise<void> {
  await page.goto(url, { timeout: 10_000 }).catch((error) => {
    if (!/Download is starting|ERR_ABORTED/.test(String(error))) throw error;
  });
}

/** Long enough for a script that runs to be heard of. */
async function settled(context: BrowserContext, _targets: Target[]): Promise<void> {
  await Promise.all(context.pages().map((page) => page.waitForLoadState("networkidle").catch(() => {})));
  await Bun.sleep(200);
}

/** Frames and windows that stand at one of the URLs. */
function shownIn(context: BrowserContext, targets: Target[]): string[] {
  const urls = new Map(targets.map(({ file, url }) => [url, file.name]));
  const frames = context.pages().flatMap((page) => page.frames());
  return frames.flatMap((frame) => urls.get(frame.url()) ?? []);
}

/** Each of these runs in the page. */
function putAll({ tag, urls }: { tag: string; urls: string[] }): void {
  for (const url of urls) {
    const element = document.createElement(tag);
    element.setAttribute(tag === "object" ? "data" : "src", url);
    if (tag === "input") element.setAttribute("type", "image");
    if (tag !== "track") document.body.append(element);
    else document.body.appendChild(document.createElement("video")).append(element);
  }
}

async function wholeRound(asked: { url: string; bearer: string; session: string; bytes: string }) {
  const bytes = Uint8Array.from(atob(asked.bytes), (letter) => letter.charCodeAt(0));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const headers = { authorization: `Bearer ${asked.bearer}`, "content-type": "application/json" };
  const ask = (method: string, path: string, body?: object) =>
    fetch(`${asked.url}/api/v1${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  const said = { name: "a.zip", content_type: "application/zip", size_bytes: bytes.length, sha256 };
  const made = await ask("POST", `/sessions/${asked.session}/artifacts`, said);
  const { artifact, upload } = await made.json();
  const sent = await fetch(upload.url, { method: upload.method, headers: upload.headers, body: bytes });
  const completed = await ask("POST", `/artifacts/${artifact.id}/completion`, {});
  const download = await ask("GET", `/artifacts/${artifact.id}/download`);
  const fetched = await fetch((await download.json()).url);
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

/** Every page of other origins, the canary, and a server that serves files as pages. */
function startSite() {
  const calls: { path: string; from: string }[] = [];
  let careless: readonly HostileFile[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { host, pathname, search } = new URL(request.url);
      if (host === new URL(canary).host) {
        calls.push({ path: pathname, from: request.headers.get("referer") ?? search });
        return new Response(null, { status: 204 });
      }
      const file = careless[Number(/^\/careless\/(\d+)$/.exec(pathname)?.[1] ?? Number.NaN)];
      if (file === undefined)
        return new Response("<title>a page</title>", { headers: { "content-type": "text/html" } });
      const headers = { "content-type": file.type, "referrer-policy": "unsafe-url" };
      return new Response(file.bytes, { headers });
    },
  });
  return {
    port: Number(server.port),
    calls,
    show(files: readonly HostileFile[]) {
      careless = files;
    },
    stop: () => server.stop(true),
  };
}
