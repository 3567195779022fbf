/**
 * The files of a runner's day: a zip of 50 MB and a report, uploaded by signed URLs, and downloaded by a person and by a
 * desktop app's page in Chromium. Bytes are compared, never assumed.
 */
import { isMissing, openChromium } from "../src/testing/chromium.ts";
import type { Answer, Json } from "./demo-runner.ts";
import { zipOf } from "./zip.ts";

/** Where the desktop app's pages are from; the gateway allows it unless told otherwise. A bucket must be told. */
export const desktopOrigin = "http://tauri.localhost";

export type Asks = (method: string, path: string, body?: Json) => Promise<Answer>;
export type Kept = { id: string; name: string; sizeBytes: number; sha256: string };
type Found = { sizeBytes: number; sha256: string };

const zipBytes = 50_000_000;

export class Files {
  readonly #kept: Kept[] = [];

  constructor(
    private readonly runner: Asks,
    private readonly person: Asks,
    private readonly inSession: string,
    private readonly iterationId: string,
  ) {}

  async uploadZip(): Promise<Kept> {
    return this.#upload("build.zip", "application/zip", "build", await zipOf(zipBytes));
  }

  uploadReport(): Promise<Kept> {
    const text = "# ผลการทดสอบ\n\n1,204 passed, 0 failed.\n".repeat(100);
    const name = "รายงาน ทดสอบ.md";
    return this.#upload(name, "text/markdown; charset=utf-8", "report", new TextEncoder().encode(text));
  }

  /** Each as a person gets it. */
  async download(): Promise<string> {
    for (const file of this.#kept) {
      const response = await fetch(await this.#signed(file));
      const disposition = response.headers.get("content-disposition") ?? "";
      must(
        response.status === 200 && disposition.startsWith("attachment"),
        `${response.status} ${disposition}`,
      );
      const bytes = await response.bytes();
      requireSame(file, { sizeBytes: bytes.length, sha256: sha256Of(bytes) });
    }
    return this.#words();
  }

  /** Each as a page of another origin gets it; without Chromium it says so. */
  async downloadInChromium(): Promise<string> {
    if (isMissing) return "left out: Chromium is not installed here";
    const app = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => new Response("<title>desktop</title>", { headers: { "content-type": "text/html" } }),
    });
    const browser = await openChromium({ [new URL(desktopOrigin).hostname]: `127.0.0.1:${app.port}` });
    try {
      const page = await browser.newPage();
      await page.goto(desktopOrigin);
      for (const file of this.#kept)
        requireSame(file, await page.evaluate<Found, string>(fetchAndHash, await this.#signed(file)));
      return this.#words();
    } finally {
      await browser.close();
      await app.stop(true);
    }
  }

  async #upload(name: string, type: string, kind: string, bytes: Uint8Array<ArrayBuffer>): Promise<Kept> {
    const sha256 = sha256Of(bytes);
    const said = { name, content_type: type, kind, size_bytes: bytes.length, sha256 };
    const made = await this.runner("POST", `${this.inSession}/artifacts`, {
      ...said,
      iteration_id: this.iterationId,
    });
    must(made.status === 201, JSON.stringify(made.body));
    const { artifact, upload } = made.body as {
      artifact: { id: string };
      upload: { url: string; headers: Record<string, string> };
    };
    const sent = await fetch(upload.url, { method: "PUT", headers: upload.headers, body: bytes });
    must(sent.ok, `the store said ${sent.status}: ${await sent.text()}`);
    const completed = await this.runner("POST", `/artifacts/${artifact.id}/completion`, {});
    const { status, sha256_verified } = completed.body;
    must(status === "complete" && sha256_verified === true, JSON.stringify(completed.body));
    const kept = { id: artifact.id, name, sizeBytes: bytes.length, sha256 };
    this.#kept.push(kept);
    return kept;
  }

  async #signed({ id }: Kept): Promise<string> {
    const { status, body } = await this.person("GET", `/artifacts/${id}/download`);
    must(status === 200, JSON.stringify(body));
    return String(body.url);
  }

  #words(): string {
    return this.#kept.map(({ name, sizeBytes }) => `${name}, ${sizeBytes} bytes`).join("; ");
  }
}

/** Runs in the page. */
async function fetchAndHash(url: string): Promise<Found> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  const bytes = await response.arrayBuffer();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { sizeBytes: bytes.byteLength, sha256 };
}

function requireSame({ name, sizeBytes, sha256 }: Kept, found: Found): void {
  const same = found.sizeBytes === sizeBytes && found.sha256 === sha256;
  must(same, `${name} came back as ${found.sizeBytes} bytes, ${found.sha256}`);
}

function must(holds: boolean, why: string): asserts holds {
  if (!holds) throw new Error(why);
}

const sha256Of = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
