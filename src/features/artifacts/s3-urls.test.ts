/**
 * Signed URLs, seen by others: botocore signs the same and gets the same, the server takes the URLs of both, and
 * whatever is changed about one is refused by both.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { Secret } from "../../platform/secret.ts";
import { isMissing as hasNoBotocore, judgeByBotocore, signByBotocore } from "../../testing/botocore.ts";
import {
  isMissing as hasNoServer,
  startObjectStore,
  type TestObjectStore,
} from "../../testing/object-store.ts";
import { createS3Store } from "./s3.ts";

/** One of each run's own, from a seed that a failure names. */
type Dice = {
  below(n: number): number;
  of<T>(list: readonly T[]): T;
  text(alphabet: string, length: number): string;
};

/** A request as it arrives. */
type Sent = { method: string; url: string; headers: Record<string, string> };

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const types = [
  "application/json",
  "text/plain; charset=utf-8",
  "image/png",
  "application/vnd.oasis+xml",
  "a/b",
];
const names = [
  "report.pdf",
  "Prüfung (3) 'final'.zip",
  'a"b\\c%41.txt',
  "報告.md",
  "+ & = ; ~ *!.csv",
  "x".repeat(250),
];
const stamp = (ms: number): string => new Date(ms).toISOString().replace(/[-:]|\.\d+/g, "");

