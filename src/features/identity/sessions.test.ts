import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { testDatabase } from "../../testing/cluster.ts";
import {
  type Desk,
  deskUrl,
  localActor,
  type MovableClock,
  movableClock,
  openDesk,
} from "../../testing/desk.ts";
import {
  bodyOf,
  cookieOf,
  json,
  type Me,
  type Member,
  newApp,
  newCookie,
  newMember,
  refusalOf,
} from "../../testing/people.ts";
import type { SignInView } from "./contract.ts";

const minuteMs = 60_000;
let desk: Desk;
let clock: MovableClock;
let ed: Member;
beforeAll(async () => {
  clock = movableClock();
  desk = await openDesk((await testDatabase()).database, clock);
});
afterAll(() => desk.close());
beforeEach(async () => {
  ed = await newMember(desk);
});

const browser = (cookie: string) => ({ cookie: `specgate=${cookie}`, "sec-fetch-site": "same-origin" });
const app = (token: string) => ({ authorization: `Bearer ${token}` });
type Dress = ReturnType<typeof browser> | ReturnType<typeof app>;
const me = (dress: Dress) => desk.send("/api/v1/me", { headers: dress });
const statusOf = async (dress: Dress) => (await me(dress)).status;
const newBrowser = async (person: { id: string } = ed) => browser(await newCookie(desk, person.id));
const appOf = async (person: Member, scope = "control:read control:write") => {
  const { token, signInId } = await newApp(desk, person, { scope, aud: deskUrl, now: clock.now() });
  return { ...app(token), signInId };
};
const listed = async (dress: Dress): Promise<SignInView[]> => {
  type Listing = { data: SignInView[]; next_cursor: null };
  const page = await bodyOf<Listing>(desk.send("/api/v1/me/sessions", { headers: dress }));
  expect(page.next_cursor).toBeNull();
  return page.data;
};

