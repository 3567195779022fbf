import { afterAll, describe, expect, test } from "bun:test";
import { Failure } from "../../platform/failure.ts";
import type { GuardedFetch } from "../../platform/guarded-fetch.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { assemble, deskUrl, localActor, movableClock } from "../../testing/desk.ts";
import { appOf, type Browser, claimsOf, elsewhere, granted, newPerson } from "../../testing/oauth.ts";
import { refusalOf } from "../../testing/refusals.ts";
import { createFetchDocument } from "./documents.ts";

/** The documents of the world, and how often each was asked for. */
const documents = new Map<string, { body: unknown; cacheSeconds?: number }>();
const asked: string[] = [];
const { database } = await testDatabase();
const clock = movableClock();
const assembled = assemble(database, clock, async (url) => {
  asked.push(url);
  const found = documents.get(url);
  if (found === undefined)
    throw new Failure("invalid", "url_unreachable", 'Nobody answers at "that" address.');
  return { cacheSeconds: 0, ...found };
});
const desk = { ...assembled, send: elsewhere(assembled.send) };
afterAll(() => database.close());

const person = await newPerson(desk);
const redirectUri = "http://127.0.0.1:50001/callback";
let apps = 0;
function publish(changes: Record<string, unknown> = {}, cacheSeconds = 0) {
  const id = `https://app${++apps}.example/client.json`;
  const usual = { client_id: id, client_name: "Tool", redirect_uris: ["http://127.0.0.1/callback"] };
  documents.set(id, { body: { ...usual, ...changes }, cacheSeconds });
  return { id, app: appOf(desk.send, id, redirectUri), usual };
}
/** By a new person unless told: a browser's sign-in does not outlive the time that passes here. */
const authorize = async (id: string, browser?: Browser) => {
  const { params } = appOf(desk.send, id, redirectUri).asking({ scope: "llm:chat" });
  return (browser ?? (await newPerson(desk))).get(`/oauth/authorize?${params}`);
};
const times = (id: string) => asked.filter((url) => url === id).length;

describe("an app that is known by its own document", () => {
  test("signs a person in, refreshes and signs out", async () => {
    const { id, app } = publish({ scope: "llm:chat usage:read" });
    const pair = await app.signIn(person);
    expect(claimsOf(pair.access_token)).toMatchObject({ client_id: id, sub: person.id });
    expect(await desk.knock(pair.access_token)).toBe(200);
    const next = await granted(app.refresh(pair.refresh_token));
    await granted(app.revoke(next.refresh_token));
    expect(await refusalOf(await app.refresh(next.refresh_token))).toBe("invalid_grant");
    const [entry] = await desk.entries(id);
    expect(entry).toMatchObject({ action: "client.registered", subject: id });
  });

  test("is said to have named itself, with its address beside the name", async () => {
    const { id, app } = publish({ client_name: "<script>alert(1)</script>" });
    const ticket = await app.ticket(person, app.asking().params);
    const page = await (await person.get(`/oauth/consent?ticket=${ticket}`)).text();
    expect(page).toContain("its name is its own claim");
    expect(page).toContain(id);
    expect(page).not.toContain("<script");
  });

  test("never holds what belongs to people alone", async () => {
    const ada = await newPerson(desk, "admin");
    const { app } = publish({ scope: "admin llm:chat approvals:decide" });
    expect((await app.signIn(ada, { scope: "llm:chat" })).scope).toBe("llm:chat");
    const { params } = app.asking({ scope: "admin" });
    const told = await ada.get(`/oauth/authorize?${params}`);
    // Nobody is sent to an address that a stranger wrote without a click.
    expect([told.status, told.headers.get("location")]).toEqual([400, null]);
    expect(await told.text()).toContain("error=invalid_scope");
  });

  test("is asked for again when its document is no longer fresh", async () => {
    const { id } = publish({}, 300);
    await authorize(id);
    await authorize(id);
    expect(times(id)).toBe(1);
    clock.move(300_000);
    await authorize(id);
    expect(times(id)).toBe(2);
  });

  test("keeps no document for more than a day", async () => {
    const { id } = publish({}, 999_999_999);
    await authorize(id);
    clock.move(86_400_000);
    await authorize(id);
    expect(times(id)).toBe(2);
  });

  test("answers where its document says now, and nowhere else", async () => {
    const { id, usual } = publish();
    const browser = await newPerson(desk);
    expect((await authorize(id, browser)).status).toBe(303);
    documents.set(id, { body: { ...usual, redirect_uris: ["https://moved.example/cb"] } });
    expect((await authorize(id, browser)).status).toBe(400);
  });

  test("is not asked for because a stranger says so", async () => {
    const { id, app } = publish();
    const response = await desk.send(`/oauth/authorize?${app.asking().params}`);
    expect(response.headers.get("location")).toStartWith(`${deskUrl}/login?next=`);
    expect(times(id)).toBe(0);
  });

  test("asks nobody at the token endpoint, which knows only those that a person met", async () => {
    const { id, app } = publish();
    const response = await app.token({ grant_type: "refresh_token", refresh_token: "x" });
    expect([response.status, await refusalOf(response), times(id)]).toEqual([401, "invalid_client", 0]);
  });

  test("stays revoked, whatever its document says and however old it is", async () => {
    const browser = await newPerson(desk);
    const { id, usual } = publish();
    expect((await authorize(id, browser)).status).toBe(303);
    await desk.clients.revoke(localActor, id);
    expect((await authorize(id, browser)).status).toBe(400);
    documents.set(id, { body: { ...usual, client_name: "Another name" } });
    expect((await authorize(id, browser)).status).toBe(400);
    await database.sql`update clients set created_at = created_at - interval '2 days' where id = ${id}`;
    await desk.sweep();
    expect((await authorize(id, browser)).status).toBe(400);
  });

  test("comes back after it was swept away, while its document is fresh", async () => {
    const browser = await newPerson(desk);
    const { id } = publish({}, 86_400);
    expect((await authorize(id, browser)).status).toBe(303);
    await database.sql`delete from clients where id = ${id}`;
    expect((await authorize(id, browser)).status).toBe(303);
    expect(times(id)).toBe(2);
  });
});

