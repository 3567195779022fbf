/**
 * The local store when the disk, the network or the other side fails it: what was there stays, and nothing half is left.
 */
import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lastWord } from "../../cli/serve.ts";
import type { Call } from "../../platform/call.ts";
import { silentLog } from "../../platform/log.ts";
import { type Blobs, newKey, put, rawPut, startBlobs, termsFor, told } from "../../testing/blobs.ts";
import { BlobFiles } from "./blob-files.ts";
import { createUploads, usualUploadLimits } from "./blob-upload.ts";

const bytes = crypto.getRandomValues(new Uint8Array(200_000));
const mebibyte = 1024 * 1024;

const partials = ({ root }: Blobs): string[] => {
  const path = join(root, ".partial");
  return existsSync(path) ? readdirSync(path) : [];
};
const isRoot = (await Bun.$`id -u`.text()).trim() === "0";

/** A small file system of its own, mounted for the time of the work. */
async function onTmpfs(options: string, work: (path: string) => Promise<void>): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), "blobs-tmpfs-"));
  await Bun.$`mount -t tmpfs -o ${options} tmpfs ${path}`;
  try {
    await work(path);
  } finally {
    await Bun.$`umount -l ${path}`;
    rmSync(path, { recursive: true });
  }
}
const mayMount =
  isRoot &&
  (await onTmpfs("size=1m", async () => undefined).then(
    () => true,
    () => false,
  ));

describe("a disk", () => {
  test("keeps room for others: what has been promised counts before it has come", async () => {
    const { bavail, bsize } = await statfs(tmpdir());
    const spareBytes = bavail * bsize - 500 * mebibyte;
    const blobs = startBlobs({ limits: { spareBytes } });
    const large = await blobs.disk.presignPut(termsFor(bytes, { sizeBytes: 400 * mebibyte }));
    const raw = await rawPut(large, 400 * mebibyte);
    await until(() => partials(blobs).length === 1);
    const second = await blobs.disk.presignPut(termsFor(bytes, { sizeBytes: 300 * mebibyte }));
    expect(await (await rawPut(second, 300 * mebibyte)).answer).toBe("503 storage_unavailable");
    expect(await put(await blobs.disk.presignPut(termsFor(bytes)), bytes)).toBe("200");
    const never = await blobs.disk.presignPut(termsFor(bytes, { sizeBytes: 600 * mebibyte }));
    expect(await (await rawPut(never, 600 * mebibyte)).answer).toBe("507 no_room");
    raw.die();
    await until(() => partials(blobs).length === 0);
    const again = await rawPut(second, 300 * mebibyte);
    await until(() => partials(blobs).length === 1);
    again.die();
    await blobs.close();
  });

  test("is not promised to one project: beside its largest upload it has a quarter of the room", async () => {
    const { bavail, bsize } = await statfs(tmpdir());
    const blobs = startBlobs({ limits: { spareBytes: bavail * bsize - 500 * mebibyte } });
    const begin = async (project: string, mebibytes: number) => {
      const key = newKey().replace("prj_1", project);
      const terms = termsFor(bytes, { key, sizeBytes: mebibytes * mebibyte });
      return rawPut(await blobs.disk.presignPut(terms), terms.sizeBytes);
    };
    const held = [await begin("prj_1", 150), await begin("prj_1", 80)];
    await until(() => partials(blobs).length === 2);
    expect(await (await begin("prj_1", 80)).answer).toBe("503 storage_unavailable");
    held.push(await begin("prj_2", 200));
    await until(() => partials(blobs).length === 3);
    for (const raw of held) raw.die();
    await until(() => partials(blobs).length === 0);
    await blobs.close();
  });

  test.skipIf(!mayMount)("that fills up while bytes come says so, and is emptied of them", async () => {
    await onTmpfs("size=4m", async (path) => {
      const blobs = startBlobs({ root: join(path, "blobs"), limits: { spareBytes: -100 * mebibyte } });
      const small = await blobs.disk.presignPut(termsFor(bytes));
      expect(await put(small, bytes)).toBe("200");
      const large = new Uint8Array(8 * mebibyte);
      const upload = await blobs.disk.presignPut(termsFor(large));
      expect(await put(upload, large)).toBe("507 no_room");
      expect(partials(blobs)).toEqual([]);
      await expect(blobs.disk.check()).rejects.toMatchObject({ code: "no_room" });
      expect(await put(await blobs.disk.presignPut(termsFor(bytes)), bytes)).toBe("200");
      await blobs.close();
    });
  });

  test.skipIf(!mayMount)("that can only be read is not ready, and takes nothing", async () => {
    await onTmpfs("size=100m", async (path) => {
      const blobs = startBlobs({ root: join(path, "blobs"), limits: { spareBytes: 0 } });
      await blobs.disk.check();
      const terms = termsFor(bytes);
      expect(await put(await blobs.disk.presignPut(terms), bytes)).toBe("200");
      await Bun.$`mount -o remount,ro ${path}`;
      await expect(blobs.disk.check()).rejects.toMatchObject({ code: "storage_unavailable" });
      expect(await put(await blobs.disk.presignPut(termsFor(bytes)), bytes)).toBe("503 storage_unavailable");
      await expect(blobs.disk.remove(terms.key)).rejects.toMatchObject({ code: "storage_unavailable" });
      expect(await blobs.disk.find(terms.key)).toMatchObject({ sizeBytes: bytes.length });
      await blobs.close();
    });
  });

  // Root may write anywhere; for it the read-only disk above says the same.
  if (!isRoot)
    test("whose directory belongs to somebody else is not ready, and takes nothing", async () => {
      const blobs = startBlobs();
      await blobs.disk.check();
      chmodSync(join(blobs.root, ".partial"), 0o500);
      await expect(blobs.disk.check()).rejects.toMatchObject({ code: "storage_unavailable" });
      expect(await put(await blobs.disk.presignPut(termsFor(bytes)), bytes)).toBe("503 storage_unavailable");
      chmodSync(join(blobs.root, ".partial"), 0o700);
      await blobs.close();
    });
});