describe("a browser's sign-in", () => {
  test("ends after half an hour without use", async () => {
    const [used, idle] = [await newBrowser(), await newBrowser()];
    expect(await statusOf(used)).toBe(200);
    clock.move(30 * minuteMs - 1_000);
    expect(await statusOf(used)).toBe(200);
    clock.move(1_000);
    expect([await statusOf(idle), await statusOf(used)]).toEqual([401, 200]);
    clock.move(30 * minuteMs);
    expect(await refusalOf(me(used))).toBe("401 unauthenticated");
  });

  test("ends twelve hours after it began, however much it is used", async () => {
    const used = await newBrowser();
    for (let minutes = 0; minutes < 719; minutes += 20) {
      expect(await statusOf(used)).toBe(200);
      clock.move(20 * minuteMs - 2_000);
    }
    expect(await statusOf(used)).toBe(200);
    clock.move(72_000);
    expect(await statusOf(used)).toBe(401);
  });

  test("says when it ends if it is not used again", async () => {
    const { principal } = await bodyOf<Me>(me(await newBrowser()));
    expect(Date.parse(principal.expires_at) - clock.now()).toBeWithin(29 * minuteMs, 30 * minuteMs + 1);
  });

  test("ends with its sign-out at once, by JSON and by the button, and the cookie goes", async () => {
    for (const path of ["/api/v1/auth/logout", "/logout"]) {
      const [here, there] = [await newBrowser(), await newBrowser()];
      expect(await statusOf(here)).toBe(200);
      const answer = await desk.send(path, { method: "POST", headers: here });
      expect(answer.status).toBe(path === "/logout" ? 303 : 204);
      expect(answer.headers.getSetCookie()).toEqual(["specgate=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"]);
      expect(await statusOf(here)).toBe(401);
      expect(await statusOf(there)).toBe(200);
    }
    const actions = (await desk.entries(ed.id)).map(({ action }) => action);
    expect(actions).toEqual(["user.created", "logout", "logout"]);
  });

  test("that is over is signed out of without a word, on the page", async () => {
    const here = await newBrowser();
    await desk.send("/logout", { method: "POST", headers: here });
    const again = await desk.send("/logout", { method: "POST", headers: here });
    expect([again.status, cookieOf(again)]).toEqual([303, ""]);
  });

  test("may do all that its person may, and learns of a new role at once", async () => {
    const here = await newBrowser();
    const scopes = async () => (await bodyOf<Me>(me(here))).scopes;
    expect(await scopes()).toContain("approvals:decide");
    expect(await scopes()).not.toContain("admin");
    await desk.users.change(localActor, ed.id, { role: "admin" });
    expect(await scopes()).toContain("admin");
  });

  test("is nobody's on the planes of machines", async () => {
    const here = await newBrowser();
    for (const path of ["/v1/door", "/mcp/door"]) {
      expect((await desk.send(path, { headers: here })).status).toBe(401);
    }
    const cookie = here.cookie.slice("specgate=".length);
    for (const plane of ["control", "llm", "mcp"] as const) expect(await desk.knock(cookie, plane)).toBe(401);
    const asKey = { ...here, "x-api-key": cookie };
    expect((await desk.send("/v1/door", { headers: asKey })).status).toBe(401);
  });

  test("does not help a bearer: with both, the bearer alone is judged", async () => {
    const [here, other] = [await newBrowser(), await newMember(desk)];
    const phone = await appOf(other);
    const both = (authorization: string) => desk.send("/api/v1/me", { headers: { ...here, authorization } });
    for (const bad of ["Bearer", "Bearer x", "Bearer ", "", "Basic eDp5", `Bearer ${phone.authorization}`]) {
      expect([bad, (await both(bad)).status]).toEqual([bad, 401]);
    }
    expect((await bodyOf<Me>(both(phone.authorization))).principal.id).toBe(other.id);
    // Nor does it lend its scopes.
    const scope = await appOf(ed, "llm:chat");
    const listing = await desk.send("/api/v1/me/sessions", { headers: { ...here, ...scope } });
    expect(await refusalOf(listing)).toBe("403 insufficient_scope");
  });

  test.each<[string, (cookie: string) => Promise<string>]>([
    ["twice", async (cookie) => `specgate=${cookie}; specgate=${cookie}`],
    ["twice, once planted", async (cookie) => `specgate=planted; specgate=${cookie}`],
    ["twice, once empty", async (cookie) => `specgate=${cookie}; specgate=`],
    ["in quotes", async (cookie) => `specgate="${cookie}"`],
    ["under another name", async (cookie) => `Specgate=${cookie}`],
    ["under the name for https", async (cookie) => `__Host-specgate=${cookie}`],
    ["with more behind it", async (cookie) => `specgate=${cookie}x`],
    ["with less", async (cookie) => `specgate=${cookie.slice(0, -1)}`],
    ["with space for a name", async (cookie) => `specgate =${cookie}`],
    [
      "as the hash that is stored",
      async (cookie) => `specgate=${new Bun.CryptoHasher("sha256").update(cookie).digest("hex")}`,
    ],
    ["too long to be one", async () => `specgate=${"x".repeat(6_000)}`],
    ["as an app's token", async () => `specgate=${(await appOf(ed)).authorization.slice(7)}`],
    ["as an API key", async () => `specgate=${await newKey()}`],
    ["as a sign-in's id", async () => `specgate=${(await appOf(ed)).signInId}`],
  ])("is nobody's when the cookie is sent %s", async (_, spelled) => {
    const cookie = await spelled(await newCookie(desk, ed.id));
    expect((await desk.send("/api/v1/me", { headers: { cookie } })).status).toBe(401);
    const page = await desk.send("/", { headers: { cookie } });
    expect(page.headers.get("location")).toBe(`${deskUrl}/login?next=%2F`);
  });

  test("stands beside other cookies of the same host", async () => {
    const cookie = `a=b; xspecgate=x;specgate=${await newCookie(desk, ed.id)} ; specgate2=y; =; specgate`;
    expect((await desk.send("/api/v1/me", { headers: { cookie } })).status).toBe(200);
  });
});

async function newKey(): Promise<string> {
  const owner = { userEmail: ed.email };
  const scope = "control:read control:write";
  return (await desk.keys.create(localActor, { owner, scope })).key;
}

