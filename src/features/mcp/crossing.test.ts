/**
 * Many callers at once on one door: no answer, no page and no stream ever crosses from one to another, and nothing that
 * belongs to one opens anything for another.
 */
import { afterAll, expect, test } from "bun:test";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { legacyRpc, type Rpc, rpc } from "../../testing/mcp.ts";
import { newApp, newMember } from "../../testing/people.ts";

const gateway = await startGateway({
  yaml: "limits: { mcp: { requests_per_minute: null, result_bytes_max: 4000 } }",
});
afterAll(() => gateway.close());
const { robo, mallory, url } = gateway;

type Team = { actor: Actor; projectId: string; mark: string; sessionId: string; taskIds: string[] };

/** A runner in a project of its own, whose every text carries a mark. */
async function teamOf(at: number): Promise<Team> {
  const mark = `mark-${at}-${crypto.randomUUID()}`;
  const { id: projectId } = await gateway.projects.create(localActor, { name: mark });
  const scope = "mcp:read mcp:write";
  const client = await gateway.clients.create(localActor, { name: mark, kind: "runner", projectId, scope });
  const { key } = await gateway.keys.create(localActor, { owner: { clientId: client.client_id }, scope });
  const actor = gateway.as(key, client.client_id);
  const started = await answered(
    rpc(actor, "tools/call", { name: "session_start", arguments: { project_id: projectId, title: mark } }),
  );
  const sessionId = String(started.id);
  const items = Array.from({ length: 6 }, (_, n) => ({
    dedupe_key: `${mark}-${n}`,
    title: `${mark} task ${n}`,
  }));
  const { data } = await answered(
    rpc(actor, "tools/call", { name: "task_upsert", arguments: { session_id: sessionId, tasks: items } }),
  );
  return { actor, projectId, mark, sessionId, taskIds: (data as { id: string }[]).map(({ id }) => id) };
}

async function answered(asked: Promise<Rpc>): Promise<Record<string, unknown>> {
  const { result, error, status } = await asked;
  if (result === undefined || result.isError === true)
    throw new Error(`${status} ${JSON.stringify(error ?? result?.content)}`);
  return result.structuredContent;
}

const markForm = /mark-\d+-[0-9a-f-]{36}/g;

test("64 principals at once, in both eras and with tools of all kinds, each see only their own", async () => {
  const teams: Team[] = [];
  for (let at = 0; at < 64; at += 8)
    teams.push(...(await Promise.all(Array.from({ length: 8 }, (_, n) => teamOf(at + n)))));
  const strange = (of: Team) => teams[(teams.indexOf(of) + 1) % teams.length] as Team;
  const rounds = teams.flatMap((team) =>
    Array.from({ length: 4 }, async (_, round) => {
      const speak = round % 2 === 0 ? rpc : legacyRpc;
      const { actor, mark, sessionId, taskIds } = team;
      const id = taskIds[round] ?? "";
      const answers = await Promise.all([
        speak(actor, "tools/call", { name: "whoami", arguments: {} }),
        speak(actor, "tools/call", { name: "project_list", arguments: {} }),
        speak(actor, "tools/call", { name: "task_list", arguments: { session_id: sessionId } }),
        speak(actor, "tools/call", { name: "task_get", arguments: { task_id: id } }),
        speak(actor, "tools/call", {
          name: "task_update",
          arguments: { task_id: id, title: `${mark} round ${round}` },
        }),
        speak(actor, "resources/list"),
        speak(actor, "resources/read", { uri: `specgate://tasks/${id}` }),
      ]);
      expect(answers[0]?.result?.structuredContent).toMatchObject({ principal: actor.id });
      for (const { headers, ...answer } of answers) {
        expect([answer.status, answer.error, answer.result?.isError]).toEqual([200, undefined, undefined]);
        const marks = new Set(JSON.stringify(answer).match(markForm) ?? []);
        marks.delete(mark);
        expect([...marks]).toEqual([]);
      }
      const foreign = strange(team);
      for (const answer of await Promise.all([
        speak(actor, "tools/call", { name: "task_get", arguments: { task_id: foreign.taskIds[0] } }),
        speak(actor, "tools/call", { name: "task_list", arguments: { session_id: foreign.sessionId } }),
        speak(actor, "resources/read", { uri: `specgate://tasks/${foreign.taskIds[0]}` }),
      ])) {
        expect(answer.error !== undefined || answer.result?.isError === true).toBe(true);
        expect(JSON.stringify(answer).match(markForm)).toBeNull();
      }
    }),
  );
  await Promise.all(rounds);
}, 120_000);

test("answers under one id, asked by many at once, go to who asked", async () => {
  const actors = [robo, mallory];
  const answers = await Promise.all(
    Array.from({ length: 60 }, async (_, at) => {
      const actor = actors[at % 2] as Actor;
      const { result, id } = await (at % 3 === 0 ? legacyRpc : rpc)(actor, "tools/call", {
        name: "whoami",
        arguments: {},
      });
      return [id, result?.structuredContent.principal === actor.id];
    }),
  );
  expect(answers.every(([id, isOwn]) => id === 1 && isOwn === true)).toBe(true);
});

test("a cursor leads its own caller through all tools, and nobody else anywhere", async () => {
  const names: string[] = [];
  let cursor: string | undefined;
  const cursors: string[] = [];
  do {
    const { result } = await rpc(robo, "tools/list", cursor === undefined ? {} : { cursor });
    names.push(...(result?.tools ?? []).map(({ name }) => name));
    cursor = result?.nextCursor as string | undefined;
    if (cursor !== undefined) cursors.push(cursor);
  } while (cursor !== undefined);
  expect(cursors.length).toBeGreaterThan(2);
  expect(new Set(names).size).toBe(names.length);
  expect(names).toEqual([...names].sort());
  expect(names).toContain("whoami");
  const [own = ""] = cursors;
  const bent = `${own.slice(0, -2)}${own.endsWith("AA") ? "BB" : "AA"}`;
  for (const [who, method, given] of [
    [mallory, "tools/list", own],
    [robo, "resources/list", own],
    [robo, "tools/list", bent],
    [robo, "tools/list", ""],
    [robo, "prompts/list", own],
    [robo, "resources/templates/list", own],
  ] as const)
    expect([method, (await rpc(who, method, { cursor: given })).error?.code]).toEqual([method, -32_602]);
});

test("a token for another audience, or of another plane, opens nothing here", async () => {
  const person = await newMember(gateway);
  const scope = "mcp:read mcp:write";
  for (const aud of [`${url}/api/v1`, `${url}/v1`, "https://elsewhere.example/mcp"]) {
    const { token } = await newApp(gateway, person, { scope, aud });
    const answer = await rpc(gateway.as(token), "tools/list");
    expect([aud, answer.status]).toEqual([aud, 401]);
    expect(answer.headers.get("www-authenticate")).toContain("resource_metadata=");
  }
  const { token } = await newApp(gateway, person, { scope, aud: `${url}/mcp` });
  expect((await rpc(gateway.as(token), "tools/list")).status).toBe(200);
  expect((await gateway.as(token).fetch("/api/v1/me")).status).toBe(401);
});
