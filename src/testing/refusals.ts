/**
 * Tables of refusals. A family is a good request, made anew for each row; a row is one change to it, the sentence of the
 * standard that the change breaks, and what comes back. The good request itself is tried too, and a change that changes
 * nothing is an error, so that no row passes for another reason than its own.
 */
import { describe, expect, test } from "bun:test";
import { deskUrl } from "./desk.ts";
import type { Send } from "./oauth.ts";

/** A request on its way: `fields` go into the URL of a GET and into the body of anything else, unless `body` is given. */
export type Asked = {
  method: string;
  path: string;
  fields: URLSearchParams;
  headers: Headers;
  body: Sent | null;
};
type Sent = string | Uint8Array<ArrayBuffer>;
export type Change = (asked: Asked) => unknown;
/** `outcome`: see `outcomeOf`. */
export type Row = readonly [section: string, sentence: string, change: Change, outcome: string];
export type Family = {
  name: string;
  /** What the good request gets. */
  good: string;
  ask: () => Promise<Asked> | Asked;
  rows: readonly Row[];
};

export const asking = (
  method: "GET" | "POST",
  path: string,
  fields: URLSearchParams | Record<string, string> = {},
  headers: Record<string, string> = {},
): Asked => ({
  method,
  path,
  fields: new URLSearchParams(fields),
  headers: new Headers(headers),
  body: null,
});

export function tryFamily(send: Send, { name, good, ask, rows }: Family): void {
  describe(name, () => {
    test("as it stands it is answered", async () => {
      expect(await outcomeOf(send, await ask())).toBe(good);
    });
    test.each(rows.map(([section, sentence, ...rest]) => [section, sentence, ...rest] as const))(
      "%s: %s",
      async (_section, _sentence, change, outcome) => {
        const asked = await ask();
        const before = await keyOf(asked);
        const elsewhereChanged = (await change(asked)) === happened;
        if (!elsewhereChanged) expect(await keyOf(asked)).not.toBe(before);
        expect(await outcomeOf(send, asked)).toBe(outcome);
      },
    );
  });
}

/** What a change answers when it changed the world and not the request. */
const happened = Symbol("happened");

const keyOf = async ({ method, path, fields, headers, body }: Asked): Promise<string> =>
  JSON.stringify([method, path, [...fields], [...headers], await new Response(body).text()]);

/**
 * `<status> <error>` of RFC 6749's JSON, the bare status of any other JSON, `page <status>`, `to sign in`, `to consent`,
 * or, back at the app, `app code` and `app <error>`. What each of these must look like is asserted here.
 */
async function outcomeOf(send: Send, asked: Asked): Promise<string> {
  const { method, path, fields, headers, body } = asked;
  const inUrl = method === "GET" || method === "HEAD";
  const response = inUrl
    ? await send(fields.size === 0 ? path : `${path}?${fields}`, { method, headers })
    : await send(path, { method, headers, body: body ?? fields });
  const location = response.headers.get("location");
  if (location !== null) return destinationOf(location, asked);
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("text/html")) {
    expect(response.headers.get("content-security-policy")).toStartWith("default-src 'none'");
    return `page ${response.status}`;
  }
  expect(type).toStartWith("application/json");
  return response.ok ? goodOutcome(response) : `${response.status} ${await refusalOf(response)}`;
}

async function goodOutcome(response: Response): Promise<string> {
  const body = (await response.json()) as { active?: boolean };
  return body.active === false ? "inactive" : String(response.status);
}

/** RFC 6749 section 5.2: the error of an answer that has its shape, is never stored, and speaks printable ASCII. */
export async function refusalOf(response: Response): Promise<string> {
  expect(response.headers.get("cache-control")).toBe("no-store");
  if (response.status < 402) expect(response.headers.get("pragma")).toBe("no-cache");
  const challenge = response.headers.get("www-authenticate");
  if (response.status === 401) expect(challenge).toStartWith("Basic ");
  else expect(challenge).toBeNull();
  if (response.status === 429) expect(Number(response.headers.get("retry-after"))).toBePositive();
  const body = (await response.json()) as { error: string; error_description: string };
  expect(Object.keys(body).sort()).toEqual(["error", "error_description"]);
  expect(body.error).toMatch(errorForm);
  expect(body.error_description).toMatch(errorForm);
  return body.error;
}

