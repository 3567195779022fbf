/**
 * What a URL may do to the gateway: nothing. A canary listens on every address of this machine and counts what comes.
 */
import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { certificate, certificateKey } from "../testing/certificate.ts";
import { AddressBook, checkUrl, type Resolve } from "./addresses.ts";
import { addressKind } from "./config-address.ts";
import { Failure } from "./failure.ts";
import { createGuardedFetch, type FetchRules, type GuardedInit, nextHop } from "./guarded-fetch.ts";

type Canary = { port: number; sockets: Set<Socket>; connections: number; bytes: number; close(): void };

let canary: Canary;
beforeAll(async () => {
  canary = await startCanary();
});
afterAll(() => canary.close());

/** Listens on both families where there are two. */
async function startCanary(): Promise<Canary> {
  const count: Canary = { port: 0, sockets: new Set(), connections: 0, bytes: 0, close: () => {} };
  const server = createServer((socket) => {
    count.connections += 1;
    count.sockets.add(socket);
    socket.on("data", (bytes) => {
      count.bytes += bytes.length;
    });
    socket.on("error", () => {});
  });
  await listen(server, "::").catch(() => listen(server, "0.0.0.0"));
  count.port = (server.address() as { port: number }).port;
  count.close = () => {
    for (const socket of count.sockets) socket.destroy();
    server.close();
  };
  return count;
}

function listen(server: Server, host: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen(0, host, () => resolve());
  return promise;
}

async function failureOf(attempt: Promise<unknown>): Promise<Failure> {
  const outcome = await attempt.then(
    () => new Error("it succeeded"),
    (error: unknown) => error,
  );
  if (outcome instanceof Failure) return outcome;
  throw outcome;
}

const codeOf = async (attempt: Promise<unknown>): Promise<string> => (await failureOf(attempt)).code;

/** DNS as a stranger would set it up. */
const zone: Record<string, string[]> = {
  "public.example": ["127.0.0.1"],
  "127.0.0.1.nip.example": ["127.0.0.1"],
  "loopback.example": ["127.8.8.8"],
  "loopback6.example": ["::1"],
  "zero.example": ["0.0.0.0"],
  "zero6.example": ["::"],
  "ten.example": ["10.1.2.3"],
  "seventeen.example": ["172.31.255.255"],
  "home.example": ["192.168.1.1"],
  "cgnat.example": ["100.64.0.1"],
  "metadata.example": ["169.254.169.254"],
  "alibaba.example": ["100.100.100.200"],
  "azure.example": ["168.63.129.16"],
  "oracle.example": ["192.0.0.192"],
  "amazon6.example": ["fd00:ec2::254"],
  "google6.example": ["fd20:ce::254"],
  "linklocal6.example": ["fe80::1%eth0"],
  "ula.example": ["fd12:3456::1"],
  "mapped.example": ["::ffff:127.0.0.1"],
  "mappedpublic.example": ["::ffff:8.8.8.8"],
  "nat64.example": ["64:ff9b::7f00:1"],
  "nat64public.example": ["64:ff9b::808:808"],
  "localnat64.example": ["64:ff9b:1::808:808"],
  "sixtofour.example": ["2002:7f00:1::1"],
  "sixtofourpublic.example": ["2002:808:808::1"],
  "teredo.example": ["2001:0:808:808::f7f7:f7f7"],
  "mixed.example": ["8.8.8.8", "127.0.0.1"],
  "mixedlast.example": ["2606:4700::1111", "8.8.8.8", "10.0.0.1"],
  "nonsense.example": ["127.0.0.1.example"],
  "empty.example": [],
};
const resolve: Resolve = async (name) => {
  const addresses = zone[name.replace(/\.$/, "")];
  if (addresses === undefined) throw Object.assign(new Error(`no ${name}`), { code: "ENOTFOUND" });
  return addresses;
};

