/**
 * Signed URLs against whoever changes them: thousands of changed ones, each refused before anything is read from it.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { newKey, put, startBlobs, termsFor } from "../../testing/blobs.ts";
import { type Asked, createBlobUrls } from "./blob-url.ts";

const seed = Number(Bun.env.SPECGATE_TEST_SEED ?? Date.now() % 2 ** 31);
const now = 1_800_000_000_000;
const urls = createBlobUrls({
  key: crypto.getRandomValues(new Uint8Array(32)),
  publicUrl: () => "https://gate.example",
  clock: { now: () => now },
});
const bytes = new TextEncoder().encode("hello");
const terms = termsFor(bytes, { contentType: "text/plain; charset=utf-8", ttlSeconds: 900 });

type Sent = { method: string; url: string; headers: [string, string][] };

const upload = urls.upload(terms);
const put0: Sent = {
  method: "PUT",
  url: upload.url,
  headers: [...Object.entries(upload.headers), ["content-length", String(bytes.length)]],
};
const name = "Bericht (1) 'ä' & mehr+100%.pdf";
const get0: Sent = {
  method: "GET",
  url: urls.download({ key: newKey(), name, contentType: "application/pdf", ttlSeconds: 900 }).url,
  headers: [],
};

/** Null when the text is no URL or no header, and cannot be sent at all. */
function askedBy({ method, url, headers }: Sent): Asked | null {
  const parsed = URL.parse(url);
  if (parsed === null) return null;
  try {
    const all = new Headers();
    for (const [header, value] of headers) all.append(header, value);
    return { method, url: parsed, headers: all };
  } catch {
    return null;
  }
}

const shape = ({ method, url, headers }: Asked): string =>
  JSON.stringify([method, url.pathname, url.search, url.hash, [...headers].sort()]);

/** The code of the refusal, or `accepted`. */
function judge(asked: Asked): string {
  try {
    if (asked.method === "PUT") urls.readUpload(asked);
    else urls.readDownload(asked);
    return "accepted";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** Small and reproducible (mulberry32). */
function randomOf(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = (below: number) => number;
const oneOf = <Item>(random: Random, items: readonly Item[]): Item => items[random(items.length)] as Item;

const signs = [..."abzABZ0189-_.~%/?&=+;:#@ '\"\\<>|^`{}[]()!$,*\u0000\t\näあ"];

/** Changes one thing of the text behind the host, whatever it means. */
function changeText(random: Random, url: string): string {
  const from = "https://gate.example".length;
  const at = from + random(url.length - from);
  const [before, sign = "", after] = [url.slice(0, at), url[at], url.slice(at + 1)];
  return oneOf(random, [
    () => before + oneOf(random, signs) + after,
    () => before + after,
    () => before + oneOf(random, signs) + sign + after,
    () => before + (sign === sign.toLowerCase() ? sign.toUpperCase() : sign.toLowerCase()) + after,
    () => `${before}%${sign.charCodeAt(0).toString(16).padStart(2, "0")}${after}`,
    () => before + String.fromCharCode(sign.charCodeAt(0) ^ (1 << random(7))) + after,
    () => before + sign + sign + after,
    () => url.slice(0, at),
  ])();
}

function changeParameters(random: Random, url: string): string {
  const [path = "", query = ""] = url.split("?");
  const pairs = query.split("&");
  const at = random(pairs.length);
  const [pair = ""] = pairs.slice(at, at + 1);
  const [parameter = "", value = ""] = pair.split("=");
  const changed = oneOf(random, [
    () => [...pairs, pair],
    () => [pair, ...pairs],
    () => pairs.filter((_, place) => place !== at),
    () => pairs.toReversed(),
    () => pairs.with(at, `${parameter.toUpperCase()}=${value}`),
    () => pairs.with(at, `${parameter}=`),
    () => pairs.with(at, `${parameter}=${Number(value) + 1 + random(1000) || "x"}`),
    () => pairs.with(at, `${parameter}=${value}%00`),
    () => [
      ...pairs,
      oneOf(random, ["type=text/html", "name=x", "exp=9999999999", "a", "x-id=PutObject", ""]),
    ],
    () => pairs.with(at, `${parameter}=${decodeURIComponent(value)}x`),
  ])();
  return `${path}?${changed.join("&")}`;
}

function changeHeaders(random: Random, headers: [string, string][]): [string, string][] {
  // What is asked of a GET beside its URL, such as a range, is not signed.
  if (headers.length === 0) return headers;
  const at = random(headers.length);
  const [header, value] = headers[at] as [string, string];
  const place = random(value.length);
  return oneOf<() => [string, string][]>(random, [
    () => headers.filter((_, other) => other !== at),
    () => [...headers, [header, value]],
    () => headers.with(at, [header, value.slice(0, place) + oneOf(random, signs) + value.slice(place + 1)]),
    () => headers.with(at, [header, value + oneOf(random, signs)]),
    () => headers.with(at, [header, oneOf(random, signs) + value]),
    () => headers.with(at, [header, value.toUpperCase() === value ? `${value}0` : value.toUpperCase()]),
    () => headers.with(at, [header, ""]),
    () => headers.with(at, [`x-${header}`, value]),
  ])();
}

function change(random: Random, sent: Sent): Sent {
  return oneOf<() => Sent>(random, [
    () => ({ ...sent, url: changeText(random, sent.url) }),
    () => ({ ...sent, url: changeText(random, changeText(random, sent.url)) }),
    () => ({ ...sent, url: changeParameters(random, sent.url) }),
    () => ({ ...sent, headers: changeHeaders(random, sent.headers) }),
    () => ({
      ...sent,
      method: oneOf(random, ["HEAD", "POST", "PATCH", "put", "get", sent === put0 ? "GET" : "PUT"]),
    }),
    () => ({ ...sent, url: (sent === put0 ? get0 : put0).url }),
  ])();
}

describe("a signed URL", () => {
  test("means what was signed, and is accepted as it is", () => {
    const claim = { key: terms.key, contentType: terms.contentType, sizeBytes: 5, sha256: terms.sha256 };
    expect(urls.readUpload(askedBy(put0) as Asked)).toEqual(claim);
    expect(urls.readDownload(askedBy(get0) as Asked)).toMatchObject({ name, contentType: "application/pdf" });
  });

  test("changed to any other URL or headers is refused: 20,000 changes, every position among them", () => {
    const random = randomOf(seed);
    const rights = new Set([put0, get0].map((sent) => shape(askedBy(sent) as Asked)));
    const kinds = new Map<string, number>();
    const wrong: string[] = [];
    const attempt = (sent: Sent) => {
      const asked = askedBy(sent);
      // What URL parsers, the server's too, make the same again is no change: `/./`, `/x/%2e%2e/`, a backslash.
      if (asked === null || rights.has(shape(asked))) return;
      const kind = judge(asked);
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      if (kind !== "signature_mismatch" && kind !== "length_required") wrong.push(`${kind} ${shape(asked)}`);
    };
    for (const sent of [put0, get0])
      for (let at = "https://gate.example".length; at < sent.url.length; at++)
        for (const sign of signs)
          attempt({ ...sent, url: sent.url.slice(0, at) + sign + sent.url.slice(at + 1) });
    const total = () => [...kinds.values()].reduce((sum, count) => sum + count, 0);
    const positions = total();
    while (total() < positions + 20_000) attempt(change(random, oneOf(random, [put0, get0])));
    console.log(
      `seed ${seed}: ${positions} by position, 20000 by chance, ${JSON.stringify(Object.fromEntries(kinds))}`,
    );
    expect(wrong.slice(0, 5)).toEqual([]);
  });

  test("with a fragment is refused, which no client sends", () => {
    for (const sent of [put0, get0])
      expect(judge(askedBy({ ...sent, url: `${sent.url}#x` }) as Asked)).toBe("signature_mismatch");
  });

  test("survives any name and type, and whatever clients do to an address", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (anyName, contentType) => {
        const { url } = urls.download({ key: terms.key, name: anyName, contentType, ttlSeconds: 60 });
        expect(new URL(url).href).toBe(url);
        expect(url).toMatch(/^https:\/\/gate\.example\/blobs\/[\w./-]+\?[\w.~%&=-]+$/);
        const claim = urls.readDownload({ method: "GET", url: new URL(url), headers: new Headers() });
        expect(claim).toEqual({
          key: terms.key,
          name: anyName.toWellFormed(),
          contentType: contentType.toWellFormed(),
        });
      }),
    );
  });

  test("is made at least 3,000 times a second", () => {
    const from = performance.now();
    for (let made = 0; made < 3_000; made++) urls.upload(terms);
    expect(performance.now() - from).toBeLessThan(1_000);
  });
});

