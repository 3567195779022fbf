/** A project's people and machines as MCP clients of a gateway, and what the audit says of what they did. */
import { asc, eq } from "drizzle-orm";
import { audit } from "../db/schema.ts";
import { basicOf, localActor } from "./desk.ts";
import { type Actor, startGateway } from "./gateway.ts";
import { toolAnswer } from "./mcp.ts";
import { granted } from "./oauth.ts";
import { newApp } from "./people.ts";

export const anySession = `ses_${"0".repeat(32)}`;
export const anyIteration = `itr_${"0".repeat(32)}`;

export async function startToolTeam(yaml?: string) {
  const gateway = await startGateway(yaml === undefined ? {} : { yaml });
  const { robo, mallory, database, clients, keys, url } = gateway;
  const people = await gateway.people();
  const { projectId } = robo;
  const app = async (person: { id: string }, scope = "mcp:read mcp:write approvals:request") =>
    gateway.as((await newApp(gateway, person, { scope, aud: `${url}/mcp` })).token, person.id);
  const start = async (title = "Login by e-mail", who: Actor = robo) =>
    (await toolAnswer<{ id: string }>(who, "session_start", { project_id: projectId, title })).id;
  return {
    gateway,
    robo,
    mallory,
    people,
    projectId,
    /** An app that a person let do this much. */
    app,
    /** Another key of robo's, which may do this much. */
    keyOf: async (scope: string): Promise<Actor> =>
      gateway.as((await keys.create(localActor, { owner: { clientId: robo.id }, scope })).key, robo.id),
    /** A runner's token that is good for one session alone. */
    async boundTo(sessionId: string, scope = "mcp:read mcp:write"): Promise<Actor> {
      const runner = { name: "bound", kind: "runner", projectId, redirectUris: [], scope } as const;
      const client = await clients.create(localActor, runner);
      const answer = await granted<{ access_token: string }>(
        gateway.nobody.fetch("/oauth/token", {
          method: "POST",
          headers: { authorization: basicOf(client) },
          body: new URLSearchParams({ grant_type: "client_credentials", session_id: sessionId }),
        }),
      );
      return gateway.as(answer.access_token, client.client_id);
    },
    /** A new session's id. */
    session: start,
    async iteration(sessionId: string, more: Record<string, unknown> = {}): Promise<string> {
      const asked = { session_id: sessionId, ...more };
      return (await toolAnswer<{ id: string }>(robo, "iteration_start", asked)).id;
    },
    /** For each audit row about the subject, oldest first: what was done, and through which tool. */
    async trail(subject: string): Promise<{ action: string; tool: unknown }[]> {
      const rows = await database.db
        .select({ action: audit.action, details: audit.details })
        .from(audit)
        .where(eq(audit.subject, subject))
        .orderBy(asc(audit.id));
      return rows.map(({ action, details }) => ({ action, tool: (details as { tool?: unknown }).tool }));
    },
    close: () => gateway.close(),
  };
}
