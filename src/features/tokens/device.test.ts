import { afterAll, describe, expect, test } from "bun:test";
import { deskUrl, localActor } from "../../testing/desk.ts";
import {
  appOf,
  claimsOf,
  decideDevice,
  deviceTicket,
  granted,
  newPerson,
  openOAuth,
} from "../../testing/oauth.ts";
import { refusalOf } from "../../testing/refusals.ts";
import type { StartedDevice } from "./contract.ts";

const desk = await openOAuth();
afterAll(() => desk.close());

const desktop = appOf(desk.send);
const person = await newPerson(desk);
const newApp = async (name: string) => {
  const made = await desk.clients.create(localActor, { name, kind: "desktop", scope: "llm:chat usage:read" });
  return appOf(desk.send, made.client_id);
};
const polled = async ({ device_code }: StartedDevice, app = desktop) => {
  const response = await app.poll(device_code);
  return response.ok ? "200" : await refusalOf(response);
};

describe("the device flow", () => {
  test("shows a code, waits, and gives a pair once a person said yes", async () => {
    const device = await desktop.startDevice({ resource: `${deskUrl}/v1` });
    expect(device).toEqual({
      device_code: expect.stringMatching(/^sgd_[0-9A-Za-z]{43}$/),
      user_code: expect.stringMatching(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[2-9]{4}$/),
      verification_uri: `${deskUrl}/device`,
      verification_uri_complete: `${deskUrl}/device?user_code=${device.user_code}`,
      expires_in: 600,
      interval: 5,
    });
    expect(await polled(device)).toBe("authorization_pending");
    const decided = await decideDevice(person, device.user_code);
    expect([decided.status, await decided.text()]).toEqual([200, expect.stringContaining("Connected")]);
    desk.clock.move(5_000);
    const pair = await granted(desktop.poll(device.device_code));
    expect(pair).toMatchObject({ token_type: "Bearer", expires_in: 900, scope: "llm:chat usage:read" });
    expect(claimsOf(pair.access_token)).toMatchObject({ sub: person.id, role: "user", aud: `${deskUrl}/v1` });
    expect(await desk.knock(pair.access_token)).toBe(200);
    await granted(desktop.refresh(pair.refresh_token));
  });

  test("asks who polls too fast for more and more patience, and forgives nothing", async () => {
    const device = await desktop.startDevice();
    const after = async (milliseconds: number) => {
      desk.clock.move(milliseconds);
      return polled(device);
    };
    expect(await after(0)).toBe("authorization_pending");
    expect(await after(5_000)).toBe("authorization_pending");
    expect(await after(1_000)).toBe("slow_down");
    expect(await after(5_000)).toBe("slow_down");
    expect(await after(10_000)).toBe("slow_down");
    expect(await after(15_000)).toBe("slow_down");
    expect(await after(25_000)).toBe("authorization_pending");
    expect(await after(25_000)).toBe("authorization_pending");
    await decideDevice(person, device.user_code);
    expect(await after(0)).toBe("200");
  });

  test("gives what was ticked and nothing else", async () => {
    const device = await desktop.startDevice({ scope: "llm:chat usage:read mcp:read" });
    await decideDevice(person, device.user_code, ["usage:read", "admin", "mcp:write"]);
    expect((await granted(desktop.poll(device.device_code, { scope: "llm:chat" }))).scope).toBe("usage:read");
  });

  test("tells the device no, again and again", async () => {
    const device = await desktop.startDevice();
    const decided = await decideDevice(person, device.user_code, null);
    expect(await decided.text()).toContain("Denied");
    expect([await polled(device), await polled(device)]).toEqual(["access_denied", "access_denied"]);
  });

  test("redeemed twenty times at once gives one pair", async () => {
    const device = await desktop.startDevice();
    await decideDevice(person, device.user_code);
    const answers = await Promise.all(Array.from({ length: 20 }, () => polled(device)));
    expect(answers.toSorted()).toEqual(["200", ...Array<string>(19).fill("invalid_grant")]);
  });

  test("decided by two browsers at once is decided once", async () => {
    const device = await desktop.startDevice();
    const two = [person, await newPerson(desk)];
    const tickets = await Promise.all(two.map((one) => deviceTicket(one, device.user_code)));
    const decisions = await Promise.all(
      two.map((one, i) =>
        one.post("/device", { ticket: tickets[i] ?? "", decision: "allow", scope: "llm:chat" }),
      ),
    );
    expect(decisions.map(({ status }) => status).toSorted()).toEqual([200, 400]);
    const pair = await granted(desktop.poll(device.device_code));
    expect(claimsOf(pair.access_token).sub).toBe(two[decisions.findIndex(({ ok }) => ok)]?.id ?? "");
  });

  test("an address begins sixty a minute", async () => {
    const begin = (ip: string) =>
      desk.send("/oauth/device_authorization", {
        method: "POST",
        headers: { "x-forwarded-for": ip },
        body: new URLSearchParams({ client_id: desktop.clientId }),
      });
    const answers = await Promise.all(Array.from({ length: 60 }, () => begin("10.253.0.1")));
    expect(answers.every(({ ok }) => ok)).toBe(true);
    const refused = await begin("10.253.0.1");
    expect([refused.status, await refusalOf(refused)]).toEqual([429, "temporarily_unavailable"]);
    expect((await begin("10.253.0.2")).status).toBe(200);
  });
});