describe("over the wire", () => {
  const blobs = startBlobs();
  afterAll(() => blobs.close());

  test("300 changed requests are refused, and the true ones then work", async () => {
    const random = randomOf(seed + 1);
    const key = newKey();
    const upload = await blobs.disk.presignPut({ ...terms, key });
    const { url } = await blobs.disk.presignGet({ key, name, contentType: "text/plain", ttlSeconds: 60 });
    const puts: Sent = { method: "PUT", url: upload.url, headers: Object.entries(upload.headers) };
    const gets: Sent = { method: "GET", url, headers: [] };
    const rights = new Set([puts, gets].map((sent) => shape(askedBy(sent) as Asked)));
    const statuses = new Map<number, number>();
    for (let sent = 0; sent < 300; ) {
      const right = oneOf(random, [puts, gets]);
      const url =
        blobs.url + changeText(random, right.url.replace(blobs.url, "https://gate.example")).slice(20);
      const changed =
        random(2) === 0 ? { ...right, url } : { ...right, headers: changeHeaders(random, right.headers) };
      // The client keeps the fragment to itself, and takes two slashes at the start for one.
      const received = changed.url.replace(/#.*/s, "").replace(/(?<=:\d+)[/\\\s]+/, "/");
      const asked = askedBy({ ...changed, url: received });
      if (asked === null || rights.has(shape(asked))) continue;
      const response = await fetch(changed.url, {
        method: changed.method,
        headers: asked.headers,
        ...(changed.method === "PUT" ? { body: bytes } : {}),
      });
      await response.arrayBuffer();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      sent++;
    }
    expect([...statuses.keys()].filter((status) => status !== 403 && status !== 404)).toEqual([]);
    expect(await blobs.disk.find(key)).toBeNull();
    expect(await put(upload, bytes)).toBe("200");
    expect(await (await fetch(url)).text()).toBe("hello");
  });
});