/** `PORT` stands for the canary's. Where the host is the point, the scheme is the allowed one. */
const forms: Record<string, string[]> = {
  "spellings of 127.0.0.1": [
    "https://127.0.0.1:PORT/",
    "https://127.0.0.1.:PORT/",
    "https://127.0.0.2:PORT/",
    "https://127.255.255.254:PORT/",
    "https://127.1:PORT/",
    "https://127.0.1:PORT/",
    "https://2130706433:PORT/",
    "https://017700000001:PORT/",
    "https://0x7f000001:PORT/",
    "https://0X7F000001:PORT/",
    "https://0x7f.1:PORT/",
    "https://0x7f.0x0.0x0.0x1:PORT/",
    "https://0177.0.0.01:PORT/",
    "https://00000177.0.0.1:PORT/",
    "https://127.0x1:PORT/",
    "https://127.00.000.0001:PORT/",
    "https://%31%32%37.0.0.1:PORT/",
    "https://127%2e0%2e0%2e1:PORT/",
    "https://１２７.０.０.１:PORT/",
    "https://①②⑦.⓪.⓪.①:PORT/",
    "https://127。0。0。1:PORT/",
    "https://127．0．0．1:PORT/",
    "https://127｡0｡0｡1:PORT/",
    "https://0x7f。1:PORT/",
  ],
  "other IPv4 addresses that are not the public internet's": [
    "https://0.0.0.0:PORT/",
    "https://0:PORT/",
    "https://0x0:PORT/",
    "https://0.1.2.3:PORT/",
    "https://10.0.0.1:PORT/",
    "https://167772161:PORT/",
    "https://100.64.0.1:PORT/",
    "https://100.127.255.254:PORT/",
    "https://169.254.169.254:PORT/",
    "https://2852039166:PORT/",
    "https://0xa9fea9fe:PORT/",
    "https://0251.0376.0251.0376:PORT/",
    "https://169.254.170.2:PORT/",
    "https://100.100.100.200:PORT/",
    "https://168.63.129.16:PORT/",
    "https://192.0.0.192:PORT/",
    "https://172.16.0.1:PORT/",
    "https://172.31.255.255:PORT/",
    "https://192.0.0.1:PORT/",
    "https://192.0.2.1:PORT/",
    "https://192.88.99.1:PORT/",
    "https://192.168.0.1:PORT/",
    "https://3232235521:PORT/",
    "https://198.18.0.1:PORT/",
    "https://198.51.100.1:PORT/",
    "https://203.0.113.1:PORT/",
    "https://224.0.0.1:PORT/",
    "https://239.255.255.250:PORT/",
    "https://240.0.0.1:PORT/",
    "https://255.255.255.255:PORT/",
  ],
  "IPv6 addresses that are not the public internet's": [
    "https://[::1]:PORT/",
    "https://[0:0:0:0:0:0:0:1]:PORT/",
    "https://[0000::0001]:PORT/",
    "https://[::]:PORT/",
    "https://[::ffff:127.0.0.1]:PORT/",
    "https://[::ffff:7f00:1]:PORT/",
    "https://[::FFFF:7F00:0001]:PORT/",
    "https://[0:0:0:0:0:ffff:127.0.0.1]:PORT/",
    "https://[::ffff:169.254.169.254]:PORT/",
    "https://[::ffff:8.8.8.8]:PORT/",
    "https://[::127.0.0.1]:PORT/",
    "https://[::8.8.8.8]:PORT/",
    "https://[::ffff:0:127.0.0.1]:PORT/",
    "https://[::ffff:0:8.8.8.8]:PORT/",
    "https://[64:ff9b::127.0.0.1]:PORT/",
    "https://[64:ff9b::a9fe:a9fe]:PORT/",
    "https://[64:ff9b::8.8.8.8]:PORT/",
    "https://[64:ff9b:1::10.0.0.1]:PORT/",
    "https://[64:ff9b:1::8.8.8.8]:PORT/",
    "https://[2002:7f00:1::]:PORT/",
    "https://[2002:a9fe:a9fe::1]:PORT/",
    "https://[2002:808:808::]:PORT/",
    "https://[2001:0:808:808::80ff:fffe]:PORT/",
    "https://[2001:0:808:808::f7f7:f7f7]:PORT/",
    "https://[2001:2::1]:PORT/",
    "https://[2001:10::1]:PORT/",
    "https://[2001:db8::1]:PORT/",
    "https://[3fff::1]:PORT/",
    "https://[100::1]:PORT/",
    "https://[5f00::1]:PORT/",
    "https://[fc00::1]:PORT/",
    "https://[fd00:ec2::254]:PORT/",
    "https://[fd20:ce::254]:PORT/",
    "https://[fe80::1]:PORT/",
    "https://[fe80::1%25lo]:PORT/",
    "https://[febf::1]:PORT/",
    "https://[fec0::1]:PORT/",
    "https://[ff02::1]:PORT/",
    "https://[::1%25lo]:PORT/",
  ],
  "names that mean this machine or this network": [
    "https://localhost:PORT/",
    "https://LOCALHOST:PORT/",
    "https://localhost.:PORT/",
    "https://foo.localhost:PORT/",
    "https://foo.bar.localhost.:PORT/",
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/",
    "https://ｌｏｃａｌｈｏｓｔ:PORT/",
    "https://loc\u00adalhost:PORT/",
    "https://l%6fcalhost:PORT/",
    "https://localhost.localdomain:PORT/",
    "https://ip6-localhost:PORT/",
    "https://intranet:PORT/",
    "https://vault.internal:PORT/",
    "https://printer.local:PORT/",
    "https://metadata:PORT/",
    "https://metadata.google.internal:PORT/",
    "https://METADATA.google.internal.:PORT/",
    "https://metadata.goog:PORT/",
    "https://metadata.azure.internal:PORT/",
    "https://instance-data:PORT/",
  ],
  "URLs that look like another host's": [
    "https://public.example@127.0.0.1:PORT/",
    "https://public.example:443@127.0.0.1:PORT/",
    "https://public.example%40127.0.0.1:PORT/",
    "https://user:secret@public.example:PORT/",
    "https://@127.0.0.1:PORT/",
    "https://127.0.0.1:PORT@public.example/",
    "https://127.0.0.1:PORT\\@public.example/",
    "https://127.0.0.1:PORT#@public.example/",
    "https://127.0.0.1:PORT?@public.example/",
    "https://public.example\\@127.0.0.1:PORT/",
    "https:\\\\127.0.0.1:PORT\\",
    "https:/\\127.0.0.1:PORT/",
    "https:127.0.0.1:PORT/",
    "https:/127.0.0.1:PORT/",
    "https:////127.0.0.1:PORT/",
    " \t\nhttps://127.0.0.1:PORT/ ",
    "ht\ntps://127\t.0.\r0.1:PORT/",
    "\u0000https://127.0.0.1:PORT/",
    "https://127.0.0.1\u200b:PORT/",
    "https://127.0.0.1%00.public.example:PORT/",
    "https://public.example%0d%0ahost:127.0.0.1:PORT/",
    "https://public.example:PORT:PORT/",
    "https://public.example:0/",
    "https://public.example:99999/",
    "https://[127.0.0.1]:PORT/",
    "https://[::1:PORT/",
    "https://256.0.0.1:PORT/",
    "https://4294967297:PORT/",
    "//127.0.0.1:PORT/",
    "127.0.0.1:PORT",
    "",
  ],
  "schemes that are not https": [
    "http://127.0.0.1:PORT/",
    "http://public.example:PORT/",
    "HTTP://public.example:PORT/",
    "ws://127.0.0.1:PORT/",
    "wss://public.example:PORT/",
    "ftp://127.0.0.1:PORT/",
    "gopher://127.0.0.1:PORT/_GET%20/",
    "dict://127.0.0.1:PORT/",
    "ldap://127.0.0.1:PORT/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "data:text/plain,hello",
    "blob:https://public.example/00000000-0000-0000-0000-000000000000",
    "s3://bucket/key",
    "unix:///run/docker.sock",
    "jar:https://127.0.0.1:PORT!/",
    "javascript:fetch('https://127.0.0.1:PORT/')",
    "about:blank",
  ],
  "names that lead where they should not": Object.keys(zone).map((name) => `https://${name}:PORT/`),
};
const list = Object.values(forms).flat();
const written = (form: string): string => form.replaceAll("PORT", String(canary.port));

