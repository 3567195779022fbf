/**
 * What answers an app while nobody is signed in: an MCP server with one tool, `sign_in`, and nothing behind it.
 *
 * The tool answers with a link, at once; somebody opens it in a browser, and the sign-in is kept as `specgate login` keeps
 * it. Asking again while a link is good answers with the same one.
 */
import { type JSONRPCMessage, ProtocolError, Server, type Transport } from "@modelcontextprotocol/server";
import { type StdioServerHandle, serveStdio } from "@modelcontextprotocol/server/stdio";
import { Failure } from "../platform/failure.ts";
import type { Envelope } from "./connect-envelope.ts";
import { openCredentials } from "./credentials.ts";
import { awaitDevice, beginDevice, type Device } from "./sign-in-device.ts";
import { type GatewayFlags, gatewayUrl } from "./sign-in-gateway.ts";
import { credentialOf, discover } from "./sign-in-oauth.ts";
import type { World } from "./world.ts";

export type LocalServerNeeds = {
  world: World;
  flags: GatewayFlags;
  scope: string;
  say: (message: Record<string, unknown>) => void;
  onSignedIn: () => void;
};

const signInTool = {
  name: "sign_in",
  title: "Sign in to the gateway",
  description:
    "Nobody is signed in to the SpecGate gateway yet. Answers with a link for the person to open in a browser; once they have signed in there, the gateway's own tools appear here.",
  inputSchema: { type: "object" as const, properties: {}, additionalProperties: false },
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: true },
};

/** Those of the gateway: an app asks for capabilities once, and they must hold once somebody is signed in. */
const capabilities = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { listChanged: true },
  completions: {},
};

export class LocalServer {
  readonly #needs: LocalServerNeeds;
  readonly #transport: Pipe;
  readonly #handle: StdioServerHandle;
  readonly #servers: Server[] = [];
  #pending: { device: Device; endsAt: number } | null = null;

  constructor(needs: LocalServerNeeds) {
    this.#needs = needs;
    this.#transport = new Pipe(needs.say);
    this.#handle = serveStdio(() => this.#server(), { transport: this.#transport });
  }

  take({ value }: Envelope): void {
    this.#transport.onmessage?.(value as JSONRPCMessage);
  }

  /** To those who listen in the modern era. */
  announce(): void {
    for (const server of this.#servers)
      for (const told of [
        server.sendToolListChanged(),
        server.sendPromptListChanged(),
        server.sendResourceListChanged(),
      ])
        told.catch(() => undefined);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  #server(): Server {
    const info = { name: "specgate", title: "SpecGate (not signed in)", version: this.#needs.world.version };
    const server = new Server(info, { capabilities });
    server.setRequestHandler("tools/list", () => ({ tools: [signInTool] }));
    server.setRequestHandler("prompts/list", () => ({ prompts: [] }));
    server.setRequestHandler("resources/list", () => ({ resources: [] }));
    server.setRequestHandler("resources/templates/list", () => ({ resourceTemplates: [] }));
    server.setRequestHandler("tools/call", ({ params }) => {
      if (params.name === signInTool.name) return this.#signIn();
      throw new ProtocolError(-32602, "Nobody is signed in to the gateway. Call the tool sign_in first.");
    });
    this.#servers.push(server);
    return server;
  }

  async #signIn() {
    try {
      const { issuer } =
        openCredentials(this.#needs.world).find(gatewayUrl(this.#needs.world, this.#needs.flags)) ?? {};
      if (issuer !== undefined && this.#pending === null)
        return said(`You are signed in to ${issuer} already.`);
      const { device, endsAt } = await this.#device();
      const link = device.verification_uri_complete ?? device.verification_uri;
      const minutes = Math.max(1, Math.round((endsAt - Date.now()) / 60_000));
      return said(
        `Open ${link} in a browser and sign in there. The code ${device.user_code} must be the one that is shown. ` +
          `The link is good for ${minutes} min; the gateway's tools appear once it is done.`,
      );
    } catch (error) {
      const message = error instanceof Failure ? error.message : "The sign-in could not be begun.";
      return { ...said(message), isError: true };
    }
  }

  async #device(): Promise<{ device: Device; endsAt: number }> {
    if (this.#pending !== null && this.#pending.endsAt > Date.now()) return this.#pending;
    const { world, flags, scope } = this.#needs;
    const server = await discover(gatewayUrl(world, flags));
    const device = await beginDevice(server, scope);
    const pending = { device, endsAt: Date.now() + device.expires_in * 1_000 };
    this.#pending = pending;
    awaitDevice(world, server, device)
      .then((granted) =>
        openCredentials(world).change(async ({ keep }) => keep(server.issuer, credentialOf(granted, scope))),
      )
      .then(() => this.#needs.onSignedIn())
      .catch((error: unknown) => {
        const message = error instanceof Failure ? error.message : "the sign-in failed";
        world.stderr(`specgate: ${message}\n`);
      })
      .finally(() => {
        if (this.#pending === pending) this.#pending = null;
      });
    return pending;
  }
}

const said = (text: string) => ({ content: [{ type: "text" as const, text }] });

/** The app's pipe, as the protocol's library wants to see one. */
class Pipe implements Transport {
  declare onmessage?: Transport["onmessage"];
  declare onclose?: Transport["onclose"];
  readonly #say: (message: Record<string, unknown>) => void;

  constructor(say: (message: Record<string, unknown>) => void) {
    this.#say = say;
  }

  async start(): Promise<void> {}

  async send(message: JSONRPCMessage): Promise<void> {
    this.#say({ ...message });
  }

  async close(): Promise<void> {
    this.onclose?.();
  }
}
