/**
 * The bucket as a store, against a server that checks signatures: what it takes, what it refuses, and what the gateway says
 * when there is no such server, or something else in its place.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { Secret } from "../../platform/secret.ts";
import { isMissing, startObjectStore, type TestObjectStore } from "../../testing/object-store.ts";
import type { ObjectStore, SignedUpload, UploadTerms } from "./object-store.ts";
import { createS3Store, type S3Needs } from "./s3.ts";

const text = "what was made in this iteration\n";
const sha256Of = (bytes: string): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const terms = (key: string, more: Partial<UploadTerms> = {}): UploadTerms => ({
  key,
  contentType: "text/plain",
  sizeBytes: text.length,
  sha256: sha256Of(text),
  ttlSeconds: 60,
  ...more,
});
const put = (url: string, headers: Record<string, string>, body: string = text): Promise<Response> =>
  fetch(url, { method: "PUT", headers, body });
const putAs = (upload: SignedUpload, body?: string) => put(upload.url, upload.headers, body);
const without = (headers: Record<string, string>, name: string): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([other]) => other !== name));
const listed = async (store: ObjectStore, prefix = ""): Promise<string[]> => {
  const keys = (await Array.fromAsync(store.list(prefix))).map(({ key }) => key);
  return keys.sort();
};
/** What a call that must fail says. */
const saidBy = (call: Promise<unknown>): Promise<string> =>
  call.then(
    (value) => `succeeded with ${JSON.stringify(value)}`,
    (error) => `${error.code}: ${error.message}`,
  );