describe("a stranger's URL", () => {
  test("in none of its many forms reaches this machine or its network", async () => {
    expect(new Set(list).size).toBeGreaterThanOrEqual(190);
    const fetch = createGuardedFetch({ resolve });
    for (const form of list) {
      const attempt = fetch(
        written(form),
        { method: "POST", body: "x" },
        { redirectsMax: 3, timeoutMs: 500 },
      );
      const expected = form.includes("empty.example") ? "url_unresolved" : "url_not_allowed";
      expect([form, await codeOf(attempt)]).toEqual([form, expected]);
    }
    await Bun.sleep(50);
    expect(canary).toMatchObject({ connections: 0, bytes: 0 });
  });

  test("would reach it without the guard, so that the canary's silence means something", async () => {
    const open = await startCanary();
    const known = list.filter((form) =>
      /^https:..(?:127\.0\.0\.1|2130706433|0x7f\.1|127\.1|localhost):PORT/.test(form),
    );
    const calls = known.map((form) =>
      fetch(form.replaceAll("PORT", String(open.port)), { signal: AbortSignal.timeout(200), proxy: false }),
    );
    await Promise.allSettled(calls);
    expect(open.connections).toBeGreaterThanOrEqual(known.length);
    expect(open.bytes).toBeGreaterThan(0);
    open.close();
  });

  test("is refused when it is registered, and in words that do not tell what its name resolves to", async () => {
    for (const form of list.filter((one) => !one.includes("empty.example"))) {
      const refused = await failureOf(checkUrl(written(form), "public", resolve));
      expect([form, refused.status, refused.code]).toEqual([form, 422, "url_not_allowed"]);
      expect(refused.message).not.toMatch(/\d+\.\d+\.\d+|::/);
    }
  });

  test("may be registered before its name is known, and checked again when it is called", async () => {
    let answers: string[] = ["8.8.8.8"];
    const rebinding: Resolve = async () => answers;
    const url = `https://rebinding.example:${canary.port}/hook`;
    expect((await checkUrl(url, "public", rebinding)).href).toBe(url);
    answers = ["127.0.0.1"];
    expect(await codeOf(createGuardedFetch({ resolve: rebinding })(url))).toBe("url_not_allowed");
    expect((await checkUrl("https://later.example/", "public", resolve)).hostname).toBe("later.example");
    expect(canary.connections).toBe(0);
  });
});