describe("the page of a device", () => {
  test("says which app asks, for what, from where", async () => {
    const app = await newApp("Terminal");
    const headers = { "x-forwarded-for": "203.0.113.9", "user-agent": "curl/8 <script>alert(1)</script>" };
    const body = new URLSearchParams({ client_id: app.clientId, scope: "llm:chat" });
    const started = desk.send("/oauth/device_authorization", { method: "POST", headers, body });
    const { user_code } = await granted<StartedDevice>(started);
    const response = await person.post("/device", { user_code });
    const page = await response.text();
    for (const shown of [
      "Terminal",
      app.clientId,
      user_code,
      person.email,
      "203.0.113.9",
      "curl/8 &lt;script&gt;",
    ])
      expect(page).toContain(shown);
    expect(page).toContain('value="llm:chat" checked');
    expect(page).not.toContain("usage:read");
    expect(page).not.toContain("<script");
    expect(response.headers.get("content-security-policy")).toContain("form-action 'self';");
    expect(response.headers.get("x-frame-options")).toBe("DENY");
  });

  test.each(["lower case", "no hyphen", "spaces"])("takes a code in %s", async (way) => {
    const { user_code } = await desktop.startDevice();
    const typed = {
      "lower case": user_code.toLowerCase(),
      "no hyphen": user_code.replace("-", ""),
      spaces: ` ${user_code.replace("-", " ")} `,
    }[way];
    expect(await deviceTicket(person, typed ?? "")).toStartWith("sgt_");
  });

  test("waits for a press even when the link holds the code", async () => {
    const device = await desktop.startDevice();
    const response = await person.get(`/device?user_code=${device.user_code}`);
    expect(await response.text()).toContain(`value="${device.user_code}"`);
    expect(await polled(device)).toBe("authorization_pending");
    const stranger = await desk.send(`/device?user_code=${device.user_code}`);
    expect(stranger.headers.get("location")).toStartWith(`${deskUrl}/login?next=%2Fdevice`);
  });

  test("shows a hostile link and a hostile name as text", async () => {
    const hostile = '"><script>alert(1)</script>';
    const linked = await person.get(`/device?user_code=${encodeURIComponent(hostile)}`);
    expect(await linked.text()).not.toContain("<script");
    const typed = await person.post("/device", { user_code: hostile });
    expect(await typed.text()).not.toContain("<script");
    const { user_code } = await (await newApp(hostile)).startDevice();
    const named = await (await person.post("/device", { user_code })).text();
    expect(named).toContain("&quot;&gt;&lt;script&gt;");
    expect(named).not.toContain("<script");
  });

  test("ticks nothing that weighs much, whatever was asked for", async () => {
    const ada = await newPerson(desk, "admin");
    const { user_code } = await desktop.startDevice({ scope: "llm:chat admin approvals:decide" });
    const page = await (await ada.post("/device", { user_code })).text();
    expect(page).toContain('value="llm:chat" checked');
    for (const scope of ["admin", "approvals:decide"]) {
      expect(page).toContain(`value="${scope}"`);
      expect(page).not.toContain(`value="${scope}" checked`);
    }
  });

  test("offers nobody what they do not hold", async () => {
    const device = await desktop.startDevice({ scope: "llm:chat admin" });
    const page = await (await person.post("/device", { user_code: device.user_code })).text();
    expect(page).not.toContain('value="admin"');
    await decideDevice(person, device.user_code, ["llm:chat", "admin"]);
    expect((await granted(desktop.poll(device.device_code))).scope).toBe("llm:chat");
  });
});
