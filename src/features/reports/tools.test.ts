/** Reports as MCP clients hand them in and read them: by the same rules as over HTTP. */
import { afterAll, describe, expect, test } from "bun:test";
import { callTool } from "../../testing/mcp.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { anyIteration, anySession, startToolTeam } from "../../testing/tool-team.ts";
import { ok } from "../../testing/wire.ts";
import type { ReportLine, ReportView } from "./contract.ts";

const team = await startToolTeam();
afterAll(() => team.close());
const { robo, mallory, people, app } = team;
const session = await team.session();
const said = { title: "What was found", body: "# พบแล้ว\n\nnothing\n" };

type List = { data: ReportLine[]; next_cursor: string | null };
const submit = (more: object = {}) =>
  promisedAnswer<ReportLine>(robo, "report_submit", { session_id: session, ...said, ...more });

describe("an MCP client", () => {
  test("hands a report in, lists it without its text, and reads it whole", async () => {
    const line = await submit();
    expect(line).toMatchObject({
      kind: "report",
      format: "markdown",
      body_bytes: Buffer.byteLength(said.body),
      created_by: robo.id,
    });
    const { data } = await promisedAnswer<List>(robo, "report_list", { session_id: session });
    expect(data[0]).toEqual(line);
    const whole = await promisedAnswer<ReportView>(robo, "report_get", { report_id: line.id });
    expect(whole).toEqual({ ...line, body: said.body, next_offset_bytes: null } as ReportView);
    expect(await ok<ReportView>(robo, "GET", `/reports/${line.id}`)).toEqual({ ...line, body: said.body });
  });

  test("reads a long report in pieces, and loses nothing of it", async () => {
    const body = 'พบ "quoted"\n'.repeat(40_000);
    const { id } = await ok<ReportLine>(robo, "POST", `/sessions/${session}/reports`, {
      title: "Long",
      body,
    });
    let read = "";
    let pieces = 0;
    for (let offset: number | null = 0; offset !== null; pieces++) {
      const piece: ReportView & { next_offset_bytes: number | null } = await promisedAnswer(
        robo,
        "report_get",
        {
          report_id: id,
          offset_bytes: offset,
        },
      );
      read += piece.body;
      offset = piece.next_offset_bytes;
    }
    expect(read === body).toBe(true);
    expect(pieces).toBeGreaterThan(1);
    expect(await toolRefusal(robo, "report_get", { report_id: id, offset_bytes: 1 })).toContain(
      "invalid_offset",
    );
  });

  test("finds reports by kind and by iteration, page by page", async () => {
    const iteration = await team.iteration(session);
    const review = await submit({ kind: "review" });
    const about = await submit({ iteration_id: iteration, format: "json", body: "[1]" });
    const ids = async (more: object) =>
      (await promisedAnswer<List>(robo, "report_list", { session_id: session, ...more })).data.map(
        ({ id }) => id,
      );
    expect(await ids({ kind: "review" })).toEqual([review.id]);
    expect(await ids({ iteration_id: iteration })).toEqual([about.id]);
    const first = await promisedAnswer<List>(robo, "report_list", { session_id: session, limit: 1 });
    expect(await ids({ limit: 1, cursor: first.next_cursor })).toEqual([review.id]);
  });

  test("is told which argument is wrong", async () => {
    for (const [more, field] of [
      [{ title: "" }, "title"],
      [{ format: "json", body: "{" }, "body"],
      [{ format: "html" }, "format"],
      [{ kind: "Two Words" }, "kind"],
      [{ iteration_id: "itr_1" }, "iteration_id"],
      [{ iteration_id: anyIteration }, "iteration_id"],
      [{ artifact_id: "x" }, "artifact_id"],
      [{ text: "x" }, "text"],
    ] as const) {
      const args = { session_id: session, ...said, ...more };
      expect(await toolRefusal(robo, "report_submit", args)).toBe("200 invalid_request");
      expect(JSON.stringify((await callTool(robo, "report_submit", args)).result)).toContain(field);
    }
  });

  test("may read what it may not write, by scope or by role", async () => {
    const { id } = await submit();
    const [reader, vera] = [await app(people.ed, "mcp:read"), await app(people.vera)];
    for (const who of [reader, vera]) {
      await promisedAnswer(who, "report_list", { session_id: session });
      await promisedAnswer(who, "report_get", { report_id: id });
    }
    const asked = { session_id: session, ...said };
    expect(await toolRefusal(reader, "report_submit", asked)).toBe("403 insufficient_scope");
    expect(await toolRefusal(vera, "report_submit", asked)).toBe("200 insufficient_role");
  });

  test("of another project or session finds nothing", async () => {
    const { id } = await submit();
    for (const who of [mallory, await team.boundTo(await team.session())])
      for (const [tool, args] of [
        ["report_list", { session_id: session }],
        ["report_list", { session_id: anySession }],
        ["report_get", { report_id: id }],
        ["report_get", { report_id: "rpt_1" }],
        ["report_submit", { session_id: session, ...said }],
      ] as const)
        expect(await toolRefusal(who, tool, args)).toBe("200 not_found");
  });

  test("hands nothing in once the session is over", async () => {
    const over = await team.session();
    await ok(robo, "PATCH", `/sessions/${over}`, { status: "failed" });
    expect(await toolRefusal(robo, "report_submit", { session_id: over, ...said })).toBe("200 closed");
  });
});

test("the audit says through which tool, in the change's own row and once", async () => {
  const { id } = await submit();
  expect(await team.trail(id)).toEqual([{ action: "report.created", tool: "report_submit" }]);
});
