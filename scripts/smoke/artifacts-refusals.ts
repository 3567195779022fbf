/** What is refused, with its code: at the gateway before anything is sent, at the store, and at completion. */

import { bytesOf, type File, type Sent, type Shelf, type Store, send } from "./artifacts-shelf.ts";
import type { Check } from "./checks.ts";
import { expect, expectEqual } from "./checks.ts";

/** What the gateway must be set to. */
export const refusingConfig = `artifacts: { size_bytes_max: 300000, quota_bytes: 1000000 }
limits: { control: { requests_per_minute: null } }
`;

const pdf = (seed: number, size = 40_000): File => ({
  name: `บันทึก ${seed}.pdf`,
  type: "application/pdf",
  bytes: bytesOf(seed, size),
});

export async function refusals(check: Check, shelf: Shelf, { name: store }: Store): Promise<void> {
  const isLocal = store === "local";
  const at = `(${store})`;
  await check(`what may not be kept is refused before anything is sent, each with its code ${at}`, () =>
    unacceptable(shelf),
  );
  await check(`an upload of another length, type or checksum is refused by the store ${at}`, () =>
    differs(shelf, isLocal),
  );
  await check(`wrong bytes of the right length never become complete ${at}`, () =>
    wrongBytes(shelf, isLocal),
  );
  await check(`a second PUT is 412, and changes nothing ${at}`, () => second(shelf));
  await check(`a late PUT is 403 ${at}`, () => late(shelf, isLocal));
  await check(`completion needs the bytes, and is the same answer when asked again ${at}`, () =>
    completion(shelf),
  );
  await check(`there is no room over the quota ${at}`, () => quota(shelf));
}

async function unacceptable(shelf: Shelf): Promise<string> {
  const file = pdf(1);
  const cases: [more: object, code: string][] = [
    [{ name: "../up.pdf" }, "artifact_name_refused"],
    [{ name: "a/b.pdf" }, "artifact_name_refused"],
    [{ name: "a\\b.pdf" }, "artifact_name_refused"],
    [{ name: "a\u0000b.pdf" }, "artifact_name_refused"],
    [{ name: "a\r\nSet-Cookie: x.pdf" }, "artifact_name_refused"],
    [{ name: "ก".repeat(86) }, "artifact_name_refused"],
    [{ content_type: "application/x-msdownload" }, "artifact_type_refused"],
    [{ content_type: "pdf" }, "artifact_type_refused"],
    [{ size_bytes: 0 }, "artifact_empty"],
    [{ size_bytes: 300_001 }, "artifact_too_large"],
    [{ ttl_seconds: 601 }, "ttl_too_long"],
  ];
  for (const [more, code] of cases) {
    const { status, body } = await shelf.announce(file, more);
    expectEqual([status, body.code], [422, code], `the answer to ${JSON.stringify(more)}`);
  }
  return `${cases.length} ways`;
}

async function differs(shelf: Shelf, isLocal: boolean): Promise<string> {
  const file = pdf(2);
  const { artifact, upload } = await shelf.announced(file);
  const tries: [string, Promise<Sent>][] = [
    ["a shorter body", send(upload, file.bytes.slice(1))],
    ["a longer body", send(upload, new Uint8Array([...file.bytes, 0]))],
    ["another type", send(upload, file.bytes, { "content-type": "text/html" })],
    ["another checksum", send(upload, file.bytes, { "x-amz-checksum-sha256": btoa("0".repeat(32)) })],
    ["overwriting", send(upload, file.bytes, { "if-none-match": "" })],
    ["another key", send({ ...upload, url: upload.url.replace(".pdf", ".pdg") }, file.bytes)],
  ];
  for (const [what, sending] of tries) {
    const { status, text } = await sending;
    const code = isLocal ? '"signature_mismatch"' : "SignatureDoesNotMatch";
    expect(status === 403 && text.includes(code), `${what}: ${status} ${text}`);
  }
  await missing(shelf, artifact.id);
  return `${tries.length} ways`;
}

