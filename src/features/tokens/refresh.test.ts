import { afterAll, describe, expect, test } from "bun:test";
import { assemble, deskUrl, localActor } from "../../testing/desk.ts";
import {
  appOf,
  claimsOf,
  elsewhere,
  granted,
  newPerson,
  openOAuth,
  type Pair,
  refusedAfter,
} from "../../testing/oauth.ts";
import { refusalOf } from "../../testing/refusals.ts";

const desk = await openOAuth();
const { database } = desk;
/** Another instance over the same database. */
const second = assemble(database, desk.clock);
afterAll(() => desk.close());

const app = appOf(desk.send);
const appOfSecond = appOf(elsewhere(second.send));
const person = await newPerson(desk);
const signInOf = ({ access_token }: Pair) => String(claimsOf(access_token).jti).split(".")[0] ?? "";
const recorded = async (pair: Pair, action: string) => {
  const rows = await database.sql<{ subject: string; details: Record<string, unknown> }[]>`
    select subject, details from audit where action = ${action}`;
  return rows.filter(({ subject, details }) => [subject, details.sign_in].includes(signInOf(pair)));
};
const generations = async (pair: Pair) => {
  const [row] = await database.sql`
    select count(*)::int as n from refresh_tokens where sign_in_id = ${signInOf(pair)}`;
  return row?.n as number;
};

describe("a refresh token", () => {
  test("gives a new pair, and the old access token goes on", async () => {
    const first = await app.signIn(person);
    const next = await granted(app.refresh(first.refresh_token));
    expect(next.refresh_token).not.toBe(first.refresh_token);
    expect(claimsOf(next.access_token).jti).not.toBe(claimsOf(first.access_token).jti);
    expect(signInOf(next)).toBe(signInOf(first));
    expect(await desk.knock(first.access_token)).toBe(200);
    expect(await desk.knock(next.access_token)).toBe(200);
    expect(await recorded(first, "token.refreshed")).toHaveLength(1);
  });

  test("used fifty times at once, on two instances, gives one and the same pair", async () => {
    const first = await app.signIn(person);
    const asked = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? app : appOfSecond));
    const answers = await Promise.all(
      asked.map(async (one) => (await one.refresh(first.refresh_token)).text()),
    );
    expect(new Set(answers).size).toBe(1);
    const pair = JSON.parse(answers[0] ?? "") as Pair;
    expect(await desk.knock(pair.access_token)).toBe(200);
    expect(await generations(first)).toBe(2);
    expect(await recorded(first, "token.refreshed")).toHaveLength(1);
    await granted(app.refresh(pair.refresh_token));
  });

  test("fifty different requests at once make one generation and end nothing", async () => {
    const first = await app.signIn(person);
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => app.refresh(first.refresh_token, { ttl_seconds: String(60 + i) })),
    );
    const good = answers.filter(({ ok }) => ok);
    expect(good).toHaveLength(1);
    for (const answer of answers) if (!answer.ok) expect(await refusalOf(answer)).toBe("invalid_grant");
    expect(await generations(first)).toBe(2);
    await granted(app.refresh((await granted(good[0] as Response)).refresh_token));
  });

  test("sent again within ten seconds, because the answer got lost, gives the very same pair", async () => {
    const first = await app.signIn(person);
    const asked = { scope: "llm:chat", ttl_seconds: "120", resource: `${deskUrl}/v1` };
    const answer = await (await app.refresh(first.refresh_token, asked)).text();
    desk.clock.move(9_000);
    expect(await (await app.refresh(first.refresh_token, asked)).text()).toBe(answer);
    expect(await (await appOfSecond.refresh(first.refresh_token, asked)).text()).toBe(answer);
    expect(await generations(first)).toBe(2);
  });

  test("sent again with another request is refused, and nothing ends", async () => {
    const first = await app.signIn(person);
    const next = await granted(app.refresh(first.refresh_token));
    for (const other of [{ scope: "llm:chat" }, { ttl_seconds: "900" }, { resource: `${deskUrl}/v1` }])
      expect(await refusalOf(await app.refresh(first.refresh_token, other))).toBe("invalid_grant");
    expect(await desk.knock(next.access_token)).toBe(200);
    await granted(app.refresh(next.refresh_token));
    expect(await recorded(first, "token.reused")).toEqual([]);
  });

  test.each<[string, (first: Pair, next: Pair) => Promise<string>]>([
    [
      "its parent after ten seconds",
      async (first) => {
        desk.clock.move(10_001);
        return first.refresh_token;
      },
    ],
    [
      "its grandparent at once",
      async (first, next) => {
        await granted(app.refresh(next.refresh_token));
        return first.refresh_token;
      },
    ],
  ])("%s ends the sign-in with all that came of it", async (_name, older) => {
    const first = await app.signIn(person);
    const next = await granted(app.refresh(first.refresh_token));
    const exchanged = await granted(
      app.token({
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: next.access_token,
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
      }),
    );
    const tokens = [first, next, exchanged].map(({ access_token }) => access_token);
    for (const token of tokens) expect(await desk.knock(token)).toBe(200);
    const refused = await app.refresh(await older(first, next));
    expect(await refusalOf(refused)).toBe("invalid_grant");
    await refusedAfter(desk.send, ...tokens);
    expect(await refusalOf(await app.refresh(next.refresh_token))).toBe("invalid_grant");
    const [reused, ...more] = await recorded(first, "token.reused");
    expect(more).toEqual([]);
    expect(reused?.details).toEqual({ user_id: person.id, client_id: app.clientId });
  });

  test("narrowed once, gives all that was granted the next time", async () => {
    const first = await app.signIn(person);
    const narrow = await granted(app.refresh(first.refresh_token, { scope: "usage:read" }));
    expect(narrow.scope).toBe("usage:read");
    expect(await desk.knock(narrow.access_token)).toBe(403);
    expect((await granted(app.refresh(narrow.refresh_token))).scope).toBe("llm:chat usage:read");
  });

  test("a mistyped scope costs nothing", async () => {
    const first = await app.signIn(person);
    expect(await refusalOf(await app.refresh(first.refresh_token, { scope: "lm:chat" }))).toBe(
      "invalid_scope",
    );
    await granted(app.refresh(first.refresh_token));
  });

  test("goes on for thirty days from each use", async () => {
    let pair = await app.signIn(person);
    for (let i = 0; i < 3; i++) {
      desk.clock.move(29 * 86_400_000);
      pair = await granted(app.refresh(pair.refresh_token));
    }
    desk.clock.move(30 * 86_400_000);
    expect(await refusalOf(await app.refresh(pair.refresh_token))).toBe("invalid_grant");
  });

  test("gives no more than the person holds by then", async () => {
    const ada = await newPerson(desk, "admin");
    const pair = await app.signIn(ada, { scope: "llm:chat admin" });
    expect(pair.scope).toBe("llm:chat admin");
    expect(claimsOf(pair.access_token).role).toBe("admin");
    await desk.users.change(localActor, ada.id, { role: "user" });
    const next = await granted(app.refresh(pair.refresh_token));
    expect([next.scope, claimsOf(next.access_token).role]).toEqual(["llm:chat", "user"]);
  });

  test("gives nothing where nothing is left", async () => {
    const ada = await newPerson(desk, "admin");
    const pair = await app.signIn(ada, { scope: "admin" });
    await desk.users.change(localActor, ada.id, { role: "user" });
    expect(await refusalOf(await app.refresh(pair.refresh_token))).toBe("invalid_scope");
  });
});
