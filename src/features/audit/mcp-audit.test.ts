/** What the audit log knows of MCP clients, as they and the operator meet it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { urlOf } from "../../db/connection.ts";
import { scratchDir } from "../../testing/cluster.ts";
import { startGateway, type TestGateway } from "../../testing/gateway.ts";
import { callTool, rpc } from "../../testing/mcp.ts";
import { runAt } from "../../testing/terminal.ts";
import { fileOf } from "./mcp-log-files.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

const home = scratchDir();
const specgate = (line: string) => {
  const env = {
    SPECGATE_DATA_DIR: gateway.dir.path,
    DATABASE_URL: urlOf(gateway.owner).reveal(),
    SPECGATE_CONFIG: gateway.dir.file("specgate.yaml"),
  };
  return runAt(home, line.split(" "), { env });
};

const logDir = () => gateway.dir.file("audit");
const files = () => readdirSync(logDir()).filter((name) => name.startsWith("mcp-"));

async function rowsOf({ headers }: { headers: Headers }) {
  await gateway.parts.ledger.settled();
  return await gateway.database.sql`
    select action, subject, outcome, actor, details from audit
    where request_id = ${headers.get("x-request-id")} and action like 'mcp.%' order by id`;
}

/** The file is written 20 ms after the answer. */
async function lineOf({ headers }: { headers: Headers }): Promise<Record<string, unknown>> {
  for (;;) {
    for (const file of files())
      for (const line of readFileSync(join(logDir(), file), "utf8").split("\n"))
        if (line.includes(headers.get("x-request-id") ?? "none")) return JSON.parse(line);
    await Bun.sleep(5);
  }
}

describe("requests at /mcp", () => {
  test("each leave one row and one line: calls, lists and what is refused", async () => {
    const { robo } = gateway;
    const cases = [
      [await callTool(robo, "whoami"), "mcp.called", "whoami", "ok"],
      [await rpc(robo, "tools/list"), "mcp.listed", null, "ok"],
      [
        await callTool(robo, "nothing_at_all", { secret: "hunter2" }),
        "mcp.refused",
        "nothing_at_all",
        "refused",
      ],
    ] as const;
    for (const [answer, action, subject, outcome] of cases) {
      const rows = await rowsOf(answer);
      expect(rows).toMatchObject([{ action, subject, outcome, actor: robo.id, details: { era: "modern" } }]);
      const line = await lineOf(answer);
      expect(line).toMatchObject({ principal: robo.id, tool: subject, method: rows[0]?.details.method });
      expect(JSON.stringify([rows, line])).not.toContain("hunter2");
    }
  });

  test("say what failed in the gateway itself, which tells whether the tool can have done anything", async () => {
    const nothing = { task_id: "tsk_00000000000000000000000000000000" };
    const [row] = await rowsOf(await callTool(gateway.robo, "task_get", nothing));
    expect(row).toMatchObject({
      outcome: "failed",
      details: { outcome: { tool: "error", code: "not_found" } },
    });
  });

  test("a change has its own row, which says through which tool, and a line", async () => {
    const { robo } = gateway;
    const answer = await callTool(robo, "session_start", { project_id: robo.projectId, title: "Invoices" });
    expect(answer.result?.isError).not.toBe(true);
    expect(await rowsOf(answer)).toHaveLength(0);
    const [row] = await gateway.database.sql`
      select action, details from audit where request_id = ${answer.headers.get("x-request-id")}`;
    expect(row).toMatchObject({ action: "session.created", details: { tool: "session_start" } });
    expect(await lineOf(answer)).toMatchObject({ tool: "session_start", verdict: "allowed" });
  });
});

describe("specgate audit verify", () => {
  test("covers rows and files, and names a line that was changed", async () => {
    await lineOf(await callTool(gateway.robo, "whoami"));
    await gateway.parts.ledger.settled();
    const intact = await specgate("audit verify");
    expect([intact.code, intact.err]).toEqual([0, ""]);
    expect(intact.out).toMatch(/^intact: \d+ rows, .*\nintact: \d+ lines in 1 files of MCP decisions\n$/);
    const path = join(logDir(), files()[0] ?? "");
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace('"tool":"whoami"', '"tool":"whoamI"'));
    const broken = await specgate("audit verify");
    expect(broken.code).toBe(1);
    expect(broken.out).toMatch(
      /\nbroken: mcp-\d{8}\.jsonl line \d+: it does not follow from the line before it\n$/,
    );
    const { code, out } = await specgate("audit verify --json");
    expect([code, JSON.parse(out)]).toMatchObject([
      1,
      {
        outcome: "broken",
        rows: expect.any(Number),
        mcp_log: { outcome: "broken", flaw: { file: files()[0] } },
      },
    ]);
    writeFileSync(path, text);
    expect((await specgate("audit verify")).code).toBe(0);
  });

  test("does not miss what specgate purge removed", async () => {
    const old = fileOf(Date.now() - 500 * 86_400_000);
    writeFileSync(join(logDir(), old), "");
    const gone = async (line: string) => {
      const { data } = JSON.parse((await specgate(line)).out) as { data: { kind: string; count: number }[] };
      return data.find(({ kind }) => kind === "mcp_log_files")?.count;
    };
    expect(await gone("purge --dry-run --json")).toBe(1);
    expect(files()).toContain(old);
    expect(await gone("purge --json")).toBe(1);
    expect(files()).not.toContain(old);
    expect((await specgate("audit verify")).code).toBe(0);
  });
});

test("without a journal the row is there before the answer", async () => {
  const own = await startGateway({ journal: "database" });
  const { headers } = await callTool(own.robo, "whoami");
  const rows = await own.database.sql`
    select action from audit where request_id = ${headers.get("x-request-id")}`;
  expect(rows).toMatchObject([{ action: "mcp.called" }]);
  await own.close();
});

test("nothing is answered at /mcp while the journal is down", async () => {
  const own = await startGateway();
  await own.parts.ledger.close();
  for (const answer of [await callTool(own.robo, "whoami"), await callTool(own.robo, "nothing_at_all")]) {
    expect(answer.status).toBe(503);
    expect(answer.result).toBeUndefined();
    expect(answer.error?.data).toMatchObject({ code: "journal_unavailable" });
  }
  await own.close();
});
