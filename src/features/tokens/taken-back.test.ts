import { afterAll, expect, test } from "bun:test";
import { isEndedBy, type Principal } from "../../platform/principal.ts";
import { localActor } from "../../testing/desk.ts";
import { appOf, decideDevice, newPerson, openOAuth } from "../../testing/oauth.ts";
import { refusalOf } from "../../testing/refusals.ts";

const desk = await openOAuth();
afterAll(() => desk.close());
const desktop = appOf(desk.send);

test.each([
  ["a new password", { password: "another long password" }],
  ["being disabled", { disabled: true }],
])("what was allowed and not yet taken ends with %s", async (_, change) => {
  const person = await newPerson(desk);
  const code = await desktop.code(person);
  const device = await desktop.startDevice();
  await decideDevice(person, device.user_code);
  await desk.users.change(localActor, person.id, change);
  // Also for somebody who is let in again.
  await desk.users.change(localActor, person.id, { disabled: false });
  expect(await refusalOf(await desktop.redeem(code))).toBe("invalid_grant");
  expect(await refusalOf(await desktop.poll(device.device_code))).toBe("access_denied");
});

test("the console's cookie is no bearer, in whatever header and spelling", async () => {
  const { id } = await newPerson(desk);
  const origin = { ip: null, userAgent: null, requestId: null };
  const { cookie } = await desk.database.transaction((tx) =>
    desk.signIns.openBrowser(tx, { userId: id, method: "password", origin }),
  );
  const cookies = { cookie: `specgate=${cookie}`, "sec-fetch-site": "same-origin" };
  expect((await desk.send("/api/v1/me", { headers: cookies })).status).toBe(200);
  for (const value of [cookie, `cookie ${cookie}`, `cookie\t${cookie}`]) {
    expect((await desk.send("/v1/door", { headers: { "x-api-key": value } })).status).toBe(401);
    const authorization = `Bearer ${value}`;
    expect((await desk.send("/v1/door", { headers: { authorization } })).status).toBe(401);
  }
  expect((await desk.send("/v1/door", { headers: cookies })).status).toBe(401);
});

test("a token that is revoked again and again is one row of news", async () => {
  const pair = await desktop.signIn(await newPerson(desk));
  const rows = async () =>
    (await desk.database.sql`select count(*)::int as n from revocations`)[0]?.n as number;
  const before = await rows();
  for (let n = 0; n < 5; n++) expect((await desktop.revoke(pair.access_token)).status).toBe(200);
  expect(await rows()).toBe(before + 1);
});

test("an app whose id is a URL with any sign in it ends like every other", () => {
  const id = "https://app.example/@someone/client.json";
  const principal = { endsWith: ["usr_1", id], userId: "usr_1", projectId: "prj_1" } as unknown as Principal;
  expect(isEndedBy(principal, id)).toBe(true);
  expect(isEndedBy(principal, "usr_1 prj_1")).toBe(true);
  expect(isEndedBy(principal, "usr_1 prj_2")).toBe(false);
});
