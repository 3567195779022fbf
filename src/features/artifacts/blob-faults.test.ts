/**
 * The local store when the disk, the network or the other side fails it: what was there stays, and nothing half is left.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Blobs, newKey, put, rawPut, startBlobs, termsFor } from "../../testing/blobs.ts";

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
    const { bavail, bsize } = await (await import("node:fs/promises")).statfs(tmpdir());
    const spareBytes = bavail * bsize - 500 * mebibyte;
    const blobs = startBlobs({ limits: { spareBytes } });
    const large = await blobs.disk.presignPut(termsFor(bytes, { sizeBytes: 400 * mebibyte }));
    const raw = await rawPut(large, 400 * mebibyte);
    await until(() => partials(blobs).length === 1);
    const second = await blobs.disk.presignPut(termsFor(bytes, { sizeBytes: 300 * mebibyte }));
    expect(await (await rawPut(second, 300 * mebibyte)).answer).toBe("507 no_room");
    expect(await put(await blobs.disk.presignPut(termsFor(bytes)), bytes)).toBe("200");
    raw.die();
    await until(() => partials(blobs).length === 0);
    const again = await rawPut(second, 300 * mebibyte);
    await until(() => partials(blobs).length === 1);
    again.die();
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

  test.skipIf(isRoot)(
    "whose directory belongs to somebody else is not ready, and takes nothing",
    async () => {
      const blobs = startBlobs();
      await blobs.disk.check();
      chmodSync(join(blobs.root, ".partial"), 0o500);
      await expect(blobs.disk.check()).rejects.toMatchObject({ code: "storage_unavailable" });
      expect(await put(await blobs.disk.presignPut(termsFor(bytes)), bytes)).toBe("503 storage_unavailable");
      chmodSync(join(blobs.root, ".partial"), 0o700);
      await blobs.close();
    },
  );
});

describe("a slow caller", () => {
  test("is waited for as long as bytes come, whatever the idle timeout of the server", async () => {
    const blobs = startBlobs({ idleSeconds: 4, limits: { idleSeconds: 4 } });
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
    const blobs = startBlobs({ idleSeconds: 4 });
    const large = crypto.getRandomValues(new Uint8Array(65_536));
    const body = Buffer.concat(Array.from({ length: 320 }, () => large));
    const terms = termsFor(body);
    expect(await put(await blobs.disk.presignPut(terms), body)).toBe("200");
    const { url } = await blobs.disk.presignGet({ ...terms, name: "x", ttlSeconds: 60 });
    expect(await readSlowly(url, 12_000)).toBe(body.length);
    await blobs.close();
  }, 60_000);
});

test("a store that closes ends what is under way, and leaves nothing of it", async () => {
  const blobs = startBlobs();
  const raw = await rawPut(await blobs.disk.presignPut(termsFor(bytes)), bytes.length);
  await until(() => partials(blobs).length === 1);
  await blobs.disk.close();
  expect(partials(blobs)).toEqual([]);
  expect(await raw.answer).toBe("503 storage_unavailable");
  await blobs.close();
});

/** Reads for so long, with long rests; how many bytes of the body came. */
async function readSlowly(url: string, ms: number): Promise<number> {
  const { hostname, port, pathname, search } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.write(`GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nconnection: close\r\n\r\n`);
  let received = 0;
  let head = 0;
  const ended = new Promise<void>((resolve) =>
    socket.once("close", () => resolve()).once("error", () => undefined),
  );
  socket.on("data", (some: Buffer) => {
    if (received === 0) head = some.indexOf("\r\n\r\n") + 4;
    received += some.length;
    socket.pause();
    setTimeout(() => socket.resume(), received < 2_000_000 ? ms / 20 : 0);
  });
  await ended;
  return received - head;
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let wait = 0; !isTrue(); wait++) {
    if (wait === 500) throw new Error("it did not come to pass");
    await Bun.sleep(10);
  }
}
