/**
 * The local store as callers meet it: what a signed URL lets them do, and everything that it does not.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { newKey, put, type RawUpload, rawPut, startBlobs, termsFor, told } from "../../testing/blobs.ts";
import type { UploadTerms } from "./object-store.ts";

const blobs = startBlobs();
const { disk, root } = blobs;
afterAll(() => blobs.close());

const bytes = crypto.getRandomValues(new Uint8Array(200_000));
const download = { name: "a.bin", contentType: "application/octet-stream", ttlSeconds: 60 };

const begin = (more: Partial<UploadTerms> = {}, of = bytes) => {
  const terms = termsFor(of, more);
  return disk.presignPut(terms).then((upload) => ({ terms, upload, key: terms.key }));
};
async function stored(of = bytes): Promise<string> {
  const { upload, key } = await begin({}, of);
  expect(await put(upload, of)).toBe("200");
  return key;
}
const partials = () => readdirSync(join(root, ".partial"));
const get = async (key: string, headers: Record<string, string> = {}, more = {}) =>
  fetch((await disk.presignGet({ ...download, key, ...more })).url, { headers });

describe("an upload", () => {
  test("comes back byte for byte, once, and in a file that only its owner may read", async () => {
    const { upload, key, terms } = await begin();
    expect(await disk.find(key)).toBeNull();
    const response = await fetch(upload.url, { method: "PUT", headers: upload.headers, body: bytes });
    const found = await disk.find(key);
    expect([response.status, response.headers.get("etag")]).toEqual([200, `"${found?.etag}"`]);
    expect(found).toMatchObject({
      sizeBytes: bytes.length,
      sha256: terms.sha256,
      contentType: terms.contentType,
    });
    expect(await new Response(await disk.read(key)).bytes()).toEqual(bytes);
    expect(await (await get(key)).bytes()).toEqual(bytes);
    expect(await put(upload, bytes)).toBe("412 already_uploaded");
    expect((await Bun.file(join(root, key)).stat()).mode & 0o777).toBe(0o600);
    expect(partials()).toEqual([]);
  });

  test("of other bytes, another length or type than announced leaves nothing", async () => {
    const { upload, key } = await begin();
    const other = bytes.slice();
    other[100_000] = 1 + (other[100_000] ?? 0);
    expect(await put(upload, other)).toBe("400 checksum_mismatch");
    for (const body of [bytes.subarray(1), new Uint8Array(bytes.length + 1), ""])
      expect(await put(upload, body)).toBe("403 signature_mismatch");
    for (const headers of [
      { "content-type": "text/html" },
      { "content-type": "Application/octet-stream" },
      { "if-none-match": '"x"' },
      { "x-amz-checksum-sha256": Buffer.alloc(32).toString("base64") },
    ])
      expect(await put(upload, bytes, headers)).toBe("403 signature_mismatch");
    expect([await disk.find(key), partials()]).toEqual([null, []]);
    expect(await put(upload, bytes)).toBe("200");
  });

  test("without a length, in chunks, is asked for one", async () => {
    const { upload, key } = await begin();
    const raw = await rawPut(upload, null);
    expect(await raw.answer).toBe("411 length_required");
    expect(await disk.find(key)).toBeNull();
  });

  test("that begins too late is refused, and so is a download", async () => {
    let now = Date.now();
    const own = startBlobs({ clock: { now: () => now } });
    const upload = await own.disk.presignPut(termsFor(bytes));
    const { url } = await own.disk.presignGet({ ...download, key: newKey() });
    expect(upload.expiresAt.getTime() / 1000).toBe(Math.floor(now / 1000) + 60);
    now = upload.expiresAt.getTime() - 1;
    expect(await told(await fetch(url))).toBe("404 not_found");
    now += 1;
    expect(await told(await fetch(url))).toBe("403 url_expired");
    expect(await put(upload, bytes)).toBe("403 url_expired");
    now -= 8 * 86_400_000;
    expect(await put(upload, bytes)).toBe("403 signature_mismatch");
    await own.close();
  });

  test("that breaks off leaves nothing, and can be sent again", async () => {
    const { upload, key } = await begin();
    const raw = await rawPut(upload, bytes.length);
    await raw.write(bytes.subarray(0, 100_000));
    await until(() => partials().length === 1);
    raw.die();
    await until(() => partials().length === 0);
    expect(await disk.find(key)).toBeNull();
    expect(await put(upload, bytes)).toBe("200");
  });

  test("is cut off by a newer one of the same URL, which succeeds", async () => {
    const { upload, key } = await begin();
    const stuck = await rawPut(upload, bytes.length);
    await stuck.write(bytes.subarray(0, 100_000));
    await until(() => partials().length === 1);
    expect(await put(upload, bytes)).toBe("200");
    expect(await stuck.answer).toBe("409 upload_superseded");
    expect(new Uint8Array(readFileSync(join(root, key)))).toEqual(bytes);
    expect(partials()).toEqual([]);
  });

  test("fifty at once of one URL store one", async () => {
    for (let round = 0; round < 3; round++) {
      const { upload, key } = await begin();
      const answers = await Promise.all(Array.from({ length: 50 }, () => put(upload, bytes)));
      const refusals = answers.filter((answer) => answer !== "200");
      expect(refusals.length).toBe(49);
      for (const refusal of refusals)
        expect(refusal).toMatch(/^(?:409 upload_superseded|412 already_uploaded)$/);
      expect(new Uint8Array(readFileSync(join(root, key)))).toEqual(bytes);
      expect(partials()).toEqual([]);
    }
  });

  test("waits outside when too many are under way", async () => {
    const own = startBlobs({ limits: { uploadsMax: 2, uploadsPerOwnerMax: 2 } });
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => own.disk.presignPut(termsFor(bytes))));
    if (!one || !two || !three) throw new Error("three were signed");
    const held = [await rawPut(one, bytes.length), await rawPut(two, bytes.length)];
    await until(
      () => existsSync(join(own.root, ".partial")) && readdirSync(join(own.root, ".partial")).length === 2,
    );
    const response = await fetch(three.url, { method: "PUT", headers: three.headers, body: bytes });
    expect([response.headers.get("retry-after"), await told(response)]).toEqual([
      "5",
      "503 storage_unavailable",
    ]);
    // A retry takes the place of what it retries.
    expect(await put(one, bytes)).toBe("200");
    expect(await put(three, bytes)).toBe("200");
    for (const raw of held) raw.die();
    await own.close();
  });

  test("of one project or person waits for their others, and never for the places of all", async () => {
    const own = startBlobs({ limits: { uploadsMax: 4, uploadsPerOwnerMax: 1 } });
    const sign = (key: string) => own.disk.presignPut(termsFor(bytes, { key }));
    const held: RawUpload[] = [];
    for (const owner of ["projects/prj_1", "projects/prj_2", "chat/uploads/usr_1"])
      held.push(await rawPut(await sign(`${owner}/art_1/x`), bytes.length));
    await until(
      () => existsSync(join(own.root, ".partial")) && readdirSync(join(own.root, ".partial")).length === 3,
    );
    for (const owner of ["projects/prj_1", "projects/prj_2", "chat/uploads/usr_1"])
      expect(await put(await sign(`${owner}/art_2/x`), bytes)).toBe("503 storage_unavailable");
    for (const owner of ["projects/usr_1", "chat/uploads/usr_2", "chat/uploads/prj_1"])
      expect(await put(await sign(`${owner}/art_1/x`), bytes)).toBe("200");
    for (const raw of held) raw.die();
    await own.close();
  });

  test("from a page of another origin is allowed, with exactly what it must send", async () => {
    const { upload, key } = await begin();
    const origin = "https://desktop.example";
    const preflight = await fetch(upload.url, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "PUT",
        "access-control-request-headers": Object.keys(upload.headers).join(","),
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-methods")).toContain("PUT");
    expect(preflight.headers.get("access-control-allow-headers")?.split(", ").sort()).toEqual(
      Object.keys(upload.headers).sort(),
    );
    const response = await fetch(upload.url, {
      method: "PUT",
      headers: { ...upload.headers, origin },
      body: bytes,
    });
    expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([200, "*"]);
    expect((await get(key, { origin })).headers.get("access-control-allow-origin")).toBe("*");
  });
});

describe("a download", () => {
  test("answers each kind of range", async () => {
    const ten = new TextEncoder().encode("0123456789");
    const key = await stored(ten);
    for (const [range, status, body, contentRange] of [
      ["bytes=0-3", 206, "0123", "bytes 0-3/10"],
      ["bytes=4-", 206, "456789", "bytes 4-9/10"],
      ["bytes=-3", 206, "789", "bytes 7-9/10"],
      ["bytes=-30", 206, "0123456789", "bytes 0-9/10"],
      ["bytes=9-99", 206, "9", "bytes 9-9/10"],
      ["BYTES=0-0", 206, "0", "bytes 0-0/10"],
      ["bytes=5-4", 200, "0123456789", null],
      ["bytes=0-1,3-4", 200, "0123456789", null],
      ["lines=0-1", 200, "0123456789", null],
      ["bytes=a-b", 200, "0123456789", null],
      ["bytes=-", 200, "0123456789", null],
    ] as const) {
      const response = await get(key, { range });
      const { headers } = response;
      expect([range, response.status, await response.text(), headers.get("content-range")]).toEqual([
        range,
        status,
        body,
        contentRange,
      ]);
      expect(headers.get("content-length")).toBe(String(body.length));
      expect(headers.get("accept-ranges")).toBe("bytes");
    }
    for (const range of ["bytes=10-", "bytes=10-12", "bytes=-0", `bytes=${"9".repeat(400)}-`]) {
      const response = await get(key, { range });
      expect([range, response.headers.get("content-range"), await told(response)]).toEqual([
        range,
        "bytes */10",
        "416 range_not_satisfiable",
      ]);
    }
  });

  test("is not sent again to whoever has it, and a range only of what they have", async () => {
    const key = await stored();
    const etag = (await get(key)).headers.get("etag") ?? "";
    for (const [header, status] of [
      [etag, 304],
      [`"x", W/${etag}`, 304],
      ["*", 304],
      ['"x"', 200],
    ] as const) {
      const response = await get(key, { "if-none-match": header });
      expect([header, response.status, response.headers.get("etag")]).toEqual([header, status, etag]);
      expect((await response.bytes()).length).toBe(status === 304 ? 0 : bytes.length);
    }
    for (const [header, status] of [
      [etag, 206],
      ['"x"', 200],
      ["Wed, 21 Oct 2037 07:28:00 GMT", 200],
    ] as const)
      expect((await get(key, { range: "bytes=0-0", "if-range": header })).status).toBe(status);
  });

  test("is a file to save, and never a page of this origin", async () => {
    const key = await stored(new TextEncoder().encode("<script>alert(1)</script>"));
    const response = await get(key, {}, { contentType: "text/html", name: 'r"\r\nx: y.html' });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "text/html",
      "content-disposition": `attachment; filename="r___x_ y.html"; filename*=UTF-8''r%22%0D%0Ax%3A%20y.html`,
      "content-security-policy": "sandbox; default-src 'none'",
      "x-content-type-options": "nosniff",
      "cache-control": "private, no-cache",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "cross-origin",
    });
    expect(response.headers.has("x")).toBe(false);
  });

  test("that is refused is no page of this origin either", async () => {
    const key = await stored();
    const { upload } = await begin();
    const answers = [
      await get(newKey()),
      await get(key, { range: "bytes=900000-" }),
      await fetch(`${blobs.url}/blobs/${key}`),
      await fetch(upload.url, { method: "PUT", body: bytes }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([404, 416, 403, 403]);
    for (const { headers } of answers)
      expect(Object.fromEntries(headers)).toMatchObject({
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "cross-origin",
        "cache-control": "no-store",
        "x-request-id": expect.stringMatching(/^req_/),
      });
    await Promise.all(answers.map((answer) => answer.text()));
  });

  test("that meets the removal of its bytes gets all of them, or finds nothing", async () => {
    const outcomes = new Map<string, number>();
    for (let round = 0; round < 40; round++) {
      const key = await stored();
      const one = async (_: unknown, n: number) => {
        await Bun.sleep(n / 8);
        const response = await get(key, n % 2 === 0 ? {} : { range: "bytes=1000-" });
        const isWhole = response.ok && (await response.bytes()).length === bytes.length - (n % 2) * 1000;
        const outcome = isWhole ? "whole" : await told(response);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      };
      const gets = Array.from({ length: 24 }, one);
      await Bun.sleep(1);
      await disk.remove(key);
      await Promise.all(gets);
    }
    console.log(JSON.stringify(Object.fromEntries(outcomes)));
    expect([...outcomes.keys()].sort()).toEqual(["404 not_found", "whole"]);
  });

  test("of what is not there, or is gone, finds nothing", async () => {
    const key = await stored();
    await disk.remove(key);
    await disk.remove(key);
    for (const gone of [key, newKey(), "chat/uploads/usr_1/art_1/x"])
      expect(await told(await get(gone))).toBe("404 not_found");
    expect(await disk.read(key).catch((error: { code: string }) => error.code)).toBe("not_found");
  });

  test("is for GET alone: a HEAD, a PUT or a DELETE of its URL is refused", async () => {
    const key = await stored();
    const { url } = await disk.presignGet({ ...download, key });
    expect((await fetch(url, { method: "HEAD" })).status).toBe(403);
    expect(await told(await fetch(url, { method: "PUT", body: bytes }))).toBe("403 signature_mismatch");
    for (const method of ["DELETE", "POST", "PATCH", "OPTIONS"]) {
      const response = await fetch(url, { method });
      expect([response.headers.get("allow"), await told(response)]).toEqual([
        "GET, PUT",
        "405 method_not_allowed",
      ]);
    }
    const { upload } = await begin();
    expect((await fetch(upload.url, { method: "HEAD", headers: upload.headers })).status).toBe(403);
    expect(await told(await fetch(upload.url, { headers: upload.headers }))).toBe("403 signature_mismatch");
  });
});

