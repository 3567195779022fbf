/**
 * Which URLs an alert hook may have. What the guarded fetch makes of a name later is tested where it stands.
 */
import { describe, expect, test } from "bun:test";
import { Failure } from "../../platform/failure.ts";
import { judgeDestination } from "./destination.ts";

const zone: Record<string, string[]> = {
  "public.example": ["93.184.215.14"],
  "inner.example": ["10.1.2.3"],
  "loop.example": ["127.0.0.1"],
  "meta.example": ["169.254.169.254"],
  "mixed.example": ["93.184.215.14", "192.168.1.1"],
  "mapped.example": ["::ffff:127.0.0.1"],
};
const resolve = async (name: string): Promise<string[]> => {
  const addresses = zone[name];
  if (addresses === undefined) throw new Error(`no ${name}`);
  return addresses;
};

const judged = (url: string, isPrivateAllowed = false): Promise<string> =>
  judgeDestination(url, isPrivateAllowed, resolve).catch((error: unknown) => {
    if (error instanceof Failure) return `${error.status} ${error.code}`;
    throw error;
  });
const refusal = "422 url_not_allowed";

const never = [
  "https://169.254.169.254/latest/meta-data/",
  "https://meta.example/",
  "https://metadata.google.internal/",
  "https://[fe80::1]/",
  "https://[::ffff:169.254.169.254]/",
  "https://[64:ff9b::a9fe:a9fe]/",
  "https://0xa9fea9fe/",
  "https://2852039166/",
  "https://user@public.example/",
  "https://user:password@public.example/",
  "ftp://public.example/",
  "file:///etc/passwd",
  "data:text/plain,x",
  "javascript:alert(1)",
  "public.example/alerts",
  "",
  "https://public.example:0/",
];

const inner = [
  "https://127.0.0.1/",
  "https://127.1/",
  "https://2130706433/",
  "https://0x7f000001/",
  "https://017700000001/",
  "https://localhost/",
  "https://app.localhost/",
  "https://[::1]/",
  "https://[::ffff:127.0.0.1]/",
  "https://10.0.0.1/",
  "https://172.16.0.1/",
  "https://192.168.0.1/",
  "https://100.64.0.1/",
  "https://0.0.0.0/",
  "https://[fd12:3456::1]/",
  "https://hooks.internal/",
  "https://printer/",
  "https://inner.example/",
  "https://loop.example/",
  "https://mapped.example/",
  "https://mixed.example/",
];

describe("a URL from anybody", () => {
  test.each([...never, ...inner, "http://public.example/", "http://127.0.0.1:9/"])(
    "%s is refused",
    async (url) => {
      expect(await judged(url)).toBe(refusal);
    },
  );

  test("is kept as it leads, without what never leaves a client", async () => {
    expect(await judged("https://PUBLIC.example:443/a/../b?k=v#part")).toBe("https://public.example/b?k=v");
  });

  test("may have a name that does not resolve yet", async () => {
    expect(await judged("https://soon.example/alerts")).toBe("https://soon.example/alerts");
  });
});

describe("with allow_private_network", () => {
  test.each(never)("%s is still refused", async (url) => {
    expect(await judged(url, true)).toBe(refusal);
  });

  test.each(inner)("%s is allowed", async (url) => {
    expect(await judged(url, true)).not.toBe(refusal);
  });

  test("http leads to the private network and nowhere else", async () => {
    for (const url of ["http://127.0.0.1:9000/x", "http://inner.example/", "http://localhost/"])
      expect(await judged(url, true)).toBe(url);
    for (const url of [
      "http://public.example/",
      "http://93.184.215.14/",
      "http://mixed.example/",
      "http://soon.example/",
    ])
      expect([url, await judged(url, true)]).toEqual([url, refusal]);
  });
});

test("a name whose DNS never answers is not waited for", async () => {
  const begun = performance.now();
  const url = await judgeDestination("https://slow.example/", false, () => new Promise(() => {}));
  expect([url, performance.now() - begun < 4_000]).toEqual(["https://slow.example/", true]);
});

test("the refusal says where the leave is given, and nothing of what was found", async () => {
  const error = await judgeDestination("https://inner.example/", false, resolve).catch((it: unknown) => it);
  expect(error).toBeInstanceOf(Failure);
  const { message, errors } = error as Failure;
  expect(message).toContain("alerts: { allow_private_network: true }");
  expect(message).not.toContain("10.1.2.3");
  expect(errors).toMatchObject([{ path: "url", code: "url_not_allowed" }]);
});