const errorForm = /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/;

function destinationOf(location: string, { path, fields }: Asked): string {
  const url = new URL(location);
  if (url.href.startsWith(`${deskUrl}/login?next=`)) {
    expect(url.searchParams.get("next")).toStartWith(path);
    return "to sign in";
  }
  if (url.href.startsWith(`${deskUrl}/oauth/consent?ticket=`)) return "to consent";
  expect(url.searchParams.getAll("iss")).toEqual([deskUrl]);
  const redirectUri = fields.get("redirect_uri");
  if (redirectUri !== null) {
    expect(location).toStartWith(redirectUri);
    const states = fields.getAll("state");
    expect(url.searchParams.getAll("state")).toEqual(states.length === 1 ? states : []);
  }
  const error = url.searchParams.get("error");
  if (error === null) return url.searchParams.get("code") === null ? `astray: ${location}` : "app code";
  expect(url.searchParams.has("code")).toBe(false);
  expect(url.searchParams.get("error_description") ?? "none").toMatch(errorForm);
  return `app ${error}`;
}

type Value = string | (() => string | Promise<string>);
const given = (value: Value) => (typeof value === "string" ? value : value());

export const without =
  (name: string): Change =>
  ({ fields }) => {
    if (!fields.has(name)) throw new Error(`there is no ${name} to leave out`);
    fields.delete(name);
  };
export const set =
  (name: string, value: Value): Change =>
  async ({ fields }) =>
    fields.set(name, await given(value));
export const empty = (name: string): Change => set(name, "");
/** Once more, with the same value or another. */
export const again =
  (name: string, value?: Value): Change =>
  async ({ fields }) =>
    fields.append(name, value === undefined ? (fields.get(name) ?? "") : await given(value));
export const header =
  (name: string, value: Value): Change =>
  async ({ headers }) =>
    headers.set(name, await given(value));
export const withoutHeader =
  (name: string): Change =>
  ({ headers }) => {
    if (!headers.has(name)) throw new Error(`there is no header ${name} to leave out`);
    headers.delete(name);
  };
export const body =
  (text: Sent, type: string): Change =>
  (asked) => {
    asked.body = text;
    asked.headers.set("content-type", type);
  };
/** Moves a parameter into the URL. */
const inUrl =
  (name: string): Change =>
  (asked) => {
    asked.path += `?${new URLSearchParams({ [name]: asked.fields.get(name) ?? "" })}`;
    asked.fields.delete(name);
  };
export const by =
  (method: string): Change =>
  (asked) => {
    asked.method = method;
  };
/** Something that goes on elsewhere before the request is sent. */
export const after =
  (work: (asked: Asked) => unknown): Change =>
  async (asked) => {
    await work(asked);
    return happened;
  };
export const all =
  (...changes: Change[]): Change =>
  async (asked) => {
    const answers = [];
    for (const change of changes) answers.push(await change(asked));
    return answers.includes(happened) ? happened : undefined;
  };

const form = "application/x-www-form-urlencoded";

/** RFC 6749 section 3.2, for every endpoint that takes a form; `name` is one of its parameters. */
export const formRows = (name: string): Row[] => [
  ["6749 §3.2", "parameters never stand in the URL", inUrl(name), "400 invalid_request"],
  ["6749 §3.2", "nor does anything else", (asked) => (asked.path += "?x=1"), "400 invalid_request"],
  ["6749 §3.2", "by GET there is nothing", by("GET"), "404 invalid_request"],
  ["6749 §3.2", "nor by PUT", by("PUT"), "404 invalid_request"],
  ["6749 §4.1.3", "JSON is no form", body("{}", "application/json"), "400 invalid_request"],
  ["6749 §4.1.3", "nor is text", body("a=b", "text/plain"), "400 invalid_request"],
  ["6749 §4.1.3", "nor are parts", body("--x--", "multipart/form-data; boundary=x"), "400 invalid_request"],
  ["6749 §4.1.3", "nor is nothing", body("", ""), "400 invalid_request"],
  ["6749 §3.2", "a parameter has an end", set("state", "x".repeat(4_097)), "400 invalid_request"],
  ["6749 §3.2", "and so has a form", body(`a=${"x".repeat(16_400)}`, form), "413 invalid_request"],
  ["9110 §8.4", "a form is not packed", header("content-encoding", "gzip"), "415 invalid_request"],
];