describe("the operator's URL", () => {
  const outcome = (url: string, reach: FetchRules["reach"]) =>
    checkUrl(url, reach, resolve).then(
      () => "allowed",
      (error: Failure) => error.code,
    );

  test("may be http, and loopback when it is written as such", async () => {
    for (const url of [
      "http://127.0.0.1:11434/",
      "http://[::1]/",
      "http://localhost/",
      "http://api.example/",
    ])
      expect([url, await outcome(url, "operator")]).toEqual([url, "allowed"]);
    for (const url of [
      "http://loopback.example/",
      "http://10.0.0.1/",
      "http://vllm:8000/",
      "file:///etc/passwd",
    ])
      expect([url, await outcome(url, "operator")]).toEqual([url, "url_not_allowed"]);
  });

  test("may lead through a translator to the public internet", async () => {
    expect(await outcome("https://nat64public.example/", "operator")).toBe("allowed");
    expect(await outcome("https://nat64.example/", "operator")).toBe("url_not_allowed");
  });

  test("may be private with leave, and metadata never", async () => {
    for (const name of ["ten", "ula", "loopback", "zero", "localnat64", "mapped"])
      expect([name, await outcome(`http://${name}.example/`, "private")]).toEqual([name, "allowed"]);
    for (const name of ["metadata", "alibaba", "azure", "oracle", "amazon6", "google6", "linklocal6"])
      expect([name, await outcome(`http://${name}.example/`, "private")]).toEqual([name, "url_not_allowed"]);
    for (const url of ["http://169.254.169.254/", "http://[64:ff9b:1::a9fe:a9fe]/", "http://metadata.goog/"])
      expect([url, await outcome(url, "private")]).toEqual([url, "url_not_allowed"]);
  });

  test("is told apart by what an address carries", () => {
    const kinds = {
      "2606:4700::1111": "public",
      "2a00::1": "public",
      "::ffff:8.8.8.8": "carried",
      "2002:808:808::1": "carried",
      "2001:0:1::f7f7:f7f7": "carried",
      "2001:0:1::80ff:fffe": "loopback",
      "64:ff9b::a00:1": "private",
      "64:ff9b:1::808:808": "private",
    };
    for (const [address, kind] of Object.entries(kinds))
      expect([address, addressKind(address)]).toEqual([address, kind as ReturnType<typeof addressKind>]);
  });
});