describe("a document that does not fit", () => {
  test.each<[string, unknown]>([
    ["no object", "text"],
    ["null", null],
    ["a list", []],
    ["another's client_id", { client_id: "https://other.example/client.json" }],
    ["no client_id", { client_id: undefined }],
    ["a client_id in a list", { client_id: ["x"] }],
    ["no redirect_uris", { redirect_uris: undefined }],
    ["no redirect in its list", { redirect_uris: [] }],
    ["a redirect that is no text", { redirect_uris: [1] }],
    ["a script as redirect", { redirect_uris: ["javascript:alert(1)"] }],
    ["a plain http redirect", { redirect_uris: ["http://app.example/cb"] }],
    ["one bad redirect among good ones", { redirect_uris: ["http://127.0.0.1/callback", "x:y"] }],
    ["too many redirects", { redirect_uris: Array(17).fill("http://127.0.0.1/callback") }],
    ["a redirect with NUL", { redirect_uris: ["https://a.example/\u0000"] }],
    ["a name with control characters", { client_name: "a\u0000" }],
    ["a name that is no text", { client_name: {} }],
    ["a very long name", { client_name: "x".repeat(201) }],
    ["people's scopes alone", { scope: "admin" }],
    ["the implicit grant alone", { response_types: ["token"] }],
    ["a shared secret", { client_secret: "everybody reads this" }],
    ["a method that needs a shared secret", { token_endpoint_auth_method: "client_secret_basic" }],
    ["another one", { token_endpoint_auth_method: "client_secret_post" }],
    ["a signed one", { token_endpoint_auth_method: "client_secret_jwt" }],
  ])("%s: a page, and no redirect", async (_name, changes) => {
    const { id, usual } = publish();
    const isChange = typeof changes === "object" && changes !== null && !Array.isArray(changes);
    documents.set(id, { body: isChange ? { ...usual, ...changes } : changes });
    const response = await authorize(id);
    expect([response.status, response.headers.get("location"), times(id)]).toEqual([400, null, 1]);
    expect(response.headers.get("content-type")).toStartWith("text/html");
    expect(await desk.clients.find(id)).toBeUndefined();
  });

  test("nobody at the address: a page with the reason, as text", async () => {
    const response = await authorize("https://gone.example/client.json");
    expect(response.status).toBe(400);
    expect(await response.text()).toContain("Nobody answers at &quot;that&quot; address.");
  });

  test.each([
    ["http", "http://a.example/client"],
    ["no path", "https://a.example/"],
    ["no path at all", "https://a.example"],
    ["a fragment", "https://a.example/client#x"],
    ["an empty fragment", "https://a.example/client#"],
    ["a query", "https://a.example/client?x=1"],
    ["an empty query", "https://a.example/client?"],
    ["a user name", "https://u@a.example/client"],
    ["a password alone", "https://:p@a.example/client"],
    ["dots in the path", "https://a.example/x/../client"],
    ["dots in code", "https://a.example/%2e%2e/client"],
    ["capitals in the host", "https://A.example/client"],
    ["the usual port, spelled out", "https://a.example:443/client"],
    ["a backslash", "https:\\\\a.example\\client"],
    ["a tab", "https://a.exam\tple/client"],
    ["a number for a host", "https://2130706433/client"],
    ["very long", `https://a.example/${"x".repeat(600)}`],
    ["another scheme", "ftp://a.example/client"],
  ])("an address with %s is never asked", async (_name, id) => {
    const before = asked.length;
    expect((await authorize(id)).status).toBe(400);
    expect(asked.length).toBe(before);
  });
});

