import { afterAll, beforeAll, describe, expect, jest, test } from "bun:test";
import { createAttempts } from "../../platform/attempts.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { type Desk, deskUrl, localActor, openDesk } from "../../testing/desk.ts";
import { cookieOf, json, type Member, newCookie, newMember, refusalOf } from "../../testing/people.ts";

let desk: Desk;
let ada: Member;
beforeAll(async () => {
  desk = await openDesk((await testDatabase()).database);
  ada = await newMember(desk, { role: "admin" });
});
afterAll(() => desk.close());

let addresses = 0;
/** An address that nobody has failed from yet. */
const newAddress = () => `198.51.${Math.floor(++addresses / 250)}.${addresses % 250}`;
type From = { from?: string; cookie?: string };
type Typed = { email: string; password: string };

function headersOf({ from = newAddress(), cookie }: From): Record<string, string> {
  const browser =
    cookie === undefined ? {} : { cookie: `specgate=${cookie}`, "sec-fetch-site": "same-origin" };
  return { "x-forwarded-for": from, ...browser };
}
const byJson = ({ email, password }: Typed, from: From = {}) =>
  desk.send("/api/v1/auth/login", json("POST", { email, password }, headersOf(from)));
const byForm = ({ email, password }: Typed, { next, ...from }: From & { next?: string } = {}) =>
  desk.send("/login", {
    method: "POST",
    headers: { ...headersOf(from), "sec-fetch-site": "same-origin" },
    body: new URLSearchParams({ email, password, ...(next === undefined ? {} : { next }) }),
  });
const me = (cookie: string) => desk.send("/api/v1/me", { headers: { cookie: `specgate=${cookie}` } });
const wrong = (email = ada.email): Typed => ({ email, password: "a wrong password" });

