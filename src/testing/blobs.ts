/**
 * The local store behind the edge, the router and the guard, without the rest of the gateway: for tests of /blobs.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mount } from "../app.ts";
import { lastWord } from "../cli/serve.ts";
import { createDisk, type Disk, type DiskNeeds } from "../features/artifacts/disk.ts";
import type { SignedUpload, UploadTerms } from "../features/artifacts/object-store.ts";
import { blobRoutes } from "../features/artifacts/routes.ts";
import { createEdge } from "../platform/edge.ts";
import { createGuard } from "../platform/guard.ts";
import { silentLog } from "../platform/log.ts";

export type Blobs = {
  readonly url: string;
  readonly root: string;
  readonly disk: Disk;
  close(): Promise<void>;
};

type Options = Partial<Pick<DiskNeeds, "root" | "limits" | "clock">> & { idleSeconds?: number };

export function startBlobs({ idleSeconds = 30, ...options }: Options = {}): Blobs {
  const scratch = mkdtempSync(join(tmpdir(), "blobs-"));
  const root = options.root ?? join(scratch, "blobs");
  let url = "http://127.0.0.1:1";
  const publicUrl = () => url;
  const key = crypto.getRandomValues(new Uint8Array(32));
  const disk = createDisk({ place: "local", ...options, root, key, publicUrl });
  const guard = createGuard({
    authenticate: nobody,
    authenticateCookie: async () => null,
    locate: () => null,
    publicUrl,
    resourceMetadata: () => "",
    limits: { admit: nobody } as never,
    log: silentLog,
  });
  const app = mount([blobRoutes({ guard, disk })]);
  const edge = createEdge(
    {
      allowedHosts: () => [],
      publicUrl,
      corsOrigins: [],
      trustedProxies: [],
      bodyBytesMax: () => Number.MAX_SAFE_INTEGER,
      log: silentLog,
    },
    app.answer,
  );
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: idleSeconds,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    development: false,
    fetch: edge,
    error: lastWord(silentLog),
  });
  url = `http://127.0.0.1:${server.port}`;
  return {
    url,
    root,
    disk,
    async close() {
      await disk.close();
      await server.stop(true);
      rmSync(scratch, { recursive: true });
    },
  };
}

const nobody = (): never => {
  throw new Error("the doors at /blobs ask for no credential");
};

let keys = 0;

/** A key nobody had before. */
export const newKey = (name = "a.bin"): string =>
  `projects/prj_1/sessions/ses_${keys % 7}/iterations/0/art_${++keys}/${name}`;

/** What an upload of these bytes has to say. */
export function termsFor(bytes: Uint8Array, more: Partial<UploadTerms> = {}): UploadTerms {
  return {
    key: newKey(),
    contentType: "application/octet-stream",
    sizeBytes: bytes.length,
    sha256: new Bun.CryptoHasher("sha256").update(bytes).digest("hex"),
    ttlSeconds: 60,
    ...more,
  };
}

export async function put(
  { url, headers }: SignedUpload,
  body: Uint8Array | string,
  more: Record<string, string> = {},
): Promise<string> {
  const response = await fetch(url, { method: "PUT", headers: { ...headers, ...more }, body });
  return told(response);
}

/** `412 already_uploaded`, or the status alone of an answer that is no problem. */
export async function told(response: Response): Promise<string> {
  const text = await response.text();
  if (response.headers.get("content-type") !== "application/problem+json") return String(response.status);
  return `${response.status} ${(JSON.parse(text) as { code: string }).code}`;
}

export type RawUpload = {
  write(bytes: Uint8Array | string): Promise<void>;
  /** The connection dies, as when a laptop is closed. */
  die(): void;
  /** Status and code, or what there was of an answer when the connection ended. */
  readonly answer: Promise<string>;
};

/** An upload byte by byte, as no `fetch` would send it. */
export async function rawPut(upload: SignedUpload, sizeBytes: number | null): Promise<RawUpload> {
  const { hostname, port, pathname, search } = new URL(upload.url);
  const socket = connect({ host: hostname, port: Number(port) });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  let text = "";
  const answer = new Promise<string>((resolve) => {
    const tell = () => {
      const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? "";
      resolve(`${status} ${/"code":"(\w+)"/.exec(text)?.[1] ?? ""}`.trim());
    };
    socket.setEncoding("utf8");
    socket.on("data", (some) => {
      text += some;
      if (/\r\n\r\n/.test(text) && (/^HTTP\/1\.1 200/.test(text) || /"request_id"/.test(text))) tell();
    });
    socket.on("close", tell);
    socket.on("error", () => undefined);
  });
  const lengths =
    sizeBytes === null ? { "transfer-encoding": "chunked" } : { "content-length": String(sizeBytes) };
  const lines = Object.entries({ host: `${hostname}:${port}`, ...lengths, ...upload.headers });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const write = (bytes: Uint8Array | string): Promise<void> =>
    new Promise((resolve) => {
      socket.write(bytes, () => resolve());
    });
  await write(`PUT ${pathname}${search} HTTP/1.1\r\n${head}\r\n`);
  return { write, die: () => socket.destroy(), answer };
}