describe("a slow caller", () => {
  test("is waited for as long as bytes come, whatever the idle timeout of the server", async () => {
    const blobs = startBlobs({ idleSeconds: 4, limits: { idleSeconds: 8 } });
    const small = bytes.subarray(0, 14);
    const raw = await rawPut(await blobs.disk.presignPut(termsFor(small)), small.length);
    for (const byte of small) {
      await raw.write(new Uint8Array([byte]));
      await Bun.sleep(800);
    }
    expect(await raw.answer).toBe("200");
    await blobs.close();
  }, 30_000);

  test("who sends too little of it is cut off, and so is one who takes too long in all", async () => {
    for (const limits of [
      { paceSeconds: 0.5, bytesPerSecondMin: 100 },
      { paceSeconds: 60, uploadSecondsMax: 0.5 },
    ]) {
      const blobs = startBlobs({ limits });
      const raw = await rawPut(await blobs.disk.presignPut(termsFor(bytes)), bytes.length);
      const from = performance.now();
      let isOver = false;
      raw.answer.then(() => {
        isOver = true;
      });
      while (!isOver) {
        await raw.write("x");
        await Bun.sleep(50);
        if (performance.now() - from > 5_000) throw new Error("nobody cut it off");
      }
      expect(await raw.answer).toBe("408 upload_too_slow");
      expect(partials(blobs)).toEqual([]);
      await blobs.close();
    }
  });

  test("gets the whole of a download, whatever the idle timeout of the server", async () => {
    const blobs = startBlobs({ idleSeconds: 8 });
    const large = crypto.getRandomValues(new Uint8Array(65_536));
    const body = Buffer.concat(Array.from({ length: 320 }, () => large));
    const terms = termsFor(body);
    expect(await put(await blobs.disk.presignPut(terms), body)).toBe("200");
    const { url } = await blobs.disk.presignGet({ ...terms, name: "x", ttlSeconds: 60 });
    expect(await readSlowly(url, 13_000)).toBe(body.length);
    await blobs.close();
  }, 60_000);
});

