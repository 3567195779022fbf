/**
 * A desktop app's day, told by one address: it finds out how to sign in, its person lets it in, it starts a session, syncs
 * tasks, uploads a report, asks for approval and waits, calls a model for a task, and reads what that cost.
 */
import { createHash } from "node:crypto";
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { mcpScopes } from "../../src/platform/scopes.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";
import type { McpPlace } from "./mcp-place.ts";
import { App, signInto } from "./oauth-mcp.ts";
import { allow } from "./people.ts";

type Row = Record<string, unknown> & { id: string };
type Page = { data: Row[]; next_cursor: string | null };

export async function mcpDesktop(check: Check, place: McpPlace): Promise<void> {
  let desk: Desk | undefined;
  await check(
    "a desktop app that knows only the address finds its way in, with its person's consent",
    async () => {
      desk = await Desk.open(place);
    },
  );
  if (desk === undefined) return;
  const { client } = desk;
  try {
    for (const [sentence, work] of desk.day()) await check(`the desktop app ${sentence}`, work);
  } finally {
    await client.close();
  }
}

class Desk {
  #sessionId = "";
  #iterationId = "";
  #taskId = "";

  private constructor(
    readonly place: McpPlace,
    readonly client: Client,
  ) {}

  static async open(place: McpPlace): Promise<Desk> {
    const app = new App();
    const auth = () => new StreamableHTTPClientTransport(place.url, { authProvider: app });
    const transport = auth();
    const first = await newClient()
      .connect(transport)
      .then(
        () => null,
        (error: unknown) => error,
      );
    expect(first instanceof UnauthorizedError, `without a token: ${Bun.inspect(first)}`);
    expectEqual(
      app.asked.searchParams
        .get("scope")
        ?.split(" ")
        .filter((scope) => scope !== "offline_access"),
      [...mcpScopes],
      "the scopes it asks for",
    );
    await transport.finishAuth((await allow(place.editor, app.asked)).searchParams);
    const client = newClient();
    await client.connect(auth());
    expectEqual(client.getProtocolEra(), "modern", "the era");
    return new Desk(place, client);
  }

  day(): [sentence: string, work: () => Promise<unknown>][] {
    return [
      ["starts a session and an iteration in its project", () => this.#starts()],
      ["syncs a list of tasks, twice the same", () => this.#syncs()],
      ["uploads a report's file byte for byte, and hands the report in", () => this.#reports()],
      ["hands in a check, and is told what the gates still miss", () => this.#checks()],
      ["asks for approval, and hears the owner's word while it waits", () => this.#asks()],
      ["is charged for a model's call under its task, and reads what it cost", () => this.#spends()],
    ];
  }

  async #starts(): Promise<string> {
    const { data } = await this.#tool<Page>("project_list");
    expectEqual(
      data.map(({ id, role }) => [id, role]),
      [[this.place.projectId, "editor"]],
      "its projects",
    );
    const session = await this.#tool<Row>("session_start", {
      project_id: this.place.projectId,
      title: "จ่ายเงินด้วยบัตร / Card payments",
    });
    this.#sessionId = session.id;
    const iteration = await this.#tool<Row>("iteration_start", {
      session_id: session.id,
      step: "IMPLEMENT",
      commit_sha: "4f2a9c1d",
    });
    this.#iterationId = iteration.id;
    return session.id;
  }

  async #syncs(): Promise<void> {
    const tasks = Array.from({ length: 20 }, (_, at) => ({
      task_ref: `PAY-${at + 1}`,
      title: `Card payment, case ${at + 1}`,
      originating_spec: "SSP-PAY-001",
    }));
    const sync = () =>
      this.#tool<{ data: Row[]; counts: unknown }>("task_upsert", { session_id: this.#sessionId, tasks });
    const [first, again] = [await sync(), await sync()];
    expectEqual(
      first.data.map(({ id }) => id),
      again.data.map(({ id }) => id),
      "the ids, sent again",
    );
    this.#taskId = first.data[0]?.id ?? "";
    await this.#tool("task_update", { task_id: this.#taskId, status: "doing" });
    const { data } = await this.#tool<Page>("task_list", { session_id: this.#sessionId, limit: 50 });
    expectEqual([data.length, data[0]?.status], [20, "doing"], "the tasks there are");
    const { contents } = await this.client.readResource({ uri: `specgate://tasks/${this.#taskId}` });
    expect(Bun.inspect(contents).includes("PAY-1"), Bun.inspect(contents));
  }