type Machine = { client_id: string; client_secret?: string };

/** RFC 6749 sections 2.3 and 3.2.1, where a public client names itself in `client_id`. */
export const publicClientRows = ({ machine, revoked }: { machine: Machine; revoked: Change }): Row[] => [
  ["6749 §3.2.1", "a public client names itself", without("client_id"), "401 invalid_client"],
  ["6749 §3.2.1", "an empty client_id is none", empty("client_id"), "401 invalid_client"],
  ["6749 §3.2", "client_id must not stand twice", again("client_id"), "400 invalid_request"],
  ["6749 §5.2", "an unknown client", set("client_id", `cli_${"0".repeat(32)}`), "401 invalid_client"],
  ["6749 app. A.1", "a client_id without NUL", set("client_id", "cli_\u0000"), "401 invalid_client"],
  ["6749 §2.3.1", "a public client has no secret", set("client_secret", "sgs_x"), "401 invalid_client"],
  ["6749 §2.3", "a machine has one", set("client_id", machine.client_id), "401 invalid_client"],
  ["6749 §2.3", "no Bearer", header("authorization", "Bearer x"), "401 invalid_client"],
  [
    "6749 §2.3",
    "a client is one and not two",
    header("authorization", basic(machine)),
    "400 invalid_request",
  ],
  ["6749 §5.2", "a client that was revoked", revoked, "401 invalid_client"],
];

/** The same where a client proves itself by Basic. */
export const secretClientRows = (others: {
  app: string;
  other: Machine;
  revoked: Change;
  rotated: Change;
}): Row[] => [
  ["6749 §2.3", "no proof at all", withoutHeader("authorization"), "401 invalid_client"],
  [
    "6749 §2.3.1",
    "an id without its secret",
    all(withoutHeader("authorization"), set("client_id", others.other.client_id)),
    "401 invalid_client",
  ],
  [
    "6749 §2.3.1",
    "a secret without its id",
    all(withoutHeader("authorization"), set("client_secret", others.other.client_secret ?? "")),
    "401 invalid_client",
  ],
  ["6749 §2.3", "no Bearer", header("authorization", "Bearer x"), "401 invalid_client"],
  ["6749 §2.3.1", "no Basic without a value", header("authorization", "Basic"), "401 invalid_client"],
  ["6749 §2.3.1", "Basic in base64", header("authorization", "Basic %%%"), "401 invalid_client"],
  ["6749 §2.3.1", "Basic with a colon", header("authorization", `Basic ${btoa("x")}`), "401 invalid_client"],
  [
    "6749 §2.3.1",
    "Basic once",
    ({ headers }) => headers.append("authorization", basic(others.other)),
    "401 invalid_client",
  ],
  [
    "6749 §5.2",
    "a wrong secret",
    header("authorization", basic({ ...others.other, client_secret: `sgs_${"0".repeat(43)}` })),
    "401 invalid_client",
  ],
  [
    "6749 §5.2",
    "an unknown client",
    header("authorization", basic({ ...others.other, client_id: `cli_${"0".repeat(32)}` })),
    "401 invalid_client",
  ],
  [
    "6749 §2.3.1",
    "a public client with a secret",
    header("authorization", basic({ ...others.other, client_id: others.app })),
    "401 invalid_client",
  ],
  ["6749 §2.3", "two proofs at once", set("client_secret", "sgs_x"), "400 invalid_request"],
  ["6749 §2.3", "two ids", set("client_id", others.app), "400 invalid_request"],
  ["6749 §5.2", "a client that was revoked", others.revoked, "401 invalid_client"],
  ["6749 §2.3.1", "a secret that was replaced", others.rotated, "401 invalid_client"],
];

const basic = ({ client_id, client_secret = "" }: Machine): string =>
  `Basic ${btoa(`${client_id}:${client_secret}`)}`;