describe("an answer", () => {
  let server: Bun.Server<undefined>;
  const asked: {
    name: string;
    path: string;
    port: number;
    headers: Headers;
    method: string;
    body: string;
  }[] = [];
  let answer: (path: string) => Response | Promise<Response> = () => new Response("hello");
  const last = () => asked.at(-1);
  /** Names of the test zone lead to this machine; only the operator's leave opens that way. */
  const home: Resolve = async (name) =>
    name === "elsewhere.example" ? ["8.8.8.8", "10.0.0.1"] : ["127.0.0.1"];
  const guarded = createGuardedFetch({ resolve: home, ca: certificate });
  const allowed: FetchRules = { reach: "private" };
  const get = (path: string, rules: FetchRules = {}, init: GuardedInit = {}, name = "public.example") =>
    guarded(`https://${name}:${server.port}${path}`, init, { ...allowed, ...rules });

  beforeAll(() => {
    server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      tls: { cert: certificate, key: certificateKey },
      async fetch(request) {
        const { pathname, hostname } = new URL(request.url);
        const body = await request.text();
        const port = server.requestIP(request)?.port ?? 0;
        asked.push({
          name: hostname,
          path: pathname,
          port,
          headers: request.headers,
          method: request.method,
          body,
        });
        return answer(pathname);
      },
    });
  });
  afterAll(() => server.stop(true));

  test("comes from the checked address, under the name's own certificate", async () => {
    const response = await get("/path?q=1", {}, { headers: { accept: "text/plain" } });
    expect([response.status, await response.text()]).toEqual([200, "hello"]);
    expect(last()).toMatchObject({ name: "public.example", path: "/path", method: "GET" });
    expect(last()?.headers.get("host")).toBe(`public.example:${server.port}`);
    expect(last()?.headers.get("accept-encoding")).toBe("identity");
    expect(last()?.headers.get("user-agent")).toBe("specgate");
  });

  test("of one name is never another's, even on the same address and an open connection", async () => {
    await get("/");
    const first = last()?.port;
    await get("/");
    expect(last()?.port).toBe(first);
    await get("/", {}, {}, "other.example");
    expect(last()?.port).not.toBe(first);
    const refused = await failureOf(get("/", {}, {}, "wrong.example"));
    expect(refused.code).toBe("url_unreachable");
    expect((refused.cause as { code: string }).code).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
  });

  test("is asked for with a body and headers as they were given", async () => {
    await get("/", {}, { method: "POST", body: "{}", headers: new Headers({ "X-Key": "k", Host: "evil" }) });
    expect(last()).toMatchObject({ method: "POST", body: "{}", name: "public.example" });
    expect(last()?.headers.get("x-key")).toBe("k");
  });

  test("comes directly, whatever proxy the environment names", async () => {
    const proxy = await startCanary();
    const plain = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("direct") });
    const { env } = process;
    const before = { HTTP_PROXY: env.HTTP_PROXY, HTTPS_PROXY: env.HTTPS_PROXY };
    env.HTTP_PROXY = env.HTTPS_PROXY = `http://127.0.0.1:${proxy.port}`;
    try {
      expect(await (await get("/")).text()).toBe("hello");
      const response = await guarded(`http://public.example:${plain.port}/`, {}, allowed);
      expect(await response.text()).toBe("direct");
      expect(proxy.connections).toBe(0);
      const signal = AbortSignal.timeout(100);
      await fetch(`http://127.0.0.1:${plain.port}/`, { signal }).catch(() => {});
      expect(proxy.connections).toBe(1);
    } finally {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete env[name];
        else env[name] = value;
      }
      plain.stop(true);
      proxy.close();
    }
  });

  test("is looked for at the name's next address when there is no connection to the first", async () => {
    const fallback = createGuardedFetch({ resolve: async () => ["127.0.0.9", "127.0.0.1"], ca: certificate });
    const url = `https://public.example:${server.port}/`;
    const spy = spyOn(globalThis, "fetch");
    expect((await fallback(url, { method: "POST", body: "once" }, allowed)).status).toBe(200);
    expect((await fallback(url, {}, allowed)).status).toBe(200);
    const dialled = spy.mock.calls.map(([to]) => new URL(String(to)).hostname);
    spy.mockRestore();
    expect(dialled).toEqual(["127.0.0.9", "127.0.0.1", "127.0.0.1"]);
  });

  describe("that redirects", () => {
    const to = (location: string, status = 302) => new Response(null, { status, headers: { location } });
    const statuses = [301, 302, 303, 307, 308];

    test("is passed on as it came unless redirects are asked for", async () => {
      answer = () => to("/elsewhere");
      expect((await get("/")).status).toBe(302);
      expect(last()?.path).toBe("/");
    });

    test("to a forbidden place is not followed, whatever its status", async () => {
      const places = [
        ...["127.0.0.1", "0.0.0.0", "10.0.0.1", "169.254.169.254", "100.64.0.1", "2130706433", "[::1]"],
        ...["[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00:ec2::254]", "localhost"],
        ...["metadata.google.internal", "public.example@127.0.0.1", "elsewhere.example", "other.example"],
      ].map((host) => `https://${host}:${canary.port}/`);
      const others = [
        `http://public.example:${canary.port}/`,
        `//127.0.0.1:${canary.port}/`,
        "file:///etc/passwd",
      ];
      for (const location of [...places, ...others, "data:text/plain,x", "gopher://127.0.0.1/", "https://"]) {
        for (const status of statuses) {
          answer = () => to(location, status);
          const code = await codeOf(
            get("/", { redirectsMax: 3 }, { headers: { authorization: "Bearer k" } }),
          );
          expect([location, status, code]).toEqual([location, status, "url_not_allowed"]);
        }
      }
      await Bun.sleep(50);
      expect(canary).toMatchObject({ connections: 0, bytes: 0 });
    });

    test("from https to http is not followed on the same host either", async () => {
      answer = () => to(`http://public.example:${server.port}/`);
      expect(await codeOf(get("/", { redirectsMax: 3 }))).toBe("url_not_allowed");
    });

    test("within its origin is followed, with the method that the status says", async () => {
      answer = (path) => (path === "/start" ? to("end", 303) : new Response("end"));
      const init = { method: "POST", body: "x", headers: { authorization: "Bearer k" } };
      expect(await (await get("/start", { redirectsMax: 1 }, init)).text()).toBe("end");
      expect(last()).toMatchObject({ path: "/end", method: "GET", body: "" });
      expect(last()?.headers.get("authorization")).toBe("Bearer k");
      answer = (path) => (path === "/start" ? to("/end", 307) : new Response("end"));
      await get("/start", { redirectsMax: 1 }, init);
      expect(last()).toMatchObject({ path: "/end", method: "POST", body: "x" });
    });

    test("for ever is followed as often as was asked", async () => {
      answer = () => to("/again");
      asked.length = 0;
      expect(await codeOf(get("/", { redirectsMax: 4 }))).toBe("url_redirects");
      expect(asked).toHaveLength(5);
    });

    test("is resolved and checked anew at each hop, once", async () => {
      const answers = [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"]];
      let times = 0;
      let late = 0;
      const rebinding = createGuardedFetch({
        resolve: async () => answers[times++] ?? [],
        ca: certificate,
        // Each hop comes a day after the last, so nothing is remembered.
        clock: { monotonic: () => (late += 86_400_000) },
      });
      answer = (path) => (path === "/start" ? to("/end") : new Response("end"));
      const url = `https://public.example:${server.port}/start`;
      expect(await codeOf(rebinding(url, {}, { ...allowed, redirectsMax: 2 }))).toBe("url_not_allowed");
      expect([times, last()?.path]).toEqual([2, "/start"]);
    });

    test("to another origin takes neither credentials nor the operator's leave along", () => {
      const headers = { authorization: "Bearer k", cookie: "c", "x-api-key": "k", accept: "a/b" };
      const hop = {
        url: "https://a.example/x",
        init: { headers },
        reach: "private",
        streams: false,
      } as const;
      const next = nextHop(hop, 302, "https://b.example/y");
      expect(next).toMatchObject({ reach: "public", init: { method: "GET", body: null } });
      expect([...(next.init.headers as Headers).keys()]).toEqual(["accept"]);
      const posted = { ...hop, init: { method: "POST", body: "client_secret=s" } };
      expect(() => nextHop(posted, 307, "https://b.example/y")).toThrow("redirects a body");
      expect(nextHop(hop, 302, "https://a.example:444/").reach).toBe("public");
      expect(nextHop(hop, 302, "/z")).toMatchObject({
        reach: "private",
        url: new URL("https://a.example/z"),
      });
    });
  });

  describe("that is too much", () => {
    const endless = (chunk: Uint8Array<ArrayBuffer>, everyMs = 0) =>
      new ReadableStream<Uint8Array>({
        async pull(controller) {
          await Bun.sleep(everyMs);
          controller.enqueue(chunk);
        },
      });

    test("ends at the largest size", async () => {
      answer = () => new Response(endless(new Uint8Array(10_000)));
      expect(await codeOf(get("/", { bytesMax: 50_000 }))).toBe("url_too_large");
      answer = () => new Response(new Uint8Array(50_001));
      expect(await codeOf(get("/", { bytesMax: 50_000 }))).toBe("url_too_large");
      answer = () => new Response(new Uint8Array(50_000));
      expect((await (await get("/", { bytesMax: 50_000 })).bytes()).length).toBe(50_000);
    });

    test("is not unpacked", async () => {
      const bomb = gzipSync(new Uint8Array(50_000_000));
      answer = () => new Response(bomb, { headers: { "content-encoding": "gzip" } });
      expect(await codeOf(get("/", { bytesMax: 100_000 }))).toBe("url_encoded");
    });

    test("of a time ends, whether headers, body or DNS are late", async () => {
      answer = () => Bun.sleep(5_000).then(() => new Response("late"));
      expect(await codeOf(get("/", { timeoutMs: 60 }))).toBe("url_timeout");
      answer = () => new Response(endless(new Uint8Array(1), 20));
      expect(await codeOf(get("/", { timeoutMs: 150 }))).toBe("url_timeout");
      const { promise: never } = Promise.withResolvers<string[]>();
      const slow = createGuardedFetch({ resolve: () => never });
      expect(await codeOf(slow("https://slow.example/", {}, { timeoutMs: 60 }))).toBe("url_timeout");
    });

    test("streams unbounded to a caller who says that it counts for itself", async () => {
      answer = () => new Response(endless(new Uint8Array(1_000), 5));
      const response = await get("/", { bytesMax: null, timeoutMs: 100 });
      const reader = response.body?.getReader();
      const deadline = performance.now() + 200;
      while (performance.now() < deadline) expect((await reader?.read())?.done).toBe(false);
      await reader?.cancel();
    });

    test("ends when the caller leaves, for the caller's own reason", async () => {
      answer = () => Bun.sleep(5_000).then(() => new Response("late"));
      for (const rules of [{}, { bytesMax: null, timeoutMs: null }]) {
        const abort = new AbortController();
        const attempt = get("/", rules, { signal: abort.signal });
        setTimeout(() => abort.abort(new Error("left")), 30);
        await expect(attempt).rejects.toThrow("left");
      }
    });
  });

  test("without a body keeps its status", async () => {
    answer = () => new Response(null, { status: 204 });
    const response = await get("/");
    expect([response.status, response.body]).toEqual([204, null]);
  });

  test("that never comes says whose fault it is", async () => {
    const nobody = createGuardedFetch({ resolve });
    expect(await codeOf(nobody("https://unknown.example/"))).toBe("url_unresolved");
    const closed = await failureOf(guarded("http://127.0.0.1:1/", {}, { reach: "operator" }));
    expect([closed.status, closed.code]).toEqual([502, "url_unreachable"]);
  });
});

