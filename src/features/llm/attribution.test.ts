import { afterAll, describe, expect, test } from "bun:test";
import { createLocate } from "../../db/places.ts";
import type { Principal } from "../../platform/principal.ts";
import type { Scope } from "../../platform/scopes.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { putObjects } from "../../testing/objects.ts";
import { attributionOf } from "./attribution.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());
const { robo, mallory, database, keys, clients } = gateway;
const { ada, olga, vera, stranger } = await gateway.people();
const one = await putObjects(database, robo.projectId, robo.id);
const two = await putObjects(database, robo.projectId, robo.id);
const theirs = await putObjects(database, mallory.projectId, mallory.id);

const keyOf = async (userEmail: string, projectId: string | null = null) =>
  gateway.as((await keys.create(localActor, { owner: { userEmail }, scope: "llm:chat", projectId })).key);
const boundTo = async (sessionId: string) => {
  const asked = { projectId: null, scope: "llm:chat", ttlSeconds: 60, resources: [], sessionId };
  return gateway.as((await gateway.oauth.tokens.issue(localActor, robo.id, asked)).access_token);
};

type Named = { session?: string; iteration?: string; task?: string; tags?: string };
const headersOf = (named: Named) =>
  Object.fromEntries(Object.entries(named).map(([kind, id]) => [`x-specgate-${kind}`, id]));

/** What the call's row is charged to, or why there is none. */
async function charged(who: Actor, named: Named) {
  const response = await who.chat({}, { headers: headersOf(named) });
  if (!response.ok) {
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    return `${response.status} ${error.code}: ${error.message}`;
  }
  const row = await gateway.row(response);
  return { project: row?.projectId, session: row?.sessionId, iteration: row?.iterationId, task: row?.taskId };
}

const unnamed = { iteration: null, task: null };
const refusal = (kind: "session" | "iteration" | "task") =>
  `400 invalid_request: \`x-specgate-${kind}\` must name ${kind === "iteration" ? "an" : "a"} ${kind} that this credential may be charged to.`;

describe("a call is charged to", () => {
  const project = robo.projectId;

  test("where its credential is bound, when nothing is named", async () => {
    expect(await charged(robo, {})).toEqual({ project, session: null, ...unnamed });
    const session = one.session;
    expect(await charged(await boundTo(session), {})).toEqual({ project, session, ...unnamed });
    expect(await charged(await keyOf(olga.email), {})).toEqual({ project: null, session: null, ...unnamed });
  });

  test("the session, iteration and task that its caller names, and a task brings its session", async () => {
    const { session, iteration, task } = one;
    expect(await charged(robo, { session })).toEqual({ project, session, ...unnamed });
    expect(await charged(robo, { session, iteration, task })).toEqual({ project, session, iteration, task });
    expect(await charged(robo, { task })).toEqual({ project, session, iteration: null, task });
    expect(await charged(robo, { iteration })).toEqual({ project, session, iteration, task: null });
    expect(await charged(await boundTo(session), { iteration, task })).toEqual({
      ...{ project, session, iteration, task },
    });
  });

  test("the project of what a person names, if they may call models there", async () => {
    const { session, task } = one;
    const key = await keyOf(olga.email);
    expect(await charged(key, { session })).toEqual({ project, session, ...unnamed });
    expect(await charged(key, { task })).toEqual({ project, session, iteration: null, task });
    expect(await charged(await keyOf(olga.email, project), { session })).toMatchObject({ project, session });
  });

  test("nothing that is not there or is somebody else's, and both sound alike", async () => {
    const nobodys = "0".repeat(32);
    for (const who of [robo, await keyOf(olga.email), await boundTo(one.session)]) {
      expect(await charged(who, { session: theirs.session })).toBe(refusal("session"));
      expect(await charged(who, { session: `ses_${nobodys}` })).toBe(refusal("session"));
      expect(await charged(who, { iteration: theirs.iteration })).toBe(refusal("iteration"));
      expect(await charged(who, { iteration: `itr_${nobodys}` })).toBe(refusal("iteration"));
      expect(await charged(who, { task: theirs.task })).toBe(refusal("task"));
      expect(await charged(who, { task: one.session })).toBe(refusal("task"));
      expect(await charged(who, { task: "" })).toBe(refusal("task"));
    }
    expect(await charged(mallory, { session: one.session })).toBe(refusal("session"));
    expect(await charged(await keyOf(stranger.email), { task: one.task })).toBe(refusal("task"));
    // An administrator's key does not administer, and a viewer calls no models for the project.
    expect(await charged(await keyOf(ada.email), { session: one.session })).toBe(refusal("session"));
    expect(await charged(await keyOf(vera.email), { session: one.session })).toBe(refusal("session"));
  });

  test("no project at all by a client that has none", async () => {
    const client = await clients.create(localActor, { name: "free", kind: "service", scope: "llm:chat" });
    const owner = { clientId: client.client_id };
    const free = gateway.as((await keys.create(localActor, { owner, scope: "llm:chat" })).key);
    expect(await charged(free, { session: one.session })).toBe(refusal("session"));
    expect(await charged(free, {})).toEqual({ project: null, session: null, ...unnamed });
  });

  test("one session only", async () => {
    const inSession = await boundTo(one.session);
    expect(await charged(inSession, { session: two.session })).toBe(refusal("session"));
    expect(await charged(inSession, { task: two.task })).toBe(refusal("task"));
    expect(await charged(robo, { session: one.session, task: two.task })).toBe(
      "400 invalid_request: `x-specgate-task` must name a task of the session in `x-specgate-session`.",
    );
    expect(await charged(robo, { iteration: one.iteration, task: two.task })).toBe(
      "400 invalid_request: `x-specgate-iteration` and `x-specgate-task` must lie in one session.",
    );
    // What is foreign is said first: its session is nobody's business.
    expect(await charged(robo, { session: one.session, task: theirs.task })).toBe(refusal("task"));
  });
});

test("tags are kept with the row, eight at most", async () => {
  const tagged = await robo.chat({}, { headers: headersOf({ tags: "team=red, run=42" }) });
  expect((await gateway.row(tagged))?.tags).toEqual({ team: "red", run: "42" });
  for (const tags of ["team", "=red", "a=b,", Array.from({ length: 9 }, (_, i) => `t${i}=1`).join(",")])
    expect(await charged(robo, { tags })).toStartWith("400 invalid_request: `x-specgate-tags` takes up to 8");
});

test("naming the same task again asks nobody", async () => {
  let asked = 0;
  const db = new Proxy(database.db, {
    get(target, name) {
      if (name === "select") asked++;
      return Reflect.get(target, name);
    },
  });
  const locate = createLocate({ db });
  const scopes: ReadonlySet<Scope> = new Set<Scope>(["llm:chat"]);
  const principal = {
    ...{ id: robo.id, kind: "client", role: "runner", projectId: robo.projectId, sessionId: null },
    ...{ scopes, memberships: new Map() },
  } as unknown as Principal;
  const headers = new Headers(headersOf({ session: one.session, iteration: one.iteration, task: one.task }));
  const first = attributionOf(headers, principal, locate);
  expect(first).toBeInstanceOf(Promise);
  const found = await first;
  expect(asked).toBe(3);
  expect(attributionOf(headers, principal, locate)).toEqual(found);
  expect(asked).toBe(3);
});