describe("a person signs in", () => {
  test("by JSON and by the form, and gets a cookie that scripts cannot read and other sites cannot send", async () => {
    const answers = [await byJson(ada), await byForm(ada)];
    expect(answers.map(({ status }) => status)).toEqual([200, 303]);
    expect(await answers[0]?.json()).toEqual({ id: ada.id, email: ada.email, role: "admin" });
    expect(answers[1]?.headers.get("location")).toBe(`${deskUrl}/`);
    for (const { headers } of answers) {
      const [cookie, ...more] = headers.getSetCookie();
      expect(cookie).toMatch(/^specgate=sgc_[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Lax$/);
      expect(more).toEqual([]);
      expect(headers.get("cache-control")).toBe("no-store");
    }
  });

  test("over https with a cookie that no sibling and no plain http can set, and the plain one is nobody's", async () => {
    const https = await openDesk((await testDatabase()).database, undefined, "https://gate.example");
    const ed = await newMember(https);
    const answer = await https.send(
      "/api/v1/auth/login",
      json("POST", { email: ed.email, password: ed.password }),
    );
    const cookie = answer.headers.getSetCookie()[0] ?? "";
    expect(cookie).toMatch(
      /^__Host-specgate=sgc_[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure$/,
    );
    const statusWith = async (name: string) =>
      (await https.send("/api/v1/me", { headers: { cookie: `${name}=${cookieOf(answer)}` } })).status;
    expect(await statusWith("__Host-specgate")).toBe(200);
    expect(await statusWith("specgate")).toBe(401);
    await https.close();
  });

  test("whatever the case of their e-mail address", async () => {
    expect((await byJson({ ...ada, email: ada.email.toUpperCase() })).status).toBe(200);
  });

  test("each time with a new id, and the browser's earlier sign-in ends", async () => {
    let cookie = cookieOf(await byJson(ada)) ?? "";
    for (const again of [byJson, byForm]) {
      const next = cookieOf(await again(ada, { cookie })) ?? "";
      expect(next).not.toBe(cookie);
      expect([(await me(cookie)).status, (await me(next)).status]).toEqual([401, 200]);
      cookie = next;
    }
    const elsewhere = cookieOf(await byJson(ada)) ?? "";
    expect([(await me(cookie)).status, (await me(elsewhere)).status]).toEqual([200, 200]);
  });

  test("with a cookie that somebody planted, and that cookie is worth nothing afterwards", async () => {
    const planted = `sgc_${"a".repeat(43)}`;
    expect(cookieOf(await byForm(ada, { cookie: planted }))).not.toBe(planted);
    expect((await me(planted)).status).toBe(401);
  });

  test("wrongly, and their earlier sign-in goes on", async () => {
    const cookie = cookieOf(await byJson(ada)) ?? "";
    expect((await byForm(wrong(), { cookie })).status).toBe(401);
    expect((await me(cookie)).status).toBe(200);
  });

  test("which the audit tells, with the failures, and without what was typed", async () => {
    const ed = await newMember(desk);
    const from = newAddress();
    await byJson({ email: ed.email, password: "typed-as-a-password" }, { from });
    await byForm({ email: "typed-as-an-email-address", password: "typed-as-a-password" }, { from });
    await byJson(ed, { from });
    const entries = await desk.entries(ed.id);
    expect(entries.map(({ action, outcome, actor }) => [action, outcome, actor])).toEqual([
      ["user.created", "ok", "ada"],
      ["login.failed", "refused", "anonymous"],
      ["login", "ok", ed.id],
    ]);
    expect(entries[1]?.ip).toBe(from);
    const rows = await desk.database.sql`select to_jsonb(audit) as row from audit where ip = ${from}`;
    expect(rows.length).toBe(3);
    expect(JSON.stringify(rows)).not.toContain("typed-as");
  });
});

describe("who cannot sign in", () => {
  const cases = async (): Promise<Record<string, Typed>> => {
    const disabled = await newMember(desk);
    await desk.users.disable(localActor, disabled.email);
    const bare = { email: `${crypto.randomUUID()}@example.com`, password: "correct horse battery" };
    await desk.users.create(localActor, { email: bare.email, role: "user" });
    return {
      "an unknown person": wrong(`${crypto.randomUUID()}@example.com`),
      "a wrong password": wrong(),
      "a disabled person": disabled,
      "a person without a password": bare,
      "no e-mail address at all": wrong(""),
      "a password that is too short to be one": { ...ada, password: "short" },
      "one that is too long": { ...ada, password: "x".repeat(1_025) },
      "one that only begins right": { ...ada, password: `${ada.password}\u0000` },
    };
  };

  test.each([
    ["JSON", byJson, 401],
    ["the form", byForm, 401],
  ] as const)("by %s, whatever the reason, gets one answer to the byte", async (_, send, status) => {
    const seen = new Map<string, string[]>();
    for (const [name, typed] of Object.entries(await cases())) {
      const response = await send(typed);
      expect([name, response.status]).toEqual([name, status]);
      const id = response.headers.get("x-request-id") ?? "no id";
      response.headers.delete("x-request-id");
      // The form shows the address again, and nothing else of what was typed.
      const body = (await response.text()).replace(`value="${typed.email}"`, 'value=""').replace(id, "");
      const answer = JSON.stringify([body, [...response.headers].sort()]);
      seen.set(answer, [...(seen.get(answer) ?? []), name]);
      expect(response.headers.get("www-authenticate")).toStartWith("Bearer");
      expect(response.headers.getSetCookie()).toEqual([]);
    }
    expect([...seen.values()].length).toBe(1);
  });

  test("and takes as long to be told so, known or not", async () => {
    const known = await desk.users.create(localActor, {
      email: `${crypto.randomUUID()}@example.com`,
      role: "user",
      password: "correct horse battery",
    });
    const times: Record<"known" | "unknown", number[]> = { known: [], unknown: [] };
    await byJson(wrong("nobody@example.com"));
    for (let n = 0; n < 60; n++) {
      const who = n % 2 === 0 ? "known" : "unknown";
      const from = performance.now();
      await byJson(wrong(who === "known" ? known.email : `${crypto.randomUUID()}@example.com`));
      times[who].push(performance.now() - from);
    }
    const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
    const ratio = median(times.known) / median(times.unknown);
    expect(ratio).toBeWithin(0.8, 1.25);
  }, 60_000);

  test("who was disabled while the password was being checked", async () => {
    const ed = await newMember(desk, { cost: 4 });
    const answer = byJson(ed);
    await Bun.sleep(50);
    await desk.users.disable(localActor, ed.email);
    expect(await refusalOf(answer)).toBe("401 invalid_credentials");
    await desk.users.change(localActor, ed.id, { disabled: false });
    expect(await desk.signIns.list(ed.id)).toEqual([]);
  });

  test("whose password was changed while the old one was being checked", async () => {
    const ed = await newMember(desk, { cost: 8 });
    const answer = byJson(ed);
    await Bun.sleep(50);
    await desk.users.setPassword(localActor, ed.email, "another long password");
    expect(await refusalOf(answer)).toBe("401 invalid_credentials");
    expect(await desk.signIns.list(ed.id)).toEqual([]);
  });
});

describe("attempts", () => {
  const fail = async (times: number, typed: Typed, from: string) => {
    for (let n = 0; n < times; n++) expect((await byJson(typed, { from })).status).toBe(401);
  };

  test("are ten a minute for an account at an address; elsewhere, and for others there, all goes on", async () => {
    const [ed, from] = [await newMember(desk), newAddress()];
    await fail(10, wrong(ed.email), from);
    for (const send of [byJson, byForm]) {
      for (const typed of [ed, wrong(ed.email), { ...ed, email: ed.email.toUpperCase() }]) {
        const refused = await send(typed, { from });
        expect(refused.status).toBe(429);
        expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 61);
        expect(refused.headers.getSetCookie()).toEqual([]);
      }
    }
    expect((await byJson(ed)).status).toBe(200);
    expect((await byJson(ada, { from })).status).toBe(200);
  });

  test("of an account that is not there are counted alike", async () => {
    const from = newAddress();
    await fail(10, { email: "nobody@example.com", password: "short" }, from);
    expect(await refusalOf(byJson(wrong("nobody@example.com"), { from }))).toBe("429 too_many_attempts");
  });

  test("are 120 a minute for an address, whoever is tried", async () => {
    const from = newAddress();
    for (let n = 0; n < 120; n++) {
      const email = `n${n}@example.com`;
      expect((await byJson({ email, password: "short" }, { from })).status).toBe(401);
    }
    expect((await byJson(ada, { from })).status).toBe(429);
    expect((await byJson(ada)).status).toBe(200);
  });

  test("that succeed do not count", async () => {
    const [ed, from] = [await newMember(desk), newAddress()];
    await fail(9, wrong(ed.email), from);
    for (let n = 0; n < 15; n++) expect((await byJson(ed, { from })).status).toBe(200);
    await fail(1, wrong(ed.email), from);
    expect((await byJson(ed, { from })).status).toBe(429);
  });

  test("made all at once are no more than ten either, and the right one among them learns nothing", async () => {
    const [ed, from] = [await newMember(desk), newAddress()];
    const typed = [...Array<Typed>(29).fill(wrong(ed.email)), ed];
    const statuses = (await Promise.all(typed.map((one) => byJson(one, { from })))).map(
      ({ status }) => status,
    );
    expect(statuses.at(-1)).toBe(429);
    expect(statuses.filter((status) => status === 401).length).toBeWithin(10, 13);
    expect((await byJson(ed)).status).toBe(200);
  });

  test("are forgotten a minute later, so nobody is locked out for good", async () => {
    jest.useFakeTimers();
    try {
      const attempts = createAttempts();
      for (let n = 0; n < 50; n++) await attempts.failed("ed", "192.0.2.1");
      const refused = { code: "too_many_attempts", retryAfterSeconds: 60 };
      await expect(attempts.check("ed", "192.0.2.1")).rejects.toMatchObject(refused);
      await attempts.check("ed", "192.0.2.2");
      await attempts.check("olga", "192.0.2.1");
      jest.advanceTimersByTime(60_001);
      await attempts.check("ed", "192.0.2.1");
    } finally {
      jest.useRealTimers();
    }
  });

  test("beyond what two cores can check are told to come back, at once, and the rest is served", async () => {
    const from = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 44 }, async (_, n) => {
        const { status, headers } = await (n % 2 === 0 ? byJson : byForm)(wrong(`${n}@example.com`));
        return { status, retryAfter: headers.get("retry-after"), ms: performance.now() - from };
      }),
    );
    const busy = answers.filter(({ status }) => status === 503);
    // 34 at once; on a slow machine a place may be free again before the last has come.
    expect(busy.length).toBeWithin(1, 11);
    expect(busy.map(({ retryAfter }) => retryAfter)).toEqual(busy.map(() => "2"));
    expect(answers.filter(({ status }) => status === 401).length).toBe(44 - busy.length);
    expect(Math.max(...busy.map(({ ms }) => ms))).toBeLessThan(2_000);
    expect((await byJson(ada)).status).toBe(200);
  }, 60_000);
});

