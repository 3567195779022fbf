import { expect, test } from "bun:test";
import { readBody, requireJson } from "./body.ts";
import { Failure } from "./failure.ts";
import { scanObject } from "./json.ts";

const limits = { bodyBytesMax: 100, roomBytesMax: 150 };

/** A request as one without an announced length arrives: in pieces. */
const chunked = (...sizes: number[]) =>
  new Request("http://localhost/", {
    method: "POST",
    body: new ReadableStream<Uint8Array>({
      pull(controller) {
        const size = sizes.shift();
        if (size === undefined) controller.close();
        else controller.enqueue(new Uint8Array(size));
      },
    }),
  });

const codeOf = (reading: Promise<unknown>) =>
  reading.then(
    () => "read",
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );

test("bodies of unannounced length take their room as they come, and give it back", async () => {
  const room = { bytes: 0 };
  const first = await readBody(chunked(40, 40), limits, room);
  expect(room.bytes).toBe(80);
  expect(await codeOf(readBody(chunked(40, 40), limits, room))).toBe("unavailable");
  expect(await codeOf(readBody(chunked(60, 41), limits, { bytes: 0 }))).toBe("body_too_large");
  expect(room.bytes).toBe(80);
  first.release();
  expect(room.bytes).toBe(0);
});

test("long numbers and long white space are looked at quickly", () => {
  const bodies = [
    `{"a":[${Array(60_000).fill("1".repeat(399)).join(",")}]}`,
    `{"a":1${" ".repeat(33_000_000)}}`,
  ];
  for (const body of bodies.map((text) => new TextEncoder().encode(text))) {
    const startedAt = performance.now();
    expect(scanObject(body)).toMatchObject([{ key: "a" }]);
    expect(performance.now() - startedAt).toBeLessThan(600);
  }
});

test("announcing a large body keeps nobody else out", async () => {
  const room = { bytes: 0 };
  const most = { bodyBytesMax: 32 << 20, roomBytesMax: 32 << 20 };
  const promised = new Request("http://localhost/", {
    method: "POST",
    headers: { "content-length": String(32 << 20) },
    body: new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array(1)) }),
  });
  void readBody(promised, most, room);
  await Bun.sleep(0);
  expect(await codeOf(readBody(chunked(1_000), most, room))).toBe("read");
});

test("a length that is no number is refused and leaves the room's count alone", async () => {
  const room = { bytes: 0 };
  for (const length of ["2, 2", "1e3", "-1", ""]) {
    const request = new Request("http://localhost/", {
      method: "POST",
      body: "{}",
      headers: { "content-length": length },
    });
    expect([length, await codeOf(readBody(request, limits, room))]).toEqual([length, "invalid_request"]);
  }
  expect(room.bytes).toBe(0);
});

test("a body of too many values is refused before it holds anyone up", () => {
  const bombs = [
    `{"a":[${"0,".repeat(8_000_000)}0]}`,
    `{"a":[${"[],".repeat(5_000_000)}0]}`,
    `{${Array.from({ length: 99_000 }, (_, i) => `"${i}":0`).join(",")}}`,
  ].map((text) => new TextEncoder().encode(text));
  for (const bomb of bombs) {
    const startedAt = performance.now();
    expect(() => scanObject(bomb)).toThrow(/more than/);
    expect(performance.now() - startedAt).toBeLessThan(400);
  }
});

test("JSON is taken in UTF-8 alone, whatever the content type says beside it", () => {
  const outcome = (type: string | null) => {
    const headers = type === null ? {} : { "content-type": type };
    try {
      requireJson(new Request("http://localhost/", { method: "POST", headers, body: new Uint8Array(1) }));
      return "taken";
    } catch (error) {
      return error instanceof Failure ? error.code : String(error);
    }
  };
  const taken = [
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    'application/json;charset="UTF-8"',
    "application/json; charset = utf8",
    "application/json; x=y",
  ];
  for (const type of taken) expect([type, outcome(type)]).toEqual([type, "taken"]);
  const refused = [
    null,
    "text/plain",
    "application/json, text/plain",
    "application/problem+json",
    "application/json; charset=utf-7",
    "application/json;charset=utf-16le",
    "application/json; charset=ibm037",
    "application/json; charset=utf-8; charset=utf-7",
    "application/json; charset=utf-7; charset=utf-8",
    "application/json; charset*=utf-8''utf-7",
    'application/json; x="; charset=utf-7"; y="; charset=utf-8',
  ];
  for (const type of refused) expect([type, outcome(type)]).toEqual([type, "unsupported_media_type"]);
});
