/**
 * Every door that a cookie opens and that changes something, asked in every way in which a page could make a browser ask.
 */
import { describe, expect, test } from "bun:test";
import { createApp } from "../app.ts";
import { localActor } from "../testing/desk.ts";
import { startGateway } from "../testing/gateway.ts";
import { putObjects } from "../testing/objects.ts";
import { json, newCookie, refusalOf } from "../testing/people.ts";
import { cookieName, readCookie, setCookie } from "./cookies.ts";

const gateway = await startGateway();
const { ada, vera } = await gateway.people();
const { url } = gateway;
const tauri = "tauri://localhost";

type Door = { method: string; path: string; policy: { plane: string; public?: string } };
/** Whatever does not go through the cookie has its own proof: machines' endpoints of OAuth, and the machines' planes. */
const doors = createApp(gateway.parts).doors.filter(
  ({ method, policy }) => method !== "GET" && (policy.plane === "console" || policy.plane === "control"),
) as readonly Door[];

const sites = [null, "same-origin", "same-site", "cross-site", "none"];
const modes = ["navigate", "cors", "no-cors"];
const anotherPort = "http://127.0.0.1:9";
const origins = [null, url, "https://evil.example", "null", anotherPort, tauri];
const ways = sites.flatMap((site) =>
  modes.flatMap((mode) => origins.map((origin) => ({ site, mode, origin }))),
);
type Way = (typeof ways)[number];

/** By the contract. A page's own origin is the public one; the desktop app's may call /api/v1, with a bearer alone. */
function expected({ policy }: Door, { site, mode, origin }: Way): string {
  const mayCall = origin === null || origin === url || (origin === tauri && policy.plane === "control");
  if (!mayCall) return "origin_not_allowed";
  if (origin === tauri) return policy.public === undefined ? "nobody" : "cross_site";
  if (site === null) return origin === url ? "passes" : "cross_site";
  return site === "same-origin" || (site === "none" && mode === "navigate") ? "passes" : "cross_site";
}

async function outcomeOf({ method, path, policy }: Door, { site, mode, origin }: Way): Promise<string> {
  // Signing out is what it is about, so each needs somebody to sign out.
  const cookie = path.endsWith("logout") ? await newCookie(gateway, ada.id) : ada.cookie;
  const response = await fetch(url + path.replaceAll(/:\w+/g, "x"), {
    method,
    redirect: "manual",
    headers: {
      cookie: `specgate=${cookie}`,
      "content-type": policy.plane === "console" ? "application/x-www-form-urlencoded" : "application/json",
      "sec-fetch-mode": mode,
      ...(site === null ? {} : { "sec-fetch-site": site }),
      ...(origin === null ? {} : { origin }),
    },
    body: policy.plane === "console" ? "" : "{}",
  });
  const text = await response.text();
  if (response.status === 401 && text.includes('"code":"unauthenticated"')) return "nobody";
  if (response.status !== 403) return "passes";
  // Pages say it to people.
  if (text.includes("Pages of this origin may not call this path")) return "origin_not_allowed";
  return text.includes("own pages: send Sec-Fetch-Site") ? "cross_site" : "passes";
}

describe("other sites' pages change nothing with a person's cookie", () => {
  test("at any of these doors", () => {
    expect(doors.length).toBeGreaterThan(20);
    expect(ways.length).toBe(90);
  });

  test.each(doors.map((door) => [`${door.method} ${door.path}`, door] as const))("%s", async (_, door) => {
    const outcomes = await Promise.all(ways.map((way) => outcomeOf(door, way)));
    const seen = ways.map((way, n) => ({ ...way, outcome: outcomes[n] }));
    expect(seen.filter((way) => way.outcome !== expected(door, way))).toEqual([]);
  });

  test("but lead to its pages, signed in", async () => {
    const headers = {
      cookie: `specgate=${ada.cookie}`,
      "sec-fetch-site": "cross-site",
      "sec-fetch-mode": "navigate",
    };
    const page = await fetch(`${url}/`, { headers, redirect: "manual" });
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining(ada.email)]);
  });

  test("and the desktop app's pages read nothing with it either", async () => {
    const answer = await fetch(`${url}/api/v1/me`, {
      headers: { cookie: `specgate=${ada.cookie}`, origin: tauri },
    });
    expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([401, tauri]);
    expect(answer.headers.has("access-control-allow-credentials")).toBe(false);
    const { bearer } = gateway.robo;
    const both = { cookie: `specgate=${ada.cookie}`, origin: tauri, authorization: `Bearer ${bearer}` };
    const me = (await (await fetch(`${url}/api/v1/me`, { headers: both })).json()) as {
      principal: { id: string };
    };
    expect(me.principal.id).toBe(gateway.robo.id);
  });
});