describe("after signing in", () => {
  const evil = [
    "//evil.example",
    "///evil.example",
    "////evil.example/..",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\u0000//evil.example",
    "/\u0000/evil.example",
    "/\r\nset-cookie: specgate=planted",
    "https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "HTTPS://evil.example",
    "http://127.0.0.1:8080@evil.example/",
    "http://127.0.0.1:8080.evil.example/",
    "//127.0.0.1:8080@evil.example",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "blob:http://127.0.0.1:8080/x",
    "evil.example",
    "@evil.example",
    ".evil.example",
    ":80@evil.example",
    "?next=//evil.example",
    "#//evil.example",
    "",
    "/\u2028/evil.example",
    "/\uff0fevil.example",
    "/é",
    `/${"a".repeat(8_192)}`,
    "http://127.0.0.1:8080/device",
  ];
  test.each(evil)("%p leads home", async (next) => {
    expect((await byForm(ada, { next })).headers.get("location")).toBe(`${deskUrl}/`);
    const page = await (await desk.send(`/login?${new URLSearchParams({ next })}`)).text();
    expect(page).toContain('<input type="hidden" name="next" value="/">');
  });

  test.each([
    "/%0d%0aset-cookie:specgate=planted",
    "/%2f%2fevil.example",
    "/%5c%5cevil.example",
    "/..//evil.example",
    "/.//evil.example",
    "/x/../..//evil.example",
    "/@evil.example",
    "/;//evil.example",
    "/?next=//evil.example",
    "/:80",
  ])("%p stays on this gateway", async (next) => {
    const { headers } = await byForm(ada, { next });
    const location = new URL(headers.get("location") ?? "");
    expect([location.origin, location.username]).toEqual([deskUrl, ""]);
    expect(headers.getSetCookie().length).toBe(1);
  });

  test.each([
    "/",
    "/device?user_code=ABCD-2345",
    "/oauth/authorize?client_id=x&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb&state=a%26b",
  ])("%p is where the person wanted to go", async (next) => {
    expect((await byForm(ada, { next })).headers.get("location")).toBe(deskUrl + next);
    // And still is after a mistake.
    const page = await (await byForm(wrong(), { next })).text();
    expect(page).toContain(`name="next" value="${next.replaceAll("&", "&amp;")}"`);
  });

  test("the query of the address bar decides nothing: the form does", async () => {
    const body = new URLSearchParams(ada);
    const headers = { ...headersOf({}), "sec-fetch-site": "same-origin" };
    const answer = await desk.send("/login?next=/device", { method: "POST", headers, body });
    expect(answer.headers.get("location")).toBe(`${deskUrl}/`);
  });
});