describe("changing the password", () => {
  const change = (dress: Dress, current: string, next = "another long password") =>
    desk.send("/api/v1/me/password", json("PUT", { current_password: current, new_password: next }, dress));

  test("ends all other sign-ins, apps' too, and keeps this one", async () => {
    const [here, there, phone] = [await newBrowser(), await newBrowser(), await appOf(ed)];
    const others = await newBrowser(await newMember(desk));
    for (const one of [here, there, phone, others]) expect(await statusOf(one)).toBe(200);
    expect((await change(here, ed.password)).status).toBe(204);
    for (const one of [there, phone]) expect(await statusOf(one)).toBe(401);
    for (const one of [here, others]) expect(await statusOf(one)).toBe(200);
    const login = (password: string) =>
      desk.send("/api/v1/auth/login", json("POST", { email: ed.email, password }));
    expect((await login(ed.password)).status).toBe(401);
    expect((await login("another long password")).status).toBe(200);
    const entries = await desk.entries(ed.id);
    expect(entries.map(({ action }) => action)).toContain("user.password_changed");
    expect(JSON.stringify(entries)).not.toContain("another long password");
  });

  test("takes the current one, and ten guesses a minute", async () => {
    const here = await newBrowser();
    const guesses = await Promise.all(
      Array.from({ length: 20 }, () => refusalOf(change(here, "a wrong guess"))),
    );
    expect(guesses.filter((refusal) => refusal === "403 invalid_credentials").length).toBeWithin(10, 13);
    expect(await refusalOf(change(here, ed.password))).toBe("429 too_many_attempts");
    expect(await statusOf(here)).toBe(200);
  });

  test.each([
    ["too short", "x".repeat(11), "422 invalid_password"],
    ["too long", "x".repeat(1_025), "422 invalid_password"],
    ["too long in bytes", "é".repeat(513), "422 invalid_password"],
    ["much too long", "x".repeat(5_000), "422 invalid_request"],
  ])("to one that is %s is refused", async (_, next, refusal) => {
    expect(await refusalOf(change(await newBrowser(), ed.password, next))).toBe(refusal);
  });

  test("is nothing that a person without one, or an API key, can do", async () => {
    const { id } = await desk.users.create(localActor, {
      email: `${crypto.randomUUID()}@example.com`,
      role: "user",
    });
    expect(await refusalOf(change(await newBrowser({ id }), "x".repeat(12)))).toBe("409 no_password");
    expect(await refusalOf(change(app(await newKey()), ed.password))).toBe("403 sign_in_needed");
  });

  test("does not undo what an administrator set while the old one was being checked", async () => {
    const olga = await newMember(desk, { cost: 8 });
    const changing = change(await newBrowser(olga), olga.password, "the thief's own password");
    await Bun.sleep(50);
    await desk.users.setPassword(localActor, olga.email, "what the administrator set");
    expect(await refusalOf(changing)).toMatch(/^40[13] /);
    const login = (password: string) =>
      desk.send("/api/v1/auth/login", json("POST", { email: olga.email, password }));
    expect((await login("the thief's own password")).status).toBe(401);
    expect((await login("what the administrator set")).status).toBe(200);
  });
});

