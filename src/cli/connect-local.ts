/**
 * What answers an app while nobody is signed in, and greets it while the gateway is away: an MCP server with one tool,
 * `sign_in`, and nothing behind it.
 *
 * The tool answers with a link, at once; somebody opens it in a browser, and the sign-in is kept as `specgate login` keeps
 * it. Asking again while a link is good answers with the same one. Where a sign-in lets the app do all that it wants, or
 * none is needed, it says so.
 */
import {
  isJSONRPCNotification,
  isJSONRPCRequest,
  type JSONRPCMessage,
  ProtocolError,
  Server,
  type Transport,
} from "@modelcontextprotocol/server";
import { type StdioServerHandle, serveStdio } from "@modelcontextprotocol/server/stdio";
import { Failure } from "../platform/failure.ts";
import type { Envelope } from "./connect-envelope.ts";
import { signInTool } from "./connect-retold.ts";
import type { WantedScopes } from "./connect-scopes.ts";
import { isAway } from "./connect-send.ts";
import { openCredentials } from "./credentials.ts";
import type { SignedIn } from "./sign-in.ts";
import { awaitDevice, beginDevice, type Device } from "./sign-in-device.ts";
import { type GatewayFlags, gatewayUrl } from "./sign-in-gateway.ts";
import { type AuthorizationServer, credentialOf, discover } from "./sign-in-oauth.ts";
import type { World } from "./world.ts";

export type LocalServerNeeds = {
  world: World;
  flags: GatewayFlags;
  wanted: WantedScopes;
  say: (message: Record<string, unknown>) => void;
  /** Null when nobody is signed in. */
  access: () => Promise<SignedIn | null>;
  onSignedIn: (granted: string) => void;
};

/** Those of the gateway: an app asks for capabilities once, and they must hold once somebody is signed in. */
const capabilities = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { listChanged: true },
  completions: {},
};

/** Until the link is there nobody knows when it ends. */
type Pending = { readonly scope: string; endsAt: number; readonly link: Promise<Device> };

export class LocalServer {
  readonly #needs: LocalServerNeeds;
  readonly #transport: Pipe;
  readonly #handle: StdioServerHandle;
  readonly #listened: Server[] = [];
  readonly #closed = new AbortController();
  #pending: Pending | null = null;

  constructor(needs: LocalServerNeeds) {
    this.#needs = needs;
    this.#transport = new Pipe(needs.say);
    this.#handle = serveStdio(({ era }) => this.#server(era), { transport: this.#transport });
  }

  /** False for what is neither a request nor a notification: it would be left without an answer. */
  take({ value }: Envelope): boolean {
    if (!isJSONRPCRequest(value) && !isJSONRPCNotification(value)) return false;
    this.#transport.onmessage?.(value);
    return true;
  }

  /** To those who listen in the modern era. */
  announce(): void {
    for (const server of this.#listened)
      for (const told of [
        server.sendToolListChanged(),
        server.sendPromptListChanged(),
        server.sendResourceListChanged(),
      ])
        told.catch(() => undefined);
  }

  close(): Promise<void> {
    if (this.#pending !== null)
      this.#needs.world.stderr(
        "specgate: the sign-in that was begun ends here; specgate login begins another\n",
      );
    this.#closed.abort();
    return this.#handle.close();
  }

  #server(era: "modern" | "legacy"): Server {
    const info = { name: "specgate", title: "SpecGate", version: this.#needs.world.version };
    const server = new Server(info, { capabilities });
    server.setRequestHandler("tools/list", () => ({ tools: [signInTool] }));
    server.setRequestHandler("prompts/list", () => ({ prompts: [] }));
    server.setRequestHandler("resources/list", () => ({ resources: [] }));
    server.setRequestHandler("resources/templates/list", () => ({ resourceTemplates: [] }));
    server.setRequestHandler("tools/call", ({ params }) => {
      if (params.name === signInTool.name) return this.#signIn();
      throw new ProtocolError(-32602, "Nobody is signed in to the gateway. Call the tool sign_in first.");
    });
    if (era === "modern") this.#listened.push(server);
    return server;
  }

  async #signIn() {
    try {
      if (this.#pending === null) {
        const access = await this.#access();
        if (access?.isKept === false) return refused(isGiven);
        if (access !== null && !this.#needs.wanted.areMoreThan(access.scope))
          return said(`You are signed in to ${access.url} already.`);
      }
      const pending = this.#ask();
      const device = await pending.link;
      const link = device.verification_uri_complete ?? device.verification_uri;
      const minutes = Math.max(1, Math.round((pending.endsAt - Date.now()) / 60_000));
      return said(
        `Open ${link} in a browser and sign in there. The code ${device.user_code} must be the one that is shown. ` +
          `The link is good for ${minutes} min, while this app runs; the gateway's tools can be used once it is done.`,
      );
    } catch (error) {
      return refused(error instanceof Failure ? error.message : "The sign-in could not be begun.");
    }
  }

  /** A sign-in that cannot be used is none: to sign in anew is the way out. */
  async #access(): Promise<SignedIn | null> {
    try {
      return await this.#needs.access();
    } catch (error) {
      if (isAway(error)) return null;
      throw error;
    }
  }

  /** One link for all who ask for the same while it is good. */
  #ask(): Pending {
    const { world, flags, wanted } = this.#needs;
    const url = gatewayUrl(world, flags);
    const scope = wanted.with(openCredentials(world).find(url)?.credential.scope ?? "");
    const known = this.#pending;
    if (known !== null && known.scope === scope && known.endsAt > Date.now()) return known;
    const begun = discover(url).then(async (server) => {
      const device = await beginDevice(server, scope);
      pending.endsAt = Date.now() + device.expires_in * 1_000;
      return { server, device };
    });
    const pending: Pending = {
      scope,
      endsAt: Number.POSITIVE_INFINITY,
      link: begun.then(({ device }) => device),
    };
    this.#pending = pending;
    const over = () => {
      if (this.#pending === pending) this.#pending = null;
    };
    pending.link.catch(over);
    begun
      .then(({ server, device }) => this.#await(server, device, scope).finally(over))
      .catch(() => undefined);
    return pending;
  }

  async #await(server: AuthorizationServer, device: Device, scope: string): Promise<void> {
    const { world, onSignedIn } = this.#needs;
    try {
      const granted = await awaitDevice(world, server, device, this.#closed.signal);
      const credential = credentialOf(granted, scope);
      await openCredentials(world).change(async ({ keep }) => keep(server.issuer, credential));
      onSignedIn(credential.scope);
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      world.stderr(`specgate: ${error instanceof Failure ? error.message : "the sign-in failed"}\n`);
    }
  }
}

const isGiven =
  "There is nobody to sign in: specgate connect acts with the credential in SPECGATE_TOKEN. Start it without that one to sign in here.";

const said = (text: string) => ({ content: [{ type: "text" as const, text }] });

const refused = (text: string) => ({ ...said(text), isError: true });

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