describe("what was typed", () => {
  const markup = `"><img src=x onerror=alert(1)>'&amp;`;

  test("the password is in no answer, the e-mail address only as text", async () => {
    const typed = { email: `${markup}@example.com`, password: `${markup} a secret` };
    for (const answer of [
      await byForm(typed, { next: `/device?x=${encodeURIComponent(markup)}` }),
      await byJson(typed),
    ]) {
      const text = await answer.text();
      expect(text).not.toContain("a secret");
      expect(text).not.toContain("<img");
    }
    const shown = await (await byForm(typed)).text();
    expect(shown).toContain('value="&quot;&gt;&lt;img src=x onerror=alert(1)&gt;&#39;&amp;amp;@example.com"');
  });

  test("is not shown by a body with mistakes either", async () => {
    const bodies = [
      { email: ada.email, password: { my: "a secret" } },
      { email: ada.email, "a secret": "x" },
    ];
    const [nested, misplaced] = await Promise.all(
      bodies.map(async (body) => (await desk.send("/api/v1/auth/login", json("POST", body))).json()),
    );
    expect(JSON.stringify(nested)).not.toContain("a secret");
    expect(nested).toMatchObject({ errors: [{ path: "password", code: "invalid_type" }] });
    expect(misplaced).toMatchObject({
      errors: [{ path: "password" }, { path: "a secret", code: "unknown" }],
    });
  });

  test.each<[string, RequestInit, string]>([
    ["no JSON", { body: "{", headers: { "content-type": "application/json" } }, "400 invalid_json"],
    ["a list", json("POST", []), "400 invalid_json"],
    [
      "a name twice",
      { ...json("POST", 0), body: '{"email":"a","email":"b","password":"c"}' },
      "400 duplicate_key",
    ],
    ["a further field", json("POST", { ...wrong("a"), role: "admin" }), "422 invalid_request"],
    ["nothing", json("POST", {}), "422 invalid_request"],
    ["NUL", json("POST", wrong("a\u0000b")), "400 invalid_request"],
    ["too much", json("POST", { ...wrong("a"), x: "x".repeat(70_000) }), "413 body_too_large"],
    ["a form", { body: new URLSearchParams(wrong("a")) }, "415 unsupported_media_type"],
    ["plain text", { body: JSON.stringify(wrong("a")) }, "415 unsupported_media_type"],
  ])("with %s in it is refused", async (_, request, refusal) => {
    expect(await refusalOf(desk.send("/api/v1/auth/login", { method: "POST", ...request }))).toBe(refusal);
  });

  test.each<[string, RequestInit, number]>([
    ["multipart", { body: new FormData() }, 415],
    ["plain text", { body: "email=a" }, 415],
    ["NUL", { body: new URLSearchParams(wrong("a\u0000b")) }, 400],
    ["too much", { body: new URLSearchParams({ email: "x".repeat(20_000) }) }, 413],
    ["nothing", { body: new URLSearchParams() }, 401],
  ])("as a form with %s is refused on a page", async (_, request, status) => {
    const headers = { "sec-fetch-site": "same-origin" };
    const answer = await desk.send("/login", { method: "POST", headers, ...request });
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toStartWith("text/html");
  });

  test("as the form's fields in JSON signs in too", async () => {
    const headers = { "sec-fetch-site": "same-origin" };
    const answer = await desk.send("/login", json("POST", { ...ada, id: "x", next: "/device" }, headers));
    expect([answer.status, answer.headers.get("location")]).toEqual([303, `${deskUrl}/device`]);
  });
});

test("a stranger's browser is sent to sign in, a person's shows who they are", async () => {
  const stranger = await desk.send("/");
  expect([stranger.status, stranger.headers.get("location")]).toEqual([303, `${deskUrl}/login?next=%2F`]);
  const cookie = await newCookie(desk, ada.id);
  const page = await desk.send("/", { headers: { cookie: `specgate=${cookie}` } });
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining(`<dd>${ada.email}</dd>`)]);
});