describe("fetching a document", () => {
  const fetchWith = (response: () => Response) => {
    const calls: unknown[][] = [];
    const fetch: GuardedFetch = async (...call) => {
      calls.push(call);
      return response();
    };
    return { fetchDocument: createFetchDocument(fetch), calls };
  };
  const url = "https://app.example/client.json";
  const answer = (body: string, headers: Record<string, string> = {}, status = 200) =>
    fetchWith(
      () => new Response(body, { status, headers: { "content-type": "application/json", ...headers } }),
    );

  test("asks for public JSON, small and quick, and follows no redirect", async () => {
    const { fetchDocument, calls } = answer('{"a":1}');
    expect(await fetchDocument(url)).toEqual({ body: { a: 1 }, cacheSeconds: 300 });
    expect(calls).toEqual([
      [url, { headers: { accept: "application/json" } }, { bytesMax: 16_384, timeoutMs: 5_000 }],
    ]);
  });

  test.each<[string, string, Record<string, string>, number]>([
    ["a redirect", "{}", { location: "https://b.example/" }, 302],
    ["an error", "{}", {}, 404],
    ["an empty answer", "", {}, 204],
    ["HTML", "{}", { "content-type": "text/html" }, 200],
    ["a script", "{}", { "content-type": "text/javascript" }, 200],
    ["text", "{}", { "content-type": "text/plain; application/json" }, 200],
    ["no JSON", "nothing", {}, 200],
    ["half of it", '{"a":', {}, 200],
    ["a list", "[]", {}, 200],
    ["a member twice", '{"a":1,"a":2}', {}, 200],
    ["very deep JSON", `${'{"a":'.repeat(200)}1${"}".repeat(200)}`, {}, 200],
  ])("%s is refused", async (_name, body, headers, status) => {
    const made =
      status === 204 ? fetchWith(() => new Response(null, { status })) : answer(body, headers, status);
    await expect(made.fetchDocument(url)).rejects.toThrow();
  });

  test.each([
    ["nothing", undefined, 300],
    ["an hour", "max-age=3600", 3_600],
    ["an hour, among others", "public, Max-Age=3600, immutable", 3_600],
    ["no time", "max-age=0", 0],
    ["never", "no-store, max-age=3600", 0],
    ["asked each time", "no-cache", 0],
    ["words", "max-age=soon", 300],
    ["less than nothing", "max-age=-1", 300],
  ])("with %s about keeping it is kept for so long", async (_name, header, seconds) => {
    const { fetchDocument } = answer("{}", header === undefined ? {} : { "cache-control": header });
    expect((await fetchDocument(url)).cacheSeconds).toBe(seconds);
  });

  test.each([
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON",
    "application/cimd+json",
  ])("%s is JSON", async (type) => {
    expect((await answer("{}", { "content-type": type }).fetchDocument(url)).body).toEqual({});
  });
});