function dice(seed: number): Dice {
  let state = seed;
  const below = (n: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const of = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  return {
    below,
    of,
    text: (alphabet, length) => Array.from({ length }, () => of([...alphabet])).join(""),
  };
}

const keyFrom = (luck: Dice): string =>
  `projects/prj_${luck.text("0123456789abcdef", 32)}/iterations/${luck.below(9)}/${luck.text(`${letters}._-`, 1 + luck.below(100))}`;

type Keys = {
  endpoint: string;
  bucket: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
};
const opened = (keys: Keys, now: number) =>
  createS3Store(
    {
      ...keys,
      accessKeyId: new Secret(keys.accessKeyId),
      secretAccessKey: new Secret(keys.secretAccessKey),
    },
    { now: () => now },
  );

/** A signed PUT or GET of something, with what its caller sends. */
async function signed(luck: Dice, keys: Keys, now: number, ttlSeconds: number): Promise<Sent> {
  const store = opened(keys, now);
  const asked = { key: keyFrom(luck), contentType: luck.of(types), ttlSeconds };
  if (luck.below(2) === 0) {
    const { url } = await store.presignGet({ ...asked, name: luck.of(names) });
    return { method: "GET", url, headers: {} };
  }
  const sizeBytes = 1 + luck.below(104_857_600);
  const sha256 = luck.text("0123456789abcdef", 64);
  const { url, headers } = await store.presignPut({ ...asked, sizeBytes, sha256 });
  return { method: "PUT", url, headers: { ...headers, "content-length": String(sizeBytes) } };
}

const partsOf = (url: string): { path: string; pairs: string[] } => {
  const [path = "", query = ""] = url.split("?");
  return { path, pairs: query.split("&") };
};

describe.skipIf(hasNoBotocore)("a signed URL", () => {
  test("is the one that botocore signs, for 600 keys, types, sizes, times and stores", async () => {
    const luck = dice(1);
    const places = [
      { endpoint: "https://0123456789abcdef.r2.cloudflarestorage.com", region: "auto" },
      { endpoint: "https://s3.eu-central-1.amazonaws.com", region: "eu-central-1" },
      { endpoint: "http://127.0.0.1:9000", region: "us-east-1" },
      { endpoint: "https://[2001:db8::1]:8443", region: "x-1" },
    ];
    const ours: Sent[] = [];
    const cases: Parameters<typeof signByBotocore>[0][number][] = [];
    for (let i = 0; i < 600; i++) {
      const secretAccessKey = luck.text(`${letters}/+`, 40);
      const keys = { bucket: "acme-artifacts", accessKeyId: luck.text(letters, 20), secretAccessKey };
      const place = luck.of(places);
      const now = Date.UTC(2026, 0, 1) + luck.below(2 ** 31) * 100;
      const expires = 1 + luck.below(604_800);
      const sent = await signed(luck, { ...place, ...keys }, now, expires);
      const { path, pairs } = partsOf(sent.url);
      const own = pairs.filter(
        (pair) => !pair.startsWith("X-Amz-") || pair.startsWith("X-Amz-Content-Sha256"),
      );
      const bare = { method: sent.method, url: `${path}?${own.join("&")}`, headers: sent.headers };
      ours.push(sent);
      cases.push({ ...keys, region: place.region, ...bare, time: stamp(now), expires });
    }
    const theirs = await signByBotocore(cases);
    const differing = ours.filter(({ url }, i) => {
      const [a, b] = [partsOf(url), partsOf(theirs[i] ?? "")];
      return a.path !== b.path || a.pairs.sort().join("&") !== b.pairs.sort().join("&");
    });
    expect(theirs).toHaveLength(600);
    expect(differing).toEqual([]);
  }, 60_000);
});

describe.skipIf(hasNoBotocore || hasNoServer)("a signed URL at a store", () => {
  let server: TestObjectStore;
  let keys: Keys;
  beforeAll(async () => {
    server = await startObjectStore();
    const { endpoint, region, accessKeyId, secretAccessKey } = server;
    keys = { endpoint, region, accessKeyId, secretAccessKey, bucket: await server.bucket() };
  }, 60_000);

  test("works whether the gateway or botocore signed it", async () => {
    const body = "bytes";
    const { url, headers } = await opened(keys, Date.now()).presignPut({
      key: "one/two~three.txt",
      contentType: "text/plain; charset=utf-8",
      sizeBytes: body.length,
      sha256: new Bun.CryptoHasher("sha256").update(body).digest("hex"),
      ttlSeconds: 60,
    });
    const { path } = partsOf(url);
    const time = stamp(Date.now());
    const [put = "", get = ""] = await signByBotocore([
      {
        ...keys,
        method: "PUT",
        url: path,
        headers: { ...headers, "content-length": "5" },
        time,
        expires: 60,
      },
      { ...keys, method: "GET", url: path, headers: {}, time, expires: 60 },
    ]);
    expect((await fetch(put, { method: "PUT", headers, body })).status).toBe(200);
    expect(await (await fetch(get)).text()).toBe(body);
    expect((await fetch(url, { method: "PUT", headers, body })).status).toBe(412);
    const download = { key: "one/two~three.txt", name: "x", contentType: "text/plain", ttlSeconds: 60 };
    const ours = await opened(keys, Date.now()).presignGet(download);
    expect(await (await fetch(ours.url)).text()).toBe(body);
  });

  test("is refused after any of 20,000 changes, by botocore, and by the server after 500 of them", async () => {
    const luck = dice(2);
    const now = Date.now();
    const genuine = await Promise.all(Array.from({ length: 40 }, () => signed(luck, keys, now, 600)));
    const judge = (sent: readonly Sent[]) =>
      judgeByBotocore(sent.map((it) => ({ ...keys, ...it, time: stamp(now) })));
    // Whoever refuses everything would pass the rest.
    expect(new Set(await judge(genuine))).toEqual(new Set([true]));

    const mutants: Mutant[] = [];
    while (mutants.length < 20_000) {
      const from = luck.of(genuine);
      const [change, apply] = luck.of(changes);
      const sent = apply(from, luck, luck.of(genuine));
      if (meaningOf(sent) !== meaningOf(from)) mutants.push({ change, from, sent });
    }
    const verdicts = await judge(mutants.map(({ sent }) => sent));
    expect(verdicts).toHaveLength(20_000);
    expect(mutants.filter((_, i) => verdicts[i])).toEqual([]);

    const sent = mutants.filter((mutant) => !isTheSameToCeph(mutant)).slice(0, 500);
    expect(new Set(sent.map(({ change }) => change)).size).toBe(changes.length);
    const taken: unknown[] = [];
    for (const mutant of sent) {
      const status = await sendAsItIs(keys.endpoint, mutant.sent);
      if (status !== 400 && status !== 403 && status !== 405) taken.push({ status, ...mutant });
    }
    expect(taken).toEqual([]);
  }, 120_000);

  test("keeps its end and its type when another one is written in front of them", async () => {
    const body = "bytes";
    const sha256 = new Bun.CryptoHasher("sha256").update(body).digest("hex");
    const asked = { key: "twice.txt", contentType: "text/plain", ttlSeconds: 60 };
    const upload = await opened(keys, Date.now()).presignPut({ ...asked, sizeBytes: body.length, sha256 });
    await fetch(upload.url, { method: "PUT", headers: upload.headers, body });
    const typed = await opened(keys, Date.now()).presignGet({ ...asked, name: "x" });
    const answer = await fetch(typed.url.replace("?", "?response-content-type=text%2Fhtml&"));
    expect(answer.headers.get("content-type")).not.toBe("text/html");
    const late = await opened(keys, Date.now() - 120_000).presignGet({ ...asked, name: "x" });
    expect((await fetch(late.url.replace("?", "?X-Amz-Expires=604800&"))).status).toBe(403);
  });
});

type Mutant = { change: string; from: Sent; sent: Sent };
type Change = (from: Sent, luck: Dice, other: Sent) => Sent;

const signs = `${letters}%&=/.+~-_;:`;
/** Behind the origin. */
const start = (url: string): number => url.indexOf("/", 8) + 1;
const place = (url: string, luck: Dice): number => start(url) + luck.below(url.length - start(url));
const replaced = (url: string, at: number, length: number, text: string): string =>
  url.slice(0, at) + text + url.slice(at + length);
const withPairs = (sent: Sent, edit: (pairs: string[]) => string[]): Sent => {
  const { path, pairs } = partsOf(sent.url);
  return { ...sent, url: `${path}?${edit(pairs).join("&")}` };
};
const nameOf = (pair: string): string => pair.split("=")[0] ?? "";
const longer = (text: string): string => `${text}0`;
const edited = (sent: Sent, name: string, edit: (value: string) => string): Sent =>
  withPairs(sent, (pairs) =>
    pairs.map((pair) => (nameOf(pair) === name ? `${name}=${edit(pair.slice(name.length + 1))}` : pair)),
  );
const further = [
  "x-amz-acl=public-read",
  "versionId=null",
  "uploads",
  "partNumber=1&uploadId=x",
  "acl",
  "X-Amz-Security-Token=x",
  "response-content-type=text%2Fhtml",
  "X-Amz-Expires=604800",
];

const changes: readonly [string, Change][] = [
  [
    "another sign",
    (it, luck) => ({ ...it, url: replaced(it.url, place(it.url, luck), 1, luck.of([...signs])) }),
  ],
  [
    "a sign more",
    (it, luck) => ({ ...it, url: replaced(it.url, place(it.url, luck), 0, luck.of([...signs])) }),
  ],
  ["a sign less", (it, luck) => ({ ...it, url: replaced(it.url, place(it.url, luck), 1, "") })],
  [
    "the other case",
    (it, luck) => {
      const at = place(it.url, luck);
      const sign = it.url[at] ?? "";
      return {
        ...it,
        url: replaced(it.url, at, 1, sign === sign.toLowerCase() ? sign.toUpperCase() : sign.toLowerCase()),
      };
    },
  ],
  ["a parameter less", (it, luck) => withPairs(it, (pairs) => pairs.toSpliced(luck.below(pairs.length), 1))],
  [
    "a parameter more",
    (it, luck) => withPairs(it, (pairs) => pairs.toSpliced(luck.below(pairs.length), 0, luck.of(further))),
  ],
  [
    "another's parameter",
    (it, luck, other) => {
      const taken = luck.of(partsOf(other.url).pairs);
      return withPairs(it, (pairs) => [...pairs.filter((pair) => nameOf(pair) !== nameOf(taken)), taken]);
    },
  ],
  [
    "another's path",
    (it, _, other) => ({ ...it, url: it.url.replace(partsOf(it.url).path, partsOf(other.url).path) }),
  ],
  ["a longer life", (it) => edited(it, "X-Amz-Expires", longer)],
  [
    "a later date",
    (it) => edited(it, "X-Amz-Date", (value) => value.replace(/\dZ$/, (end) => (end === "9Z" ? "8Z" : "9Z"))),
  ],
  [
    "fewer signed headers",
    (it) => edited(it, "X-Amz-SignedHeaders", (value) => value.split("%3B").slice(1).join("%3B") || "x"),
  ],
  ["another method", (it, luck) => ({ ...it, method: luck.of(["GET", "PUT", "HEAD", "DELETE", "POST"]) })],
  ["another header", (it, luck) => changedHeader(it, luck, (value) => `${value}1`)],
  ["a header less", (it, luck) => changedHeader(it, luck, () => null)],
];

/** Of a GET, which has none, the path is changed instead. */
function changedHeader(sent: Sent, luck: Dice, edit: (value: string) => string | null): Sent {
  const headers = Object.entries(sent.headers);
  if (headers.length === 0) return { ...sent, url: sent.url.replace("?", "x?") };
  const [name] = luck.of(headers);
  const changed = headers.flatMap(([other, value]) => {
    const now = other === name ? edit(value) : value;
    return now === null ? [] : [[other, now] as const];
  });
  return { ...sent, headers: Object.fromEntries(changed) };
}

/**
 * Two requests of the same meaning are one and the same to a signature, which is made from what they say and not from how
 * it is written: the case of a percent-encoding, an encoding that was not needed, the order of parameters, an empty one, `=`
 * behind a name without a value.
 */
function meaningOf({ method, url, headers }: Sent): string {
  const { path, pairs } = partsOf(url);
  const said = pairs
    .filter((pair) => pair !== "" && pair !== "=")
    .map((pair) => {
      const at = pair.indexOf("=");
      return at === -1 ? [decoded(pair), ""] : [decoded(pair.slice(0, at)), decoded(pair.slice(at + 1))];
    });
  return JSON.stringify([method, decoded(path), said.map((pair) => pair.join("=")).sort(), headers]);
}

/**
 * Of two parameters with one name Ceph's gateway sees the last alone, when it checks and when it serves: what was written
 * in front of a signed one has no effect. And it finds the signature, the one parameter that is not signed, in any case of
 * its name. botocore takes neither.
 */
function isTheSameToCeph({ from, sent }: Mutant): boolean {
  const nameSeen = (pair: string) => decoded(nameOf(pair)).replace(/^x-amz-signature$/i, "X-Amz-Signature");
  const seen = withPairs(sent, (pairs) => {
    const last = new Map(pairs.map((pair) => [nameSeen(pair), pair.slice(nameOf(pair).length)]));
    return [...last].map(([name, rest]) => name + rest);
  });
  return meaningOf(seen) === meaningOf(from);
}

/** Byte by byte, and a broken encoding as it is. */
const decoded = (text: string): string =>
  text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/** No client in between that would tidy the URL up. The status; 0 when a body is waited for. */
function sendAsItIs(endpoint: string, { method, url, headers }: Sent): Promise<number> {
  const { hostname, host, port } = new URL(endpoint);
  const lines = Object.entries({ host, connection: "close", ...headers }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let answer = "";
    // It waits for the body: it took the rest.
    socket.setTimeout(3_000, () => {
      resolve(0);
      socket.destroy();
    });
    socket.on("data", (bytes) => {
      answer += bytes.toString("latin1");
      const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1];
      if (status === undefined || status === "100") return;
      resolve(Number(status));
      socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`no status: ${answer}`)));
    socket.write(`${method} ${url.slice(endpoint.length)} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
  });
}