/** Not every S3 server holds the checksum against the bytes; completion does. */
async function wrongBytes(shelf: Shelf, isLocal: boolean): Promise<string> {
  const file = pdf(3);
  const { artifact, upload } = await shelf.announced(file);
  const sent = await send(upload, bytesOf(4, file.bytes.length));
  if (sent.status === 400) {
    if (isLocal) expect(sent.text.includes('"checksum_mismatch"'), sent.text);
    await missing(shelf, artifact.id);
    return "400 at the store";
  }
  expect(!isLocal && sent.status === 200, `the store said ${sent.status} ${sent.text}`);
  for (const time of ["first", "second"]) {
    const { status, body } = await shelf.complete(artifact.id);
    expectEqual([status, body.code], [409, "artifact_mismatch"], `the ${time} completion`);
  }
  const { body } = await shelf.ask<{ status: string }>("GET", `/artifacts/${artifact.id}`);
  expectEqual(body.status, "rejected", "its status");
  return "409 artifact_mismatch at completion";
}

async function second(shelf: Shelf): Promise<string> {
  const file = pdf(5);
  const { artifact, upload } = await shelf.announced(file);
  expectEqual((await send(upload, file.bytes)).status, 200, "the first PUT");
  expectEqual((await send(upload, file.bytes)).status, 412, "a second PUT before completion");
  expectEqual((await shelf.complete(artifact.id)).status, 200, "the completion");
  expectEqual((await send(upload, file.bytes)).status, 412, "a second PUT after completion");
  expect(Bun.deepEquals(await shelf.fetched(artifact.id), file.bytes), "other bytes came back");
  return "before and after completion";
}

async function late(shelf: Shelf, isLocal: boolean): Promise<string> {
  const file = pdf(6);
  const { artifact, upload } = await shelf.announced(file, { ttl_seconds: 1 });
  await Bun.sleep(2_100);
  const { status, text } = await send(upload, file.bytes);
  const code = isLocal ? '"url_expired"' : "AccessDenied";
  expect(status === 403 && text.includes(code), `${status} ${text}`);
  await missing(shelf, artifact.id);
  const again = await shelf.ask<{ upload: { url: string; headers: Record<string, string> } }>(
    "POST",
    `/artifacts/${artifact.id}/upload`,
    {},
  );
  expectEqual((await send(again.body.upload, file.bytes)).status, 200, "a PUT with another URL");
  return isLocal ? "url_expired" : "AccessDenied";
}

async function completion(shelf: Shelf): Promise<string> {
  const file = pdf(7);
  const { artifact, upload } = await shelf.announced(file);
  await missing(shelf, artifact.id);
  const early = await shelf.ask("GET", `/artifacts/${artifact.id}/download`);
  expectEqual([early.status, early.body.code], [409, "artifact_pending"], "an early download");
  expectEqual((await send(upload, file.bytes)).status, 200, "the PUT");
  const [first, again] = [await shelf.complete(artifact.id), await shelf.complete(artifact.id)];
  expectEqual([first.status, again.status], [200, 200], "the completions");
  expectEqual(again.body, first.body, "the second answer");
  return "artifact_missing, artifact_pending, 200, 200";
}

async function quota(shelf: Shelf): Promise<string> {
  for (let seed = 100; seed < 110; seed++) {
    const { status, body } = await shelf.announce(pdf(seed, 200_000));
    if (status === 201) continue;
    expectEqual([status, body.code], [409, "artifact_quota_exceeded"], "the answer");
    return `${seed - 100} more fitted`;
  }
  throw new Error("2 MB went into a room of 1 MB");
}

async function missing(shelf: Shelf, id: string): Promise<void> {
  const { status, body } = await shelf.complete(id);
  expectEqual([status, body.code], [409, "artifact_missing"], "its completion");
}