describe("the addresses of the operator's hosts", () => {
  let now = 0;
  let answers: string[] | null = ["8.8.8.8"];
  let times = 0;
  const bookOf = () => {
    now = 0;
    times = 0;
    answers = ["8.8.8.8"];
    const look: Resolve = async () => {
      times += 1;
      if (answers === null) throw new Error("no DNS");
      return answers;
    };
    return new AddressBook(look, { monotonic: () => now });
  };
  const find = async (book: AddressBook, reach: FetchRules["reach"] = "operator") =>
    await book.find("api.example", reach ?? "operator");

  test("are looked up once in 30 s, then again behind the callers' backs", async () => {
    const book = bookOf();
    await Promise.all([find(book), find(book)]);
    now = 29_999;
    expect(await find(book)).toEqual(["8.8.8.8"]);
    expect(times).toBe(1);
    now = 30_001;
    answers = ["9.9.9.9"];
    expect(await find(book)).toEqual(["8.8.8.8"]);
    await Bun.sleep(1);
    expect([times, await find(book)]).toEqual([2, ["9.9.9.9"]]);
  });

  test("outlive a DNS outage of five minutes, and not a longer one", async () => {
    const book = bookOf();
    await find(book);
    answers = null;
    now = 299_000;
    expect(await find(book)).toEqual(["8.8.8.8"]);
    now = 301_000;
    expect(await codeOf(find(book))).toBe("url_unresolved");
  });

  test("are dropped at once when they turn into forbidden ones", async () => {
    const book = bookOf();
    await find(book);
    answers = ["10.0.0.1"];
    now = 40_000;
    await find(book);
    await Bun.sleep(1);
    expect(await codeOf(find(book))).toBe("url_not_allowed");
  });

  test("are kept apart by what may be reached, and a stranger's are not kept", async () => {
    const book = bookOf();
    answers = ["10.0.0.1"];
    expect(await find(book, "private")).toEqual(["10.0.0.1"]);
    expect(await codeOf(find(book, "operator"))).toBe("url_not_allowed");
    answers = ["8.8.8.8"];
    await find(book, "public");
    await find(book, "public");
    expect(times).toBe(4);
  });
});
