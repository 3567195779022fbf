/**
 * Between an app's pipe and a gateway's /mcp: a line in, a request out, its messages back as lines.
 *
 * What the app sends goes on byte for byte and is judged by the gateway alone. Each request is answered exactly once,
 * whatever becomes of the connection, except one that the app itself has cancelled. While nobody is signed in the gateway
 * is not asked at all: what answers then offers a way to sign in, and nothing else.
 */
import { Failure } from "../platform/failure.ts";
import { type Envelope, eraOf, openEnvelope, type RpcId } from "./connect-envelope.ts";
import { LocalServer } from "./connect-local.ts";
import { Refused, send } from "./connect-send.ts";
import { type SignedIn, signedIn } from "./sign-in.ts";
import type { GatewayFlags } from "./sign-in-gateway.ts";
import type { World } from "./world.ts";

export type BridgeNeeds = { world: World; flags: GatewayFlags; scope: string };

/** How long what is under way may still take once the app has closed its end. */
const partingMs = 2_000;

export class Bridge {
  readonly #needs: BridgeNeeds;
  readonly #local: LocalServer;
  readonly #underWay = new Map<RpcId, { abort: AbortController; isStream: boolean; done: Promise<void> }>();
  /** Of the legacy era, as the two ends have agreed; null until they have. */
  #version: string | null = null;
  #initializing: RpcId | null = null;
  #isLegacy = false;

  constructor(needs: BridgeNeeds) {
    this.#needs = needs;
    this.#local = new LocalServer({
      ...needs,
      say: (message) => this.#say(message),
      onSignedIn: () => this.#announce(),
    });
  }

  /** Resolves when the message is on its way. `null` stands for a line that was too long. */
  async take(line: string | null): Promise<void> {
    const opened = line === null ? null : openEnvelope(line);
    if (line === null || opened === null) {
      this.#say(rpcError(null, -32700, "This line is no JSON-RPC message, or it is too long."));
      return;
    }
    this.#notice(opened);
    if (opened.method === "notifications/cancelled" && this.#cancel(opened)) return;
    if (opened.tool === "sign_in") return this.#local.take(opened);
    try {
      const access = await this.#access();
      if (access === null) this.#local.take(opened);
      else this.#pass(line, opened, access);
    } catch (error) {
      this.#fail(opened, error);
    }
  }

  /** Waits a moment for what is under way; the app has nothing more to say. */
  async finish(): Promise<void> {
    const answers = [...this.#underWay.values()].filter(({ isStream }) => !isStream);
    await Promise.race([Promise.all(answers.map(({ done }) => done)), Bun.sleep(partingMs)]);
  }

  async close(): Promise<void> {
    for (const { abort } of this.#underWay.values()) abort.abort();
    await this.#local.close();
  }

  #notice({ method, id, value }: Envelope): void {
    this.#isLegacy ||= eraOf(value) === "legacy";
    if (method === "initialize" && id !== undefined) this.#initializing = id;
  }

  /** Null when nobody is signed in. */
  async #access(refused?: SignedIn): Promise<SignedIn | null> {
    try {
      return await signedIn(this.#needs.world, this.#needs.flags, refused?.token);
    } catch (error) {
      if (error instanceof Failure && error.code === "signed_out") return null;
      throw error;
    }
  }

  #pass(line: string, opened: Envelope, access: SignedIn): void {
    const abort = new AbortController();
    const done = this.#exchange(line, opened, { access, signal: abort.signal })
      .catch((error: unknown) => {
        if (!abort.signal.aborted) this.#fail(opened, error);
      })
      .finally(() => {
        if (opened.id !== undefined && this.#underWay.get(opened.id)?.abort === abort)
          this.#underWay.delete(opened.id);
      });
    if (opened.id === undefined) return;
    this.#underWay.set(opened.id, { abort, isStream: opened.method === "subscriptions/listen", done });
  }

  async #exchange(
    line: string,
    opened: Envelope,
    { access, signal }: { access: SignedIn; signal: AbortSignal },
  ): Promise<void> {
    const { world } = this.#needs;
    const ask = (bearer: SignedIn) =>
      send(
        { ...opened, line, access: bearer, version: this.#version, agent: world.version, signal },
        (message) => this.#say(message),
      );
    try {
      await ask(access);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 401 && access.isKept)) throw error;
      const renewed = await this.#access(access);
      if (renewed !== null) return ask(renewed);
      this.#announce();
      throw new Failure("unauthenticated", "signed_out", "Your sign-in has ended: call the tool sign_in.");
    }
  }

  #cancel({ value }: Envelope): boolean {
    const { requestId } = (value.params ?? {}) as { requestId?: RpcId };
    const found = requestId === undefined ? undefined : this.#underWay.get(requestId);
    found?.abort.abort();
    return found !== undefined;
  }

  #fail({ id }: Envelope, error: unknown): void {
    const message = error instanceof Failure ? error.message : "specgate connect failed.";
    if (id === undefined) this.#needs.world.stderr(`specgate: ${message}\n`);
    else this.#say(rpcError(id, -32000, message));
  }

  /** What is offered has become something else. The modern era tells those alone who listen. */
  #announce(): void {
    this.#local.announce();
    if (!this.#isLegacy) return;
    for (const what of ["tools", "prompts", "resources"])
      this.#say({ jsonrpc: "2.0", method: `notifications/${what}/list_changed` });
  }

  #say(message: Record<string, unknown>): void {
    const { result, id } = message;
    if (id !== undefined && id === this.#initializing && typeof result === "object" && result !== null) {
      const { protocolVersion } = result as { protocolVersion?: unknown };
      this.#version = typeof protocolVersion === "string" ? protocolVersion : null;
      this.#initializing = null;
    }
    this.#needs.world.stdout(`${JSON.stringify(message)}\n`);
  }
}

const rpcError = (id: RpcId | null, code: number, message: string): Record<string, unknown> => ({
  jsonrpc: "2.0",
  id,
  error: { code, message },
});
