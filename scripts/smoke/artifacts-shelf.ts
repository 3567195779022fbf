/**
 * A runner of the compiled binary and the session in which it keeps files, with the bytes it sends and what it is told.
 * The stores are the local one and, where Ceph is installed, a real server that speaks S3.
 */
import { isMissing, startObjectStore, type TestObjectStore } from "../../src/testing/object-store.ts";
import { desktopOrigin } from "../demo-files.ts";
import { type Gateway, type Surroundings, tokenOf } from "../gateway.ts";
import { ceph, howToGet } from "../packages.ts";
import { output } from "./caller.ts";
import { type Check, expect } from "./checks.ts";

export type File = { name: string; type: string; bytes: Uint8Array<ArrayBuffer> };
type Upload = { url: string; headers: Record<string, string> };
export type Artifact = { id: string; status: string; name: string; sha256: string; size_bytes: number };
export type Told<Body> = { status: number; body: Body & { code?: string } };
type Made = { artifact: Artifact; upload: Upload };

export class Shelf {
  private constructor(
    readonly gateway: Gateway,
    readonly projectId: string,
    readonly sessionId: string,
    readonly token: string,
  ) {}

  static async open(gateway: Gateway, surroundings: Surroundings): Promise<Shelf> {
    const local = async (...args: string[]) => JSON.parse(await output([...args, "--json"], surroundings));
    const project = await local("project", "create", "Files");
    const scope = "control:read control:write artifacts:read artifacts:write";
    const kind = ["--kind", "runner", "--project", project.id, "--scope", scope];
    const client = await local("client", "create", "--name", "shelf", ...kind);
    const token = await tokenOf(gateway, client, { ttl_seconds: "3600" });
    const shelf = new Shelf(gateway, project.id, "", token);
    const made = await shelf.ask<{ id: string }>("POST", `/projects/${project.id}/sessions`, {
      title: "files",
    });
    expect(made.status === 201, `no session: ${JSON.stringify(made.body)}`);
    return new Shelf(gateway, project.id, made.body.id, token);
  }

  /** The same runner at a gateway that was started again. */
  at(gateway: Gateway): Shelf {
    return new Shelf(gateway, this.projectId, this.sessionId, this.token);
  }

  async ask<Body>(method: string, path: string, body?: object): Promise<Told<Body>> {
    const response = await fetch(`${this.gateway.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Body & { code?: string } };
  }

  /** `more` replaces what is said of the file. */
  announce(file: File, more: object = {}): Promise<Told<Made>> {
    const { name, type: content_type, bytes } = file;
    const said = { name, content_type, size_bytes: bytes.length, sha256: sha256Of(bytes), ...more };
    return this.ask("POST", `/sessions/${this.sessionId}/artifacts`, said);
  }

  async announced(file: File, more: object = {}): Promise<Made> {
    const { status, body } = await this.announce(file, more);
    expect(status === 201, `${file.name} is not announced: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  complete(id: string): Promise<Told<Artifact>> {
    return this.ask("POST", `/artifacts/${id}/completion`, {});
  }

  async kept(file: File): Promise<Artifact> {
    const { artifact, upload } = await this.announced(file);
    const sent = await send(upload, file.bytes);
    expect(sent.status === 200, `${file.name} is not taken: ${sent.status} ${sent.text}`);
    const { status, body } = await this.complete(artifact.id);
    expect(status === 200, `${file.name} is not complete: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  /** Its bytes, by a signed URL. */
  async fetched(id: string): Promise<Uint8Array> {
    const { status, body } = await this.ask<{ url: string }>("GET", `/artifacts/${id}/download`);
    expect(status === 200, `no download of ${id}: ${status} ${JSON.stringify(body)}`);
    const response = await fetch(body.url);
    const bytes = await response.bytes();
    expect(response.status === 200, `the download of ${id} answered ${response.status}`);
    return bytes;
  }
}

export type Sent = { status: number; text: string };

/** One PUT as the gateway said it, except for what is given otherwise. */
export async function send(
  { url, headers }: Upload,
  bytes: Uint8Array<ArrayBuffer>,
  otherwise: Record<string, string> = {},
): Promise<Sent> {
  const response = await fetch(url, { method: "PUT", headers: { ...headers, ...otherwise }, body: bytes });
  return { status: response.status, text: await response.text() };
}

export const sha256Of = (bytes: Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** The same for the same seed, and like nothing else. */
export function bytesOf(seed: number, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  for (let at = 0; at < size; at++) {
    // Marsaglia's xorshift.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}

export type Store = {
  name: "local" | "s3";
  env: Record<string, string>;
  /** Null for the local one. */
  bucket: { server: TestObjectStore; name: string } | null;
};

/** Both, each empty; the second only where Ceph is installed. In CI it must be. */
export async function openStores(check: Check): Promise<Store[]> {
  const local: Store = { name: "local", env: {}, bucket: null };
  if (isMissing) {
    check.skip("artifacts of the binary in a bucket", ceph.map(howToGet).join("; "));
    return [local];
  }
  const server = await startObjectStore();
  return [local, await storeAt(server)];
}

/** In a bucket of its own, which the desktop app's pages may use. */
export async function storeAt(server: TestObjectStore): Promise<Store> {
  const name = await server.bucket();
  await server.cors(name, [desktopOrigin]);
  const env = {
    SPECGATE_STORAGE: "s3",
    S3_ENDPOINT: server.endpoint,
    S3_REGION: server.region,
    S3_BUCKET: name,
    S3_ACCESS_KEY_ID: server.accessKeyId,
    S3_SECRET_ACCESS_KEY: server.secretAccessKey,
  };
  return { name: "s3", env, bucket: { server, name } };
}