  async #reports(): Promise<void> {
    const bytes = new TextEncoder().encode(`# What was done\n\n${"A line about it.\n".repeat(500)}`);
    const { artifact, upload } = await this.#tool<{
      artifact: Row;
      upload: { method: string; url: string; headers: Record<string, string> };
    }>("artifact_presign_put", {
      session_id: this.#sessionId,
      name: "report.md",
      content_type: "text/markdown",
      size_bytes: bytes.length,
      sha256: sha256(bytes),
      kind: "report",
    });
    const { method, url, headers } = upload;
    const sent = await fetch(url, { method, headers, body: bytes });
    expect(sent.ok, `the store says ${sent.status}: ${await sent.text()}`);
    const kept = await this.#tool<Row>("artifact_complete", { artifact_id: artifact.id });
    expectEqual([kept.status, kept.sha256_verified], ["complete", true], "the artifact");
    const got = await this.#tool<{ url: string }>("artifact_presign_get", { artifact_id: artifact.id });
    expectEqual(sha256(await (await fetch(got.url)).bytes()), sha256(bytes), "the bytes that come back");
    await this.#tool("report_submit", {
      session_id: this.#sessionId,
      title: "What was done",
      body: "The whole of it is in the file.",
      iteration_id: this.#iterationId,
      artifact_id: artifact.id,
    });
  }

  async #checks(): Promise<void> {
    await this.#tool("check_submit", {
      iteration_id: this.#iterationId,
      kind: "test",
      status: "passed",
      commit_sha: "4f2a9c1d",
    });
    const verdict = await this.#tool<Row>("gate_evaluate", { iteration_id: this.#iterationId });
    expectEqual(verdict.ok, false, "the gates, with tasks still to do");
  }

  async #asks(): Promise<void> {
    const asked = { action: "deploy", subject_sha256: sha256("the plan") };
    const { id } = await this.#tool<Row>("approval_request", {
      session_id: this.#sessionId,
      reason: "The card payments are done.",
      ...asked,
    });
    const waiting = this.#tool<Row>("approval_get", { approval_id: id, wait_seconds: 20 });
    await Bun.sleep(200);
    const path = `/api/v1/approvals/${id}/decision`;
    const decided = await this.place.owner.fetch(path, { method: "POST", json: { decision: "approve" } });
    expect(decided.ok, `the decision: ${decided.status} ${await decided.text()}`);
    expectEqual((await waiting).status, "approved", "what the waiting app hears");
    const used = await this.#tool<Row>("approval_consume", { approval_id: id, ...asked });
    expectEqual(used.status, "consumed", "the approval, used up");
  }

  async #spends(): Promise<string> {
    const { gateway, editor } = this.place;
    const { data } = await this.#tool<Page>("models_list", { provider: "openai" });
    expect(data.length > 0, "no model is listed");
    const app = await signInto(editor, { serverUrl: `${gateway.url}/v1`, scope: "llm:chat" });
    const called = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${app.kept.access_token}`,
        "content-type": "application/json",
        "x-specgate-task": this.#taskId,
      },
      body: JSON.stringify({ model: "openai/desk", messages: [{ role: "user", content: "hello" }] }),
    });
    const said = await called.text();
    expect(called.ok, `the call: ${called.status} ${said}`);
    type Sums = { data: { task?: string | null; cost_usd: string; requests: number }[] };
    const asked = { group_by: ["task"], session: this.#sessionId };
    const { data: sums } = await eventually(
      () => this.#tool<Sums>("usage_summary", asked),
      (answer) => answer.data.length > 0,
      10_000,
    );
    const [sum] = sums;
    expectEqual([sums.length, sum?.task, sum?.requests], [1, this.#taskId, 1], "the sums by task");
    expect(Number(sum?.cost_usd) > 0, `it cost ${sum?.cost_usd}`);
    return `$${sum?.cost_usd}`;
  }

  async #tool<Answer = Record<string, unknown>>(
    name: string,
    args: Record<string, unknown> = {},
  ): Promise<Answer> {
    const result = await this.client.callTool({ name, arguments: args });
    expect(result.isError !== true, `${name}: ${Bun.inspect(result.content)}`);
    return result.structuredContent as Answer;
  }
}

const newClient = (): Client =>
  new Client({ name: "desk", version: "1" }, { versionNegotiation: { mode: "auto" } });

const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
