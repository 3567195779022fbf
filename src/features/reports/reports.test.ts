import { describe, expect, test } from "bun:test";
import { startGateway } from "../../testing/gateway.ts";
import { announce } from "../../testing/stores.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { IterationView, SessionView } from "../sessions/contract.ts";
import type { ReportLine, ReportView } from "./contract.ts";
import { whyNotJson } from "./json-text.ts";

const gateway = await startGateway();
const { robo, mallory, nobody, database } = gateway;
const { ada, ed, vera, stranger } = await gateway.people();

type Page = { data: ReportLine[]; next_cursor: string | null };

const newSession = () =>
  ok<SessionView>(robo, "POST", `/projects/${robo.projectId}/sessions`, { title: "Login by e-mail" });
const newIteration = (session: SessionView) =>
  ok<IterationView>(robo, "POST", `/sessions/${session.id}/iterations`, {});
const session = await newSession();
const inSession = `/sessions/${session.id}/reports`;
const submit = (body: object, path = inSession) => ok<ReportLine>(robo, "POST", path, body);
const mistakes = async (body: unknown) => {
  const answered = await call<{ errors?: { path: string }[] }>(robo, "POST", inSession, body);
  return [answered.http, ...(answered.body.errors ?? []).map(({ path }) => path).sort()];
};

describe("a report", () => {
  test("is handed in once and read whole by whoever may see its session", async () => {
    const { id: iteration_id } = await newIteration(session);
    const { id: artifact_id } = await announce(robo, session.id, new TextEncoder().encode("the log"));
    const asked = { kind: "review", title: "ตรวจทานโค้ด", body: "# ผล\nผ่าน ✅", iteration_id, artifact_id };
    const made = await call<ReportLine>(robo, "POST", inSession, asked);
    expect(made.http).toBe(201);
    const { body, ...shown } = asked;
    expect(made.body).toEqual({
      ...shown,
      id: expect.stringMatching(/^rpt_[0-9a-f]{32}$/),
      project_id: robo.projectId,
      session_id: session.id,
      format: "markdown",
      body_bytes: Buffer.byteLength(body),
      created_by: robo.id,
      created_at: expect.any(String),
    });
    for (const who of [robo, ed, vera, ada])
      expect(await ok<ReportView>(who, "GET", `/reports/${made.body.id}`)).toEqual({ ...made.body, body });
  });

  test("needs only a title and a text", async () => {
    expect(await submit({ title: "Short", body: "" })).toMatchObject({
      kind: "report",
      format: "markdown",
      body_bytes: 0,
      iteration_id: null,
      artifact_id: null,
    });
  });

  test("is told of and audited, without its text", async () => {
    const { id } = await submit({ title: "Told", body: "a secret text" });
    const [event, ...others] =
      await database.sql`select type, payload from events where payload->>'id' = ${id}`;
    expect([event, others]).toMatchObject([
      { type: "report.created", payload: { id, session_id: session.id, kind: "report", title: "Told" } },
      [],
    ]);
    const audited = await database.sql`
      select actor, action, project_id, session_id, details from audit where subject = ${id}`;
    expect([...audited]).toEqual([
      {
        actor: robo.id,
        action: "report.created",
        project_id: robo.projectId,
        session_id: session.id,
        details: { kind: "report", body_bytes: 13 },
      },
    ]);
  });

  test("handed in twice with one Idempotency-Key is one report", async () => {
    const own = `/sessions/${(await newSession()).id}/reports`;
    const headers = { "idempotency-key": "once" };
    const asked = { title: "Once", body: "x" };
    const answers = [];
    for (const _ of [1, 2]) answers.push(await call<ReportLine>(robo, "POST", own, asked, headers));
    const [first, second] = answers;
    expect(second?.body).toEqual(first?.body as ReportLine);
    expect(second?.headers.get("idempotent-replayed")).toBe("true");
    expect((await ok<Page>(robo, "GET", own)).data).toHaveLength(1);
  });

  test("exists for nobody outside of its project, and is handed in by editors only", async () => {
    const { id } = await submit({ title: "Ours", body: "x" });
    for (const who of [mallory, stranger]) {
      expect(await refused(who, "GET", `/reports/${id}`)).toBe("404 not_found");
      expect(await refused(who, "GET", inSession)).toBe("404 not_found");
      expect(await refused(who, "POST", inSession, { title: "x", body: "x" })).toBe("404 not_found");
    }
    expect(await refused(nobody, "GET", `/reports/${id}`)).toBe("401 unauthenticated");
    expect(await refused(vera, "POST", inSession, { title: "x", body: "x" })).toBe("403 insufficient_role");
    await ok(ed, "POST", inSession, { title: "By a person", body: "x" });
  });

  test("is refused with every mistake named", async () => {
    const wrong = {
      kind: "A B",
      title: "",
      format: "html",
      iteration_id: "x",
      artifact_id: "rpt_1",
      colour: 1,
    };
    expect(await mistakes(wrong)).toEqual([
      422,
      "artifact_id",
      "body",
      "colour",
      "format",
      "iteration_id",
      "kind",
      "title",
    ]);
    expect(await mistakes({ title: "x", body: "a\0b" })).toEqual([422, "body"]);
  });

  test("belongs to an iteration of its own session or to none", async () => {
    const elsewhere = await newIteration(await newSession());
    const foreign = { title: "x", body: "x", iteration_id: elsewhere.id };
    expect(await mistakes(foreign)).toEqual([422, "iteration_id"]);
    const unknown = { ...foreign, iteration_id: "itr_0192f0c1d2e37000800000000000abcd" };
    expect(await mistakes(unknown)).toEqual([422, "iteration_id"]);
  });

  test("that says it is JSON is JSON, of any kind", async () => {
    const json = (body: string) => mistakes({ title: "x", format: "json", body });
    for (const body of ['{"a":[1,2]}', "[]", '"text"', " 17 ", "null"])
      expect(await json(body)).toEqual([201]);
    for (const body of ["", "{", "undefined", '1,"document":2', "'x'", "[1]]"])
      expect([body, await json(body)]).toEqual([body, [422, "body"]]);
    // A parser would block the whole gateway on these.
    expect(await json("[".repeat(500_000))).toEqual([422, "body"]);
    expect(whyNotJson("[".repeat(500) + "]".repeat(500))).toContain("too deeply");
  });

  test("of a closed session or an archived project is not handed in any more", async () => {
    const closed = await newSession();
    const { id } = await submit({ title: "Before", body: "x" }, `/sessions/${closed.id}/reports`);
    await ok(robo, "PATCH", `/sessions/${closed.id}`, { status: "failed" });
    const late = { title: "late", body: "x" };
    expect(await refused(robo, "POST", `/sessions/${closed.id}/reports`, late)).toBe("409 closed");
    await ok(vera, "GET", `/reports/${id}`);
    const project = await ok<{ id: string }>(ada, "POST", "/projects", { name: "short-lived" });
    const last = await ok<SessionView>(ada, "POST", `/projects/${project.id}/sessions`, { title: "x" });
    await ok(ada, "DELETE", `/projects/${project.id}`);
    expect(await refused(ada, "POST", `/sessions/${last.id}/reports`, late)).toBe("409 closed");
  });
});

