/** SIGTERM while bytes come and go: both ends get all of theirs, and nobody new is let in. */
import { request } from "node:http";
import { type Surroundings, serve } from "../gateway.ts";
import { bytesOf, Shelf, sha256Of } from "./artifacts-shelf.ts";
import { type Check, expect, expectEqual } from "./checks.ts";

const file = { name: "build.zip", type: "application/zip", bytes: bytesOf(5, 20_000_000) };
const pieces = 20;
const pauseMs = 120;

export async function drains(check: Check, surroundings: Surroundings): Promise<void> {
  await check("SIGTERM lets an upload and a download finish (local)", async () => {
    const gateway = await serve([], surroundings);
    try {
      const shelf = await Shelf.open(gateway, surroundings);
      const { id } = await shelf.kept(file);
      const { upload } = await shelf.announced(file);
      const { body } = await shelf.ask<{ url: string }>("GET", `/artifacts/${id}/download`);
      const sent = putSlowly(upload, file.bytes);
      const got = getSlowly(body.url);
      await Bun.sleep(pieces * pauseMs * 0.3);
      const from = performance.now();
      const stopped = gateway.stop();
      expectEqual(await sent, 200, "the upload");
      expect((await got) === sha256Of(file.bytes), "the download is not whole");
      expect((await stopped) === 0, "it did not exit with 0");
      return `${Math.round(performance.now() - from)} ms after it`;
    } finally {
      await gateway.stop("SIGKILL");
    }
  });
}

/** The status of the answer. */
function putSlowly(
  { url, headers }: { url: string; headers: Record<string, string> },
  bytes: Uint8Array,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const length = { "content-length": String(bytes.length) };
    const call = request(url, { method: "PUT", headers: { ...headers, ...length } }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode ?? 0));
    });
    call.on("error", reject);
    const write = async () => {
      const size = Math.ceil(bytes.length / pieces);
      for (let at = 0; at < bytes.length; at += size, await Bun.sleep(pauseMs))
        call.write(bytes.subarray(at, at + size));
      call.end();
    };
    write().catch(reject);
  });
}

/** The SHA-256 of what came. */
async function getSlowly(url: string): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  const response = await fetch(url);
  let read = 0;
  for await (const chunk of response.body ?? []) {
    hash.update(chunk);
    read += chunk.length;
    while (read > file.bytes.length / pieces) {
      read -= file.bytes.length / pieces;
      await Bun.sleep(pauseMs);
    }
  }
  return hash.digest("hex");
}