test("a hundred megabytes come and go without being held in memory", async () => {
  const server = Bun.spawn([process.execPath, "-e", memoryServer], { cwd: import.meta.dir, stdout: "pipe" });
  const lines = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { url, upload, download } = JSON.parse((await lines.read()).value ?? "");
  const rss = async () => (await (await fetch(url)).json()) as { now: number; peak: number };
  const before = await rss();
  // From a file, and in another process than the server.
  const file = join(mkdtempSync(join(tmpdir(), "blobs-large-")), "x");
  await Bun.write(file, new Uint8Array(100 * mebibyte));
  const headers = Object.entries<string>(upload.headers).flatMap(([name, value]) => [
    "-H",
    `${name}: ${value}`,
  ]);
  const status =
    await Bun.$`curl -sS -o /dev/null -w ${"%{http_code}"} -T ${file} ${headers} ${upload.url}`.text();
  const came = await rss();
  const size = await Bun.$`curl -sS -o /dev/null -w ${"%{size_download}"} ${download.url}`.text();
  const went = await rss();
  server.kill();
  await server.exited;
  rmSync(file);
  const grown = [came, went].map(({ peak }) => Math.round((peak - before.now) / mebibyte));
  console.log(`resident memory grew by at most ${grown.join(" and ")} MiB`);
  expect([status, size]).toEqual(["200", String(100 * mebibyte)]);
  // Of 100; it varies with what else the runtime does.
  for (const growth of grown) expect(growth).toBeLessThan(48);
});

/** A store in a process of its own, that first signs an upload of 100 MiB of zeros and then tells its memory. */
const memoryServer = `
const { startBlobs, termsFor } = await import("../../testing/blobs.ts");
const blobs = startBlobs();
let terms = termsFor(new Uint8Array(1));
{
  const sha256 = new Bun.CryptoHasher("sha256");
  for (let n = 0; n < 1600; n++) sha256.update(new Uint8Array(65536));
  terms = { ...terms, sizeBytes: 104857600, sha256: sha256.digest("hex") };
}
// The store is warm when it is measured.
const small = new Uint8Array(2_000_000);
for (let n = 0; n < 5; n++) {
  const upload = await blobs.disk.presignPut(termsFor(small));
  await fetch(upload.url, { method: "PUT", headers: upload.headers, body: small });
}
Bun.gc(true);
let peak = 0;
setInterval(() => { peak = Math.max(peak, process.memoryUsage().rss); }, 2);
const side = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch() {
  const now = process.memoryUsage().rss;
  const answer = Response.json({ now, peak: Math.max(now, peak) });
  peak = 0;
  return answer;
} });
const upload = await blobs.disk.presignPut(terms);
const download = await blobs.disk.presignGet({ ...terms, name: "x" });
console.log(JSON.stringify({ url: "http://127.0.0.1:" + side.port, upload, download }));
`;

test("a store that closes ends what is under way, and leaves nothing of it", async () => {
  const blobs = startBlobs();
  const raw = await rawPut(await blobs.disk.presignPut(termsFor(bytes)), bytes.length);
  await until(() => partials(blobs).length === 1);
  await blobs.disk.close();
  expect(partials(blobs)).toEqual([]);
  expect(await raw.answer).toBe("503 storage_unavailable");
  await blobs.close();
});

describe("a store that drains", () => {
  test("lets a download end that is under way, and begins no other", async () => {
    const blobs = startBlobs();
    const body = new Uint8Array(20 * mebibyte);
    const terms = termsFor(body);
    expect(await put(await blobs.disk.presignPut(terms), body)).toBe("200");
    const { url } = await blobs.disk.presignGet({ ...terms, name: "x", ttlSeconds: 60 });
    const slow = readSlowly(url, 1_000);
    await Bun.sleep(200);
    let isDrained = false;
    const drained = blobs.disk.drain(20_000).then(() => {
      isDrained = true;
    });
    expect(await told(await fetch(url))).toBe("503 storage_unavailable");
    expect(isDrained).toBe(false);
    expect(await slow).toBe(body.length);
    await drained;
    const abandoned = performance.now();
    await blobs.disk.drain(20_000);
    expect(performance.now() - abandoned).toBeLessThan(1_000);
    await blobs.close();
  });

  test("waits for a download no longer than it was told", async () => {
    const blobs = startBlobs();
    const body = new Uint8Array(20 * mebibyte);
    const terms = termsFor(body);
    expect(await put(await blobs.disk.presignPut(terms), body)).toBe("200");
    const { url } = await blobs.disk.presignGet({ ...terms, name: "x", ttlSeconds: 60 });
    const slow = readSlowly(url, 3_000);
    await Bun.sleep(200);
    const from = performance.now();
    await blobs.disk.drain(300);
    expect(Math.abs(performance.now() - from - 300)).toBeLessThan(200);
    await blobs.close();
    expect(await slow).toBeLessThan(body.length);
  });

  test("takes no upload that waited for another of its key meanwhile", async () => {
    const publishing = Promise.withResolvers<void>();
    const failing = Promise.withResolvers<void>();
    let begun = 0;
    class FailingFiles extends BlobFiles {
      override newPartial(): string {
        begun++;
        return super.newPartial();
      }
      override async publish(): Promise<string> {
        publishing.resolve();
        await failing.promise;
        throw new Error("the disk is gone");
      }
    }
    const root = mkdtempSync(join(tmpdir(), "blobs-drain-"));
    const uploads = createUploads(new FailingFiles(root), { ...usualUploadLimits, spareBytes: 0 });
    const receive = () => {
      const request = new Request("http://127.0.0.1/", { method: "PUT", body: bytes });
      return uploads.receive(
        { request, stayOpen: () => undefined } as unknown as Call,
        termsFor(bytes, { key: "a/b" }),
      );
    };
    const first = receive().catch(({ message }: Error) => message);
    await publishing.promise;
    const second = receive().catch(({ message }: Error) => message);
    const drained = uploads.drain(10_000);
    failing.resolve();
    expect(await first).toContain("cannot be used right now");
    expect(await second).toContain("shutting down");
    await drained;
    expect(begun).toBe(1);
    rmSync(root, { recursive: true });
  });
});