describe("a long report", () => {
  const charactersMax = 1_048_576;
  const filled = (word: (at: number) => string) => {
    const words: string[] = [];
    for (let length = 0; length < charactersMax; length += (words.at(-1)?.length ?? 0) + 1)
      words.push(word(words.length));
    return words.join(" ").slice(0, charactersMax);
  };
  const texts: [string, string][] = [
    ["of different words", filled((at) => at.toString(36))],
    ["of one word without an end", "x".repeat(charactersMax)],
    ["of hyphenated words", filled((at) => `${at}-${(at * 7_919).toString(36)}-x${at}`)],
    ["of signs that grow when they are normalised", "ﷺ㌖".repeat(charactersMax / 2)],
    ["in Thai", "เข้าสู่ระบบด้วยอีเมล".repeat(60_000).slice(0, charactersMax)],
    ["of emoji, cut in half", `x${"🙂".repeat(charactersMax / 2 - 1)}`],
    ["of paths", filled((at) => `http://example.com/a${at}/b${at}?c=${at}`)],
  ];
  test.each(texts)("%s is kept and comes back as it was", async (_, body) => {
    const { id, body_bytes } = await submit({ title: "Long 🙂", format: "text", body });
    expect(body_bytes).toBe(Buffer.byteLength(body));
    const read = await ok<ReportView>(vera, "GET", `/reports/${id}`);
    expect(read.body === body).toBe(true);
  });

  test("may have each of its characters escaped", async () => {
    const escaped = `{"title":"Escaped","body":"${"\\u0e01".repeat(charactersMax)}"}`;
    const { body_bytes } = await ok<ReportLine>(robo, "POST", inSession, escaped);
    expect(body_bytes).toBe(3 * charactersMax);
  });

  test("ends at a mebi of characters", async () => {
    expect(await mistakes({ title: "x", body: "x".repeat(charactersMax + 1) })).toEqual([422, "body"]);
  });
});

test("reports are found by the words of their title and text", async () => {
  const { id } = await submit({ title: "Quarterly zebrafish", body: "The aardvark was seen." });
  for (const word of ["zebrafish", "aardvark"]) {
    const found = await database.sql`
      select id from reports where search @@ plainto_tsquery('simple', ${word})`;
    expect(found.map((row) => row.id)).toEqual([id]);
  }
});

test("reports are listed newest first without their texts, in pages, by kind and iteration", async () => {
  const own = await newSession();
  const path = `/sessions/${own.id}/reports`;
  const iteration = await newIteration(own);
  const made: ReportLine[] = [];
  for (let at = 1; at <= 5; at++)
    made.unshift(
      await submit(
        {
          title: `${at}`,
          body: "text",
          kind: at % 2 ? "odd" : "even",
          ...(at > 3 ? { iteration_id: iteration.id } : {}),
        },
        path,
      ),
    );
  const first = await ok<Page>(vera, "GET", `${path}?limit=3`);
  expect(first.data).toEqual(made.slice(0, 3));
  expect(first.data[0]).not.toHaveProperty("body");
  const rest = await ok<Page>(vera, "GET", `${path}?limit=3&cursor=${first.next_cursor}`);
  expect(rest).toEqual({ data: made.slice(3), next_cursor: null });
  const titles = async (query: string) =>
    (await ok<Page>(vera, "GET", path + query)).data.map(({ title }) => title);
  expect(await titles("?kind=even")).toEqual(["4", "2"]);
  expect(await titles(`?iteration=${iteration.id}`)).toEqual(["5", "4"]);
  expect(await titles(`?iteration=${iteration.id}&kind=odd`)).toEqual(["5"]);
  for (const query of ["?iteration=7", "?kind=A", "?colour=red", "?cursor=x"])
    expect(await refused(vera, "GET", path + query)).toBe("400 invalid_request");
  expect(await refused(vera, "GET", `${inSession}?cursor=${first.next_cursor}`)).toBe("400 invalid_request");
});