describe.skipIf(isMissing)("a bucket", () => {
  let server: TestObjectStore;
  let bucket: string;
  let store: ObjectStore;
  const open = (more: Partial<Record<"endpoint" | "bucket" | "id" | "secret", string>> & S3Needs = {}) => {
    const { endpoint = server.endpoint, id = server.accessKeyId, secret = server.secretAccessKey } = more;
    const keys = { accessKeyId: new Secret(id), secretAccessKey: new Secret(secret) };
    return createS3Store({ endpoint, bucket: more.bucket ?? bucket, region: server.region, ...keys }, more);
  };

  beforeAll(async () => {
    server = await startObjectStore();
    bucket = await server.bucket();
    store = open();
  }, 60_000);
  afterAll(() => store?.close());

  test("an upload that is as it was signed is there afterwards", async () => {
    const upload = await store.presignPut(terms("a/taken.txt"));
    expect(Object.keys(upload.headers)).toEqual(["content-type", "if-none-match", "x-amz-checksum-sha256"]);
    const { status, headers } = await putAs(upload);
    expect(status).toBe(200);
    const found = await store.find("a/taken.txt");
    expect(found).toMatchObject({
      sizeBytes: text.length,
      contentType: "text/plain",
      etag: (headers.get("etag") ?? "").replaceAll('"', ""),
    });
    // Told by servers that compared it, which not every one does.
    expect([null, sha256Of(text)]).toContain(found?.sha256 ?? null);
    expect(await new Response(await store.read("a/taken.txt")).text()).toBe(text);
  });

  test("length, type, checksum and `if-none-match` are signed as headers, and nothing of them is in the query", async () => {
    const { searchParams } = new URL((await store.presignPut(terms("a/signed.txt"))).url);
    expect(searchParams.get("X-Amz-SignedHeaders")).toBe(
      "content-length;content-type;host;if-none-match;x-amz-checksum-sha256",
    );
    expect([...searchParams.keys()].sort()).toEqual([
      "X-Amz-Algorithm",
      "X-Amz-Content-Sha256",
      "X-Amz-Credential",
      "X-Amz-Date",
      "X-Amz-Expires",
      "X-Amz-Signature",
      "X-Amz-SignedHeaders",
    ]);
  });

  test("an upload that differs in anything signed is refused and leaves nothing", async () => {
    const key = "refused/one.txt";
    const { url, headers } = await store.presignPut(terms(key));
    const other = Buffer.from(sha256Of("other"), "hex").toString("base64");
    const late = await open({ now: () => Date.now() - 120_000 }).presignPut(terms(key));
    const elsewhere = url.replace("one.txt", "two.txt");
    const deeds: Record<string, Promise<Response>> = {
      "a byte more": put(url, headers, `${text}x`),
      "a byte less": put(url, headers, text.slice(1)),
      nothing: put(url, headers, ""),
      "another type": put(url, { ...headers, "content-type": "text/html" }),
      "another checksum": put(url, { ...headers, "x-amz-checksum-sha256": other }),
      "if there is another": put(url, { ...headers, "if-none-match": '"x"' }),
      ...Object.fromEntries(
        Object.keys(headers).map((name) => [`no ${name}`, put(url, without(headers, name))]),
      ),
      "another key": put(elsewhere, headers),
      "another bucket": put(url.replace(bucket, await server.bucket()), headers),
      "another method": fetch(url, { headers }),
      "to remove": fetch(url, { method: "DELETE", headers }),
      "a longer life": put(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), headers),
      "too late": putAs(late),
      "another's signature": put(url.replace(/Signature=.{8}/, "Signature=00000000"), headers),
      unsigned: put(url.split("?")[0] ?? "", headers),
    };
    for (const [deed, answer] of Object.entries(deeds))
      expect({ deed, status: (await answer).status }).toEqual({ deed, status: 403 });
    expect(await listed(store, "refused/")).toEqual([]);
    expect((await put(url, headers)).status).toBe(200);
  });

  test("a key is written once, also when many come at once", async () => {
    const upload = await store.presignPut(terms("a/once.txt"));
    const answers = await Promise.all(Array.from({ length: 8 }, () => putAs(upload)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    const second = await store.presignPut(terms("a/once.txt", { sizeBytes: 5, sha256: sha256Of("other") }));
    expect((await putAs(second, "other")).status).toBe(412);
    expect(await new Response(await store.read("a/once.txt")).text()).toBe(text);
  });

  test("a checksum is told only by a store that compared it with the bytes", async () => {
    const upload = await store.presignPut(terms("a/wrong-bytes.txt"));
    const { status } = await putAs(upload, text.toUpperCase());
    const found = await store.find("a/wrong-bytes.txt");
    expect(status === 400 ? found : (found?.sha256 ?? null)).toBeNull();
  });

  test("a download is saved under the name it was given, as the type that was signed", async () => {
    await putAs(await store.presignPut(terms("a/page.txt")));
    const asked = {
      key: "a/page.txt",
      name: 'Bericht "ü" (1).html',
      contentType: "text/html",
      ttlSeconds: 60,
    };
    const { url, expiresAt } = await store.presignGet(asked);
    const answer = await fetch(url);
    expect([answer.status, await answer.text()]).toEqual([200, text]);
    expect(answer.headers.get("content-type")).toBe("text/html");
    expect(answer.headers.get("content-disposition")).toBe(
      `attachment; filename="Bericht ___ _1_.html"; filename*=UTF-8''Bericht%20%22%C3%BC%22%20%281%29.html`,
    );
    expect(Math.abs(expiresAt.getTime() - Date.now() - 60_000)).toBeLessThan(5_000);
    const part = await fetch(url, { headers: { range: "bytes=5-7" } });
    expect([part.status, await part.text()]).toEqual([206, text.slice(5, 8)]);
  });

  test("a download of anything else, as anything else, or too late is refused", async () => {
    await putAs(await store.presignPut(terms("a/other.txt")));
    const asked = { key: "a/taken.txt", name: "x.txt", contentType: "text/plain", ttlSeconds: 60 };
    const { url } = await store.presignGet(asked);
    const late = await open({ now: () => Date.now() - 120_000 }).presignGet(asked);
    const urls = {
      "another key": url.replace("taken", "other"),
      "another type": url.replace("text%2Fplain", "text%2Fhtml"),
      "as a page": url.replace("attachment", "inline"),
      "no disposition": url.replace(/response-content-disposition=[^&]*&/, ""),
      "too late": late.url,
      unsigned: url.split("?")[0] ?? "",
    };
    for (const [deed, changed] of Object.entries(urls))
      expect({ deed, status: (await fetch(changed)).status }).toEqual({ deed, status: 403 });
    expect((await fetch(url, { method: "HEAD" })).status).toBe(403);
  });

  test("nothing is found where nothing is, and to remove it is as good as done", async () => {
    expect(await store.find("a/nothing.txt")).toBeNull();
    expect(await saidBy(store.read("a/nothing.txt"))).toStartWith("not_found: ");
    await store.remove("a/nothing.txt");
    await putAs(await store.presignPut(terms("a/gone.txt")));
    await store.remove("a/gone.txt");
    await store.remove("a/gone.txt");
    expect(await store.find("a/gone.txt")).toBeNull();
  });

  test("a list goes on past a page of a thousand, and stays below its prefix", async () => {
    const many = open({ bucket: await server.bucket() });
    const keys = Array.from({ length: 1_050 }, (_, i) => `many/${String(i).padStart(4, "0")}`);
    const upload = async (key: string) => (await putAs(await many.presignPut(terms(key)))).status;
    while (keys.length % 50 !== 0) keys.pop();
    for (let i = 0; i < keys.length; i += 50)
      expect(new Set(await Promise.all(keys.slice(i, i + 50).map(upload)))).toEqual(new Set([200]));
    await upload("manyfold/1");
    expect(await listed(many, "many/")).toEqual(keys);
    expect(await listed(many, "none/")).toEqual([]);
    const [first] = await Array.fromAsync(many.list("manyfold/"));
    expect(first).toMatchObject({ key: "manyfold/1", sizeBytes: text.length });
    expect(Math.abs((first?.modifiedAt.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
  }, 60_000);

  test("reading ends where it is stopped, and keeps no connection", async () => {
    const big = "x".repeat(4_000_000);
    await putAs(
      await store.presignPut(terms("a/big", { sizeBytes: big.length, sha256: sha256Of(big) })),
      big,
    );
    // More than the SDK opens at once.
    for (let i = 0; i < 60; i++) {
      const reader = (await store.read("a/big")).getReader();
      expect((await reader.read()).done).toBe(false);
      await reader.cancel();
    }
    expect(await new Response(await store.read("a/big")).text()).toBe(big);
  });

  test("what is wrong with the bucket or the key is said in words, without the key", async () => {
    const said = async (more: Parameters<typeof open>[0]) => {
      const broken = open(more);
      const words = await saidBy(broken.check());
      expect(await saidBy(broken.find("a/taken.txt"))).toBe(words);
      for (const secret of [server.accessKeyId, server.secretAccessKey, "WRONG"])
        expect(words).not.toContain(secret);
      return words;
    };
    expect(await said({ bucket: "no-such-bucket" })).toBe(
      "storage_unavailable: The object store has no bucket `no-such-bucket`: create it, or correct S3_BUCKET. Try again later.",
    );
    expect(await said({ id: "WRONGID" })).toContain("correct S3_ACCESS_KEY_ID");
    expect(await said({ secret: "WRONGSECRET" })).toContain("correct S3_SECRET_ACCESS_KEY");
    expect(await saidBy(store.check())).toBe("succeeded with undefined");
  });

  test("whether the store answers is asked once in a while, and told when it turns", async () => {
    const turns: string[] = [];
    const tell = (event: string) => void turns.push(event);
    const log = { debug: tell, info: tell, warn: tell, error: tell, failure: () => {} };
    const watched = open({ log, timeouts: { answerMs: 300 } });
    await watched.check();
    server.freeze();
    try {
      await watched.check();
      await Bun.sleep(5_100);
      expect(await saidBy(watched.check())).toContain("does not answer in time");
      expect(await saidBy(watched.check())).toContain("does not answer in time");
    } finally {
      server.thaw();
    }
    await Bun.sleep(1_100);
    await watched.check();
    expect(turns).toEqual(["object store unavailable", "object store available again"]);
  });
});

describe("a store that is not there, or is something else", () => {
  const calls: Record<string, (store: ObjectStore) => Promise<unknown>> = {
    check: (store) => store.check(),
    find: (store) => store.find("k"),
    read: async (store) => new Response(await store.read("k")).text(),
    remove: (store) => store.remove("k"),
    list: (store) => Array.fromAsync(store.list("")),
  };
  /** All of them at once; the failures' messages, and how long the slowest took. */
  async function everyCall(endpoint: string, timeouts: S3Needs["timeouts"] = {}) {
    const keys = { accessKeyId: new Secret("canary-id"), secretAccessKey: new Secret("canary-secret") };
    const store = createS3Store({ endpoint, bucket: "b", region: "us-east-1", ...keys }, { timeouts });
    const started = performance.now();
    const said = await Promise.all(Object.values(calls).map((call) => saidBy(call(store))));
    await store.close();
    for (const words of said) expect(words).not.toMatch(/canary/);
    return { said: new Set(said), seconds: (performance.now() - started) / 1_000 };
  }
  const only = (message: string) => new Set([`storage_unavailable: ${message} Try again later.`]);
  const closers: (() => void)[] = [];
  afterAll(() => {
    for (const close of closers) close();
  });
  function serve(answer: () => Response): string {
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
    closers.push(() => void server.stop(true));
    return `http://127.0.0.1:${server.port}`;
  }
  /** Says this to whatever comes, and then, if told, hangs up. */
  async function speak(words: string | null, end = false): Promise<string> {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", () => {
        if (words !== null) socket.write(words);
        if (end) setTimeout(() => socket.destroy(), 20);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closers.push(() => void server.close());
    return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  }

  test("a port where nobody listens, and a name that nobody has", async () => {
    expect((await everyCall("http://127.0.0.1:9")).said).toEqual(only("The object store cannot be reached."));
    expect((await everyCall("http://store.invalid")).said).toEqual(
      only("The object store's name cannot be resolved: correct S3_ENDPOINT."),
    );
  });

  test("a server that takes the request and never answers is left within six seconds", async () => {
    const { said, seconds } = await everyCall(await speak(null));
    expect(said).toEqual(only("The object store does not answer in time."));
    expect(seconds).toBeLessThan(6);
  }, 20_000);

  test("a body that breaks off, or stops, is an outage and not a shorter object", async () => {
    const head = 'HTTP/1.1 200 OK\r\netag: "x"\r\ncontent-length: 1000\r\n\r\nabc';
    for (const endpoint of [await speak(head, true), await speak(head)]) {
      const keys = { accessKeyId: new Secret("k"), secretAccessKey: new Secret("s") };
      const timeouts = { idleMs: 500 };
      const store = createS3Store({ endpoint, bucket: "b", region: "us-east-1", ...keys }, { timeouts });
      expect(await saidBy(new Response(await store.read("k")).text())).toStartWith("storage_unavailable: ");
    }
  });

  test("a server that fails is asked twice", async () => {
    let asked = 0;
    const endpoint = serve(() => {
      asked++;
      return new Response("<Error><Code>InternalError</Code></Error>", { status: 500 });
    });
    expect((await everyCall(endpoint)).said).toEqual(only("The object store answers 500."));
    expect(asked).toBe(2 * Object.keys(calls).length);
  });

  test("whatever is not S3 is an outage, not an empty bucket", async () => {
    const notS3 = only("The object store's address answers, but not as S3 does: correct S3_ENDPOINT.");
    const page = "<!doctype html><title>Sign in to the hotel's network</title><b>hello";
    for (const body of [page, "\0\u0001 <<>>", "<ListBucketResult></ListBucketResult>", ""])
      expect({ body, said: (await everyCall(serve(() => new Response(body)))).said }).toEqual({
        body,
        said: notS3,
      });
    const lost = await everyCall(serve(() => new Response(page, { status: 404 })));
    expect(lost.said).toEqual(only("The object store answers 404."));
    const away = serve(() => Response.redirect("http://127.0.0.1:9/", 302));
    expect((await everyCall(away)).said).toEqual(only("The object store answers 302."));
  });

  test("what the machine has set for other programs of AWS's has no effect", async () => {
    let asked = 0;
    const endpoint = serve(() => {
      asked++;
      return new Response("<Error><Code>NoSuchKey</Code></Error>", { status: 404 });
    });
    const script = `
      import { createS3Store } from ${JSON.stringify(`${import.meta.dir}/s3.ts`)};
      import { Secret } from ${JSON.stringify(`${import.meta.dir}/../../platform/secret.ts`)};
      const keys = { accessKeyId: new Secret("k"), secretAccessKey: new Secret("s") };
      const loaded = () => Object.keys(require.cache).some((path) => path.includes("@aws-sdk"));
      const store = createS3Store({ endpoint: "${endpoint}", bucket: "b", region: "us-east-1", ...keys });
      const before = loaded();
      await store.check();
      console.log(JSON.stringify([before, loaded()]));`;
    const nowhere = "http://127.0.0.1:9";
    const env = {
      AWS_ENDPOINT_URL: nowhere,
      AWS_ENDPOINT_URL_S3: nowhere,
      AWS_USE_FIPS_ENDPOINT: "true",
      AWS_USE_DUALSTACK_ENDPOINT: "true",
      AWS_PROFILE: "nobody",
      AWS_MAX_ATTEMPTS: "x",
      AWS_RETRY_MODE: "x",
      AWS_DEFAULTS_MODE: "auto",
      HTTP_PROXY: nowhere,
      http_proxy: nowhere,
      NO_PROXY: "",
    };
    const child = Bun.spawn([process.execPath, "-e", script], { env, stdout: "pipe", stderr: "pipe" });
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    // The SDK is there only once it is needed: a gateway with a disk of its own never loads it.
    expect({ out: out.trim(), err, asked }).toEqual({ out: "[false,true]", err: "", asked: 1 });
  });
});