test("what cannot be sent after all is told in the gateway's words, and why in its log alone", async () => {
  const lines: Record<string, unknown>[] = [];
  const log = { ...silentLog, error: (_: string, fields = {}) => void lines.push(fields) };
  const server = Bun.serve({
    port: 0,
    development: false,
    fetch: () => new Response(Bun.file("/nowhere/secret")),
    error: lastWord(log),
  });
  const response = await fetch(server.url);
  const text = await response.text();
  expect([response.status, response.headers.get("content-type")]).toEqual([500, "application/problem+json"]);
  expect(text).not.toContain("secret");
  expect(lines).toMatchObject([{ request_id: JSON.parse(text).request_id, error: { code: "ENOENT" } }]);
  await server.stop(true);
});

test("three hundred downloads, ended and broken off, leave no timer and no open file", async () => {
  const blobs = startBlobs();
  const body = new Uint8Array(2 * mebibyte);
  const terms = termsFor(body);
  expect(await put(await blobs.disk.presignPut(terms), body)).toBe("200");
  const { url } = await blobs.disk.presignGet({ ...terms, name: "x", ttlSeconds: 60 });
  const get = async (_: unknown, n: number) => {
    const response = await fetch(url, { headers: n % 3 === 0 ? { range: "bytes=9000000-" } : {} });
    if (n % 3 === 1) await response.body?.cancel();
    else await response.arrayBuffer();
  };
  const timers = () => {
    Bun.gc(true);
    return heapStats().objectTypeCounts.Timeout ?? 0;
  };
  const openFiles = () => readdirSync("/dev/fd").filter((fd) => linkOf(fd).startsWith(blobs.root)).length;
  const round = () => Promise.all(Array.from({ length: 30 }, get));
  const quiet = () => until(() => openFiles() === 0);
  await round();
  await quiet();
  await Bun.sleep(200);
  const before = timers();
  for (let rounds = 0; rounds < 10; rounds++) await round();
  console.log(`${before} timers before, then ${timers()} and ${openFiles()} open files`);
  await quiet();
  await until(() => timers() <= before);
  await blobs.close();
});

const linkOf = (fd: string): string => {
  try {
    return readlinkSync(`/dev/fd/${fd}`);
  } catch {
    return "";
  }
};

/** Rests for so long in the middle; how many bytes of the body came. */
async function readSlowly(url: string, restMs: number): Promise<number> {
  const { hostname, port, pathname, search } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.write(`GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nconnection: close\r\n\r\n`);
  let received = 0;
  let head = 0;
  let rests = 0;
  socket
    .on("error", () => undefined)
    .on("data", (some: Buffer) => {
      if (received === 0) head = some.indexOf("\r\n\r\n") + 4;
      received += some.length;
      if (rests === 1 || received < 4_000_000) return;
      rests++;
      socket.pause();
      setTimeout(() => socket.resume(), restMs);
    });
  await new Promise((resolve) => socket.once("close", resolve));
  return received - head;
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let wait = 0; !isTrue(); wait++) {
    if (wait === 500) throw new Error("it did not come to pass");
    await Bun.sleep(10);
  }
}