describe("what acts for a person", () => {
  test("is listed, an app beside the browsers, the latest first, and this one is marked", async () => {
    const signedIn = await desk.send("/api/v1/auth/login", {
      ...json("POST", { email: ed.email, password: ed.password }),
      headers: {
        "content-type": "application/json",
        "user-agent": "a browser",
        "x-forwarded-for": "203.0.113.9",
      },
    });
    const here = browser(cookieOf(signedIn) ?? "");
    clock.move(1_000);
    const phone = await appOf(ed, "llm:chat control:read");
    const times = {
      created_at: expect.any(String),
      used_at: expect.any(String),
      expires_at: expect.any(String),
    };
    const browserLine = {
      id: expect.stringMatching(/^sgn_[0-9a-f]{32}$/),
      kind: "browser",
      client_id: null,
      client_name: null,
      scope: null,
      method: "password",
      ip: "203.0.113.9",
      user_agent: "a browser",
      ...times,
      current: true,
    };
    const appLine = {
      id: phone.signInId,
      kind: "app",
      client_id: "specgate-desktop",
      client_name: "SpecGate Desktop",
      scope: "llm:chat control:read",
      method: "code",
      ip: null,
      user_agent: null,
      ...times,
      current: false,
    };
    expect(await listed(here)).toEqual([appLine, browserLine] as unknown as SignInView[]);
    expect((await listed(phone)).map(({ current }) => current)).toEqual([true, false]);
    const one = await desk.send(`/api/v1/me/sessions/${phone.signInId}`, { headers: here });
    expect(await one.json()).toEqual(appLine);
  });

  test("is not listed when it has ended, by itself or otherwise", async () => {
    const [here, there] = [await newBrowser(), await newBrowser()];
    await desk.send("/logout", { method: "POST", headers: there });
    const phone = await appOf(ed);
    expect((await listed(here)).map(({ id }) => id)).toContain(phone.signInId);
    expect((await listed(here)).length).toBe(2);
    clock.move(29 * minuteMs);
    expect(await statusOf(here)).toBe(200);
    await newBrowser();
    clock.move(2 * minuteMs);
    expect((await listed(here)).length).toBe(3);
    clock.move(15 * minuteMs);
    expect(await statusOf(here)).toBe(200);
    clock.move(14 * minuteMs);
    expect(await listed(here)).toMatchObject([{ kind: "browser", current: true }]);
  });

  test.each(["DELETE", "the button"])("ends by %s: a browser, an app, and this one itself", async (how) => {
    const [here, there, phone] = [await newBrowser(), await newBrowser(), await appOf(ed)];
    const end = (id: string) =>
      how === "DELETE"
        ? desk.send(`/api/v1/me/sessions/${id}`, { method: "DELETE", headers: here })
        : desk.send("/sign-ins", { method: "POST", headers: here, body: new URLSearchParams({ id }) });
    const done = how === "DELETE" ? 204 : 303;
    const [own] = (await listed(here)).filter(({ current }) => current);
    const [other] = (await listed(there)).filter(({ current }) => current);
    for (const [id, dress] of [
      [other?.id ?? "", there],
      [phone.signInId, phone],
      [own?.id ?? "", here],
    ] as const) {
      expect(await statusOf(dress)).toBe(200);
      expect((await end(id)).status).toBe(done);
      expect(await statusOf(dress)).toBe(401);
      expect((await desk.entries(id)).map(({ action, actor }) => [action, actor])).toEqual([
        ["sign_in.ended", ed.id],
      ]);
    }
  });

  test("is not found when it is somebody else's, or nobody's, or over", async () => {
    const [here, others] = [await newBrowser(), await newMember(desk)];
    const theirs = await newBrowser(others);
    const foreign = (await listed(theirs))[0]?.id ?? "";
    const gone = (await appOf(ed)).signInId;
    await desk.send(`/api/v1/me/sessions/${gone}`, { method: "DELETE", headers: here });
    for (const id of [foreign, gone, "sgn_0", "%00", ed.id]) {
      for (const method of ["GET", "DELETE"]) {
        const { status } = await desk.send(`/api/v1/me/sessions/${id}`, { method, headers: here });
        expect([id, method, status === 400 ? 404 : status]).toEqual([id, method, 404]);
      }
      const body = new URLSearchParams({ id });
      expect((await desk.send("/sign-ins", { method: "POST", headers: here, body })).status).toBe(404);
    }
    expect(await statusOf(theirs)).toBe(200);
  });

  test("is for browsers and apps to see, not for keys, nor for what an app hands to a helper", async () => {
    const project = await desk.projects.create(localActor, { name: "Alpha" });
    const member = { projectId: project.id, userId: ed.id, role: "owner" as const };
    await desk.projects.setMember(localActor, member, null);
    const phone = await appOf(ed);
    const exchanged = await desk.send("/oauth/token", {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: phone.authorization.slice(7),
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
        client_id: "specgate-desktop",
        project_id: project.id,
      }),
    });
    const helper = app((await bodyOf<{ access_token: string }>(exchanged)).access_token);
    expect(await statusOf(helper)).toBe(200);
    for (const dress of [app(await newKey()), helper]) {
      const refusals = [
        desk.send("/api/v1/me/sessions", { headers: dress }),
        desk.send(`/api/v1/me/sessions/${phone.signInId}`, { method: "DELETE", headers: dress }),
        desk.send("/api/v1/auth/logout", { method: "POST", headers: dress }),
        desk.send("/api/v1/keys", json("POST", { scope: "control:read" }, dress)),
        desk.send(
          "/api/v1/clients",
          json("POST", { name: "x", kind: "runner", project_id: project.id, scope: "control:read" }, dress),
        ),
      ];
      expect(await Promise.all(refusals.map(refusalOf))).toEqual(Array(5).fill("403 sign_in_needed"));
    }
    expect(await statusOf(phone)).toBe(200);
    // It still ends with what it came from.
    await desk.send("/api/v1/auth/logout", { method: "POST", headers: phone });
    expect(await statusOf(helper)).toBe(401);
  });

  test("ends with the person, at once, and does not come back with them; keys do", async () => {
    const [here, there, phone, key] = [
      await newBrowser(),
      await newBrowser(),
      await appOf(ed),
      app(await newKey()),
    ];
    const all = [here, there, phone, key];
    for (const one of all) expect(await statusOf(one)).toBe(200);
    await desk.users.disable(localActor, ed.email);
    for (const one of all) expect(await statusOf(one)).toBe(401);
    const page = await desk.send("/", { headers: here });
    expect(page.headers.get("location")).toBe(`${deskUrl}/login?next=%2F`);
    await desk.users.change(localActor, ed.id, { disabled: false });
    expect(await Promise.all([here, there, phone].map(statusOf))).toEqual([401, 401, 401]);
    expect(await statusOf(key)).toBe(200);
  });
});
