/**
 * The MCP SDK's clients, unmodified: 1.x, 2.x as it comes, and 2.x when it asks for the newest that the server speaks.
 * Each lists, reads and writes; each is told which scopes a tool needs; and 2.x gets them in the browser by itself.
 */
import {
  Client,
  type ClientOptions,
  InsufficientScopeError,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from "@modelcontextprotocol/client";
import { Client as OldClient } from "@modelcontextprotocol/sdk/client/index.js";
import {
  StreamableHTTPClientTransport as OldTransport,
  StreamableHTTPError,
} from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { mcpScopes } from "../../src/platform/scopes.ts";
import { type Check, expect, expectEqual } from "./checks.ts";
import type { McpPlace } from "./mcp-place.ts";
import { signInto } from "./oauth-mcp.ts";
import { allow } from "./people.ts";

/** What both generations have in common. */
type Speaker = {
  listTools(): Promise<{ tools: { name: string; outputSchema?: unknown }[] }>;
  callTool(asked: { name: string; arguments: Record<string, unknown> }): Promise<unknown>;
  listPrompts(): Promise<{ prompts: { name: string }[] }>;
  listResourceTemplates(): Promise<{ resourceTemplates: { uriTemplate: string }[] }>;
  close(): Promise<void>;
};
type Connect = (place: McpPlace, token: string) => Promise<{ speaker: Speaker; era: string }>;

const name = { name: "smoke", version: "1" };
const requestInit = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

const connectOld: Connect = async ({ url }, token) => {
  const client = new OldClient(name);
  await client.connect(new OldTransport(url, { requestInit: requestInit(token) }));
  return { speaker: client, era: "legacy" };
};

const connectNew =
  (options: ClientOptions): Connect =>
  async ({ url }, token) => {
    const client = new Client(name, options);
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit: requestInit(token) }));
    return { speaker: client, era: client.getProtocolEra() ?? "none" };
  };

const clients: [name: string, era: string, connect: Connect][] = [
  ["SDK 1.x", "legacy", connectOld],
  ["SDK 2.x as it comes", "legacy", connectNew({})],
  ["SDK 2.x with negotiation", "modern", connectNew({ versionNegotiation: { mode: "auto" } })],
];

export async function mcpClients(check: Check, place: McpPlace): Promise<void> {
  for (const [which, era, connect] of clients) {
    await check(`the MCP ${which} lists, reads and writes, in the ${era} era`, () =>
      works(place, connect, era),
    );
    await check(`the MCP ${which} is refused a tool that its token may not call, and hears why`, () =>
      isRefused(place, connect),
    );
  }
  await check("the MCP SDK 2.x steps up in the browser, and the tool answers", () => stepsUp(place));
}

async function works(place: McpPlace, connect: Connect, wanted: string): Promise<string> {
  const { speaker, era } = await connect(place, await place.token());
  try {
    expectEqual(era, wanted, "the era");
    const { tools } = await speaker.listTools();
    const names = tools.map((tool) => tool.name);
    for (const needed of ["whoami", "session_start", "task_get", "artifact_presign_put", "usage_summary"])
      expect(names.includes(needed), `no ${needed} among ${names}`);
    expect(
      tools.every(({ outputSchema }) => outputSchema !== undefined),
      "a tool says nothing of its answer",
    );
    const who = await answerOf(speaker, "whoami");
    expectEqual(who.principal, place.runner.client_id, "the principal");
    const session = await answerOf(speaker, "session_start", {
      project_id: place.projectId,
      title: `of the ${era} era`,
    });
    const listed = await answerOf(speaker, "session_list", { project_id: place.projectId });
    expectEqual((listed.data as { id: string }[])[0]?.id, session.id, "the newest session");
    const { prompts } = await speaker.listPrompts();
    expect(
      prompts.some((prompt) => prompt.name === "summarize_session"),
      Bun.inspect(prompts),
    );
    const { resourceTemplates } = await speaker.listResourceTemplates();
    const templates = resourceTemplates.map(({ uriTemplate }) => uriTemplate);
    expect(templates.includes("specgate://tasks/{id}"), Bun.inspect(templates));
    return `${tools.length} tools`;
  } finally {
    await speaker.close();
  }
}

async function isRefused(place: McpPlace, connect: Connect): Promise<void> {
  const { speaker } = await connect(place, await place.token("mcp:read usage:read"));
  const asked = { project_id: place.projectId, title: "not to be" };
  try {
    const refusal = await speaker.callTool({ name: "session_start", arguments: asked }).then(
      (answer) => new Error(`it was answered: ${Bun.inspect(answer)}`),
      (error: unknown) => error,
    );
    if (refusal instanceof InsufficientScopeError) {
      const told = new Set(refusal.requiredScope?.split(" "));
      // Whoever asks for these alone must not lose what it had.
      expectEqual(told, new Set(["mcp:read", "usage:read", "mcp:write"]), "the scopes it is told");
    } else {
      expect(refusal instanceof StreamableHTTPError && refusal.code === 403, Bun.inspect(refusal));
    }
    await answerOf(speaker, "project_list");
  } finally {
    await speaker.close();
  }
}

/** An app that asks for everything, and whose person lets it read alone at first. */
async function stepsUp({ url, editor, projectId }: McpPlace): Promise<string> {
  const asking = { serverUrl: url.href, scope: mcpScopes.join(" ") };
  const app = await signInto(editor, asking, {
    unticked: mcpScopes.filter((scope) => scope !== "mcp:read"),
  });
  expectEqual(app.kept.scope, "mcp:read", "the scope at first");
  const client = new Client(name, { versionNegotiation: { mode: "auto" } });
  const transport = new StreamableHTTPClientTransport(url, { authProvider: app });
  await client.connect(transport);
  const call = () => answerOf(client, "session_start", { project_id: projectId, title: "after all" });
  const refusal = await call().then(
    () => null,
    (error: unknown) => error,
  );
  expect(refusal instanceof UnauthorizedError, `the call ended with ${Bun.inspect(refusal)}`);
  const asked = new Set(app.asked.searchParams.get("scope")?.split(" "));
  expect(asked.has("mcp:read") && asked.has("mcp:write"), `it asks for ${[...asked]}`);
  await transport.finishAuth((await allow(editor, app.asked)).searchParams);
  const session = await call();
  await client.close();
  return `${session.id}`;
}

async function answerOf(
  speaker: Pick<Speaker, "callTool">,
  tool: string,
  args: Record<string, unknown> = {},
): Promise<Record<string, unknown>> {
  const result = (await speaker.callTool({ name: tool, arguments: args })) as {
    isError?: boolean;
    structuredContent?: Record<string, unknown>;
  };
  expect(result.isError !== true, `${tool}: ${Bun.inspect(result)}`);
  return result.structuredContent ?? {};
}