describe("bodies of JSON routes", async () => {
  const client = await gateway.clients.create(localActor, {
    name: "one",
    kind: "runner",
    projectId: gateway.robo.projectId,
    scope: "llm:chat",
  });
  const owner = { clientId: client.client_id };
  const { id: key } = await gateway.keys.create(localActor, { owner, scope: "llm:chat" });
  const params: Record<string, string> = {
    ...(await putObjects(gateway.database, gateway.robo.projectId, gateway.robo.id)),
    project: gateway.robo.projectId,
    user: vera.id,
    client: client.client_id,
    key,
  };
  const reading = doors.filter(
    ({ method, path, policy }) =>
      policy.plane === "control" && method !== "DELETE" && !/logout$|rotation$/.test(path),
  );
  const types = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "text/plain; application/json",
    "application/jsonp",
    "application/merge-patch+json",
    "application/json, text/plain",
    "",
  ];
  test.each(reading.map((door) => [`${door.method} ${door.path}`, door] as const))(
    "%s takes nothing that a form of another page could send",
    async (_, { method, path }) => {
      const send = (type: string) =>
        ada.fetch(
          path.replaceAll(/:(\w+)/g, (_, name: string) => params[name] ?? "x"),
          {
            method,
            headers: { "content-type": type },
            body: new TextEncoder().encode("[]"),
          },
        );
      for (const type of types)
        expect([type, await refusalOf(send(type))]).toEqual([type, "415 unsupported_media_type"]);
      for (const type of ["application/json", "Application/JSON; charset=utf-8"]) {
        expect([type, await refusalOf(send(type))]).toEqual([type, "400 invalid_json"]);
      }
    },
  );
});

describe("signing in from another site", () => {
  const typed = { email: "nobody@example.com", password: "short" };
  const login = (headers: Record<string, string>) =>
    refusalOf(gateway.nobody.fetch("/api/v1/auth/login", json("POST", typed, headers)));

  test("is refused to browsers, and programs that say nothing of an origin may", async () => {
    expect(await login({})).toBe("401 invalid_credentials");
    expect(await login({ origin: url })).toBe("401 invalid_credentials");
    expect(await login({ "sec-fetch-site": "same-origin" })).toBe("401 invalid_credentials");
    for (const headers of [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { "sec-fetch-site": "none", "sec-fetch-mode": "cors" },
      { "sec-fetch-site": "cross-site", origin: url },
      { origin: tauri },
      { cookie: "specgate=x" },
    ] as Record<string, string>[]) {
      expect([headers, await login(headers)]).toEqual([headers, "403 cross_site"]);
    }
    expect(await login({ origin: "null" })).toBe("403 origin_not_allowed");
  });
});

describe("the cookie itself", () => {
  test("is named after how the gateway is reached", () => {
    expect(cookieName("https://gate.example")).toBe("__Host-specgate");
    expect(cookieName("http://127.0.0.1:8080")).toBe("specgate");
    expect(setCookie("https://gate.example", "__Host-x", "v", 0)).toBe(
      "__Host-x=v; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure",
    );
  });

  test.each([
    ["specgate=a", "a"],
    ["x=y; specgate=a=b;z", "a=b"],
    ["specgate=", ""],
    ["specgate", null],
    ["specgate=a; specgate=a", null],
    ["specgate=a;;specgate=b", null],
    ["Specgate=a", null],
    ["__Host-specgate=a", null],
    ["", null],
  ])("%p holds %p", (cookie, value) => {
    expect(readCookie(new Headers({ cookie }), "specgate")).toBe(value);
  });

  test("of two headers is nobody's", async () => {
    const twice: [string, string][] = [
      ["cookie", `specgate=${ada.cookie}`],
      ["cookie", `specgate=${vera.cookie}`],
    ];
    expect((await fetch(`${url}/api/v1/me`, { headers: twice })).status).toBe(401);
  });
});