describe("the directory", () => {
  test("loses what is empty with the last file in it, and stands beside uploads that fill it", async () => {
    const own = startBlobs();
    const folder = "chat/uploads/usr_1";
    for (let round = 0; round < 20; round++) {
      const keys = Array.from({ length: 6 }, (_, n) => `${folder}/art_${round}_${n}/x`);
      const work = keys.map(async (key) => {
        expect(await put(await own.disk.presignPut(termsFor(bytes, { key })), bytes)).toBe("200");
        await own.disk.remove(key);
      });
      await Promise.all(work);
      expect(readdirSync(own.root)).toEqual([".partial"]);
    }
    await own.close();
  });

  test("is made again when it was tidied away under an upload", async () => {
    const own = startBlobs();
    const folder = "chat/uploads/usr_1/art_1";
    let isOver = false;
    const tidy = async () => {
      while (!isOver) await own.disk.remove(`${folder}/nothing`);
    };
    const tidying = Array.from({ length: 4 }, tidy);
    for (let round = 0; round < 100; round++) {
      const key = `${folder}/x`;
      expect(await put(await own.disk.presignPut(termsFor(bytes, { key })), bytes)).toBe("200");
      await own.disk.remove(key);
    }
    isOver = true;
    await Promise.all(tidying);
    await own.close();
  }, 30_000);

  test("lists what begins with a prefix, and nothing else", async () => {
    const own = startBlobs();
    expect(await Array.fromAsync(own.disk.list(""))).toEqual([]);
    const keys = ["projects/a/1/x", "projects/a/2/y", "projects/ab/1/x", "chat/uploads/u/1/x"];
    for (const key of keys)
      expect(await put(await own.disk.presignPut(termsFor(bytes, { key })), bytes)).toBe("200");
    await Bun.write(join(own.root, ".partial/left"), "x");
    await Bun.write(join(own.root, "projects/.DS_Store"), "x");
    const list = async (prefix: string) =>
      (await Array.fromAsync(own.disk.list(prefix))).map(({ key }) => key).sort();
    expect(await list("")).toEqual([...keys].sort());
    expect(await list("projects/a")).toEqual(["projects/a/1/x", "projects/a/2/y", "projects/ab/1/x"]);
    expect(await list("projects/a/")).toEqual(["projects/a/1/x", "projects/a/2/y"]);
    for (const prefix of ["../", "nothing/", "projects/../", ".partial/"])
      expect(await list(prefix)).toEqual([]);
    const [one] = await Array.fromAsync(own.disk.list("chat/"));
    expect(one).toMatchObject({ sizeBytes: bytes.length });
    expect(Math.abs((one?.modifiedAt.getTime() ?? 0) - Date.now())).toBeLessThan(10_000);
    await own.close();
  });

  test("is left by no key, not even by one that is signed", async () => {
    for (const key of [
      "../x",
      "a/../../x",
      "a//b",
      "/etc/passwd",
      ".partial/x",
      "a/.b",
      "a/b%2e",
      "a/b\0",
      "ä",
      "",
      "a/",
    ]) {
      await expect(disk.presignGet({ ...download, key })).rejects.toThrow();
      await expect(disk.presignPut(termsFor(bytes, { key }))).rejects.toThrow();
      await expect(disk.find(key)).rejects.toMatchObject({ code: "storage_unavailable" });
      await expect(disk.remove(key)).rejects.toMatchObject({ code: "storage_unavailable" });
    }
  });

  test("is left by no link", async () => {
    const own = startBlobs();
    const outside = join(own.root, "../outside");
    mkdirSync(outside);
    await Bun.write(join(outside, "x"), "secret");
    mkdirSync(join(own.root, "a"), { recursive: true });
    symlinkSync(outside, join(own.root, "a/folder"));
    symlinkSync(join(outside, "x"), join(own.root, "a/file"));
    for (const key of ["a/folder/x", "a/file"]) {
      const { url } = await own.disk.presignGet({ ...download, key });
      expect(await told(await fetch(url))).toBe("503 storage_unavailable");
    }
    const key = "a/folder/y";
    expect(await put(await own.disk.presignPut(termsFor(bytes, { key })), bytes)).toBe(
      "503 storage_unavailable",
    );
    await expect(own.disk.remove("a/folder/x")).rejects.toMatchObject({ code: "storage_unavailable" });
    expect(readdirSync(outside)).toEqual(["x"]);
    expect(await Array.fromAsync(own.disk.list(""))).toEqual([]);
    await own.close();
  });

  test("is swept of what a killed upload left, and of nothing that still comes", async () => {
    const { upload } = await begin();
    const raw = await rawPut(upload, bytes.length);
    await until(() => partials().length === 1);
    const left = join(root, ".partial/left");
    await Bun.write(left, "x");
    utimesSync(left, 0, 0);
    expect(await disk.sweepPartials(3_600_000)).toBe(1);
    expect(existsSync(left)).toBe(false);
    await raw.write(bytes);
    expect(await raw.answer).toBe("200");
    expect(partials()).toEqual([]);
  });
});

async function until(isTrue: () => boolean): Promise<void> {
  for (let wait = 0; !isTrue(); wait++) {
    if (wait === 500) throw new Error("it did not come to pass");
    await Bun.sleep(10);
  }
}
