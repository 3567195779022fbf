/**
 * Between an app's pipe and a gateway's /mcp: a line in, a request out, its messages back as lines.
 *
 * What the app sends goes on as it is and is judged by the gateway alone; what comes back is said as it was received. Each
 * request is answered exactly once, whatever becomes of the connection, except one that the app itself has cancelled.
 * While nobody is signed in the gateway is not asked at all: what answers then offers a way to sign in, and nothing else.
 */
import { Failure } from "../platform/failure.ts";
import { type Envelope, errorText, isObject, openEnvelope } from "./connect-envelope.ts";
import { Errand } from "./connect-errand.ts";
import { GatewayEnd } from "./connect-gateway.ts";
import { LocalServer } from "./connect-local.ts";
import { Refused } from "./connect-send.ts";
import { printable } from "./print.ts";
import { type SignedIn, signedIn } from "./sign-in.ts";
import type { GatewayFlags } from "./sign-in-gateway.ts";
import type { World } from "./world.ts";

export type BridgeNeeds = { world: World; flags: GatewayFlags; scope: string };

/** How long what is under way may still take once the app has closed its end: it may go on reading. */
const partingMs = 60_000;

const requestForm =
  "A request has `jsonrpc`, `method`, an `id` that is a string or a whole number, and named `params`.";

type Value = Readonly<Record<string, unknown>>;

export class Bridge {
  readonly #needs: BridgeNeeds;
  readonly #local: LocalServer;
  readonly #gateway: GatewayEnd;
  readonly #underWay = new Set<Errand>();
  /** Of the legacy era, as the two ends have agreed; null until they have. */
  #version: string | null = null;
  #isLegacy = false;
  /** What the app was last offered; null before anything was. */
  #isSignedIn: boolean | null = null;
  #asking: { refused: SignedIn | undefined; answer: Promise<SignedIn | null> } | null = null;
  /** A kept credential that the gateway refused although it had just been renewed. */
  #useless: SignedIn | null = null;

  constructor(needs: BridgeNeeds) {
    this.#needs = needs;
    this.#gateway = new GatewayEnd(needs.world.version);
    this.#local = new LocalServer({
      ...needs,
      say: (message) => this.#sayLocal(message),
      access: () => this.#access(),
      onSignedIn: () => {
        this.#isSignedIn ??= false;
        this.#offer(true);
      },
    });
  }

  /** Returns at once: nothing that one message waits for holds up the next. `null` is a line that could not be read. */
  take(line: string | null): void {
    const opened = line === null ? null : openEnvelope(line);
    if (line === null || opened === null) {
      this.#print(errorText(null, -32700, "This line is no JSON-RPC message, no UTF-8, or too long."));
      return;
    }
    this.#isLegacy ||= opened.method !== null && opened.modernVersion === null;
    if (opened.method === "notifications/cancelled" && this.#cancel(opened)) return;
    const errand = new Errand(opened);
    this.#underWay.add(errand);
    this.#carry(line, errand).catch((error: unknown) => this.#fail(errand, error));
  }

  /** Waits for the answers that are still owed; the app has nothing more to say. */
  async finish(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, partingMs);
    const owed = [...this.#underWay].filter(({ isStream }) => !isStream).map(({ over }) => over);
    await Promise.race([Promise.all(owed), late.promise]);
    clearTimeout(timer);
  }

  /** How many requests are given up. */
  async close(): Promise<number> {
    // It has a last word for those who listen.
    await this.#local.close();
    let dropped = 0;
    for (const errand of [...this.#underWay]) {
      if (errand.opened.id !== undefined && !errand.isStream) dropped += 1;
      this.#fail(
        errand,
        new Failure("unavailable", "ended", "specgate connect ended before the answer came."),
      );
    }
    return dropped;
  }

  async #carry(line: string, errand: Errand): Promise<void> {
    if (errand.opened.tool === "sign_in") return this.#askLocal(errand);
    const access = await this.#access();
    if (errand.isOver) return;
    this.#offer(access !== null);
    if (access === null) return this.#askLocal(errand);
    try {
      await this.#pass(line, errand, access);
    } catch (error) {
      if (!(error instanceof Refused && error.httpStatus === 401)) throw error;
      if (!access.isKept) throw notTaken(error);
      await this.#passAgain(line, errand, access);
    }
  }

  /** Once, with a renewed credential. */
  async #passAgain(line: string, errand: Errand, refused: SignedIn): Promise<void> {
    const renewed = await this.#access(refused);
    if (errand.isOver) return;
    try {
      if (renewed !== null) return await this.#pass(line, errand, renewed);
    } catch (error) {
      if (!(error instanceof Refused && error.httpStatus === 401)) throw error;
      this.#useless = renewed;
    }
    this.#offer(false);
    throw new Failure("unauthenticated", "signed_out", "Your sign-in has ended: call the tool sign_in.");
  }

  async #pass(line: string, errand: Errand, access: SignedIn): Promise<void> {
    const { opened, signal } = errand;
    const asked = { line, opened, access, signal, version: this.#version };
    const answer = await this.#gateway.ask(asked, (text) => {
      if (!errand.isOver) this.#print(text);
    });
    if (answer === null) return this.#end(errand);
    const result = opened.method === "initialize" ? answer.value.result : undefined;
    const changed = access.isKept && isObject(result) ? withListChanged(answer.value, result) : null;
    this.#answer(errand, answer.value, changed ?? answer.text);
  }

  #askLocal(errand: Errand): void {
    const { opened } = errand;
    errand.isLocal = true;
    const isTaken = this.#local.take(opened);
    if (opened.id === undefined) this.#end(errand);
    else if (!isTaken) this.#sayOnce(errand, errorText(opened.id, -32600, requestForm));
  }

  #sayLocal(message: Record<string, unknown>): void {
    const text = JSON.stringify(message);
    if (message.method !== undefined) {
      this.#print(text);
      return;
    }
    for (const errand of this.#underWay) {
      if (!errand.isLocal || errand.opened.id !== message.id) continue;
      this.#answer(errand, message, text);
      return;
    }
  }

  #answer(errand: Errand, { result }: Value, text: string): void {
    if (errand.opened.method === "initialize" && isObject(result)) {
      const { protocolVersion } = result;
      this.#version = typeof protocolVersion === "string" ? protocolVersion : null;
    }
    this.#sayOnce(errand, text);
  }

  #fail(errand: Errand, error: unknown): void {
    const { id, method } = errand.opened;
    const message = error instanceof Failure ? error.message : "specgate connect failed.";
    if (id !== undefined) this.#sayOnce(errand, errorText(id, -32000, message));
    else if (!errand.isOver)
      this.#needs.world.stderr(`specgate: ${printable(`${method ?? "a message"}: ${message}`)}\n`);
    this.#end(errand);
  }

  #sayOnce(errand: Errand, text: string): void {
    if (errand.isOver) return;
    this.#end(errand);
    this.#print(text);
  }

  #end(errand: Errand): void {
    this.#underWay.delete(errand);
    errand.end();
  }

  /** False for what is not under way here: the gateway may know of it. */
  #cancel(notice: Envelope): boolean {
    const { params } = notice.value;
    const id = isObject(params) ? params.requestId : undefined;
    let found = false;
    for (const errand of this.#underWay) {
      if (id === undefined || errand.opened.id !== id) continue;
      found = true;
      if (errand.isLocal) this.#local.take(notice);
      this.#end(errand);
    }
    return found;
  }

  /** Null when nobody is signed in. Asked once for all who wait for the same. */
  #access(refused?: SignedIn): Promise<SignedIn | null> {
    const known = this.#asking;
    if (known !== null && isSame(known.refused, refused)) return known.answer;
    const asking = { refused, answer: this.#look(refused) };
    this.#asking = asking;
    const done = () => {
      if (this.#asking === asking) this.#asking = null;
    };
    asking.answer.then(done, done);
    return asking.answer;
  }

  async #look(refused: SignedIn | undefined): Promise<SignedIn | null> {
    try {
      const found = await signedIn(this.#needs.world, this.#needs.flags, refused?.token);
      return this.#useless !== null && isSame(this.#useless, found) ? null : found;
    } catch (error) {
      if (error instanceof Failure && error.code === "signed_out") return null;
      throw error;
    }
  }

  /** Tells when what is offered has become something else. The modern era tells those alone who listen. */
  #offer(isSignedIn: boolean): void {
    const before = this.#isSignedIn;
    this.#isSignedIn = isSignedIn;
    if (before === null || before === isSignedIn) return;
    this.#local.announce();
    if (!this.#isLegacy) return;
    for (const what of ["tools", "prompts", "resources"])
      this.#print(JSON.stringify({ jsonrpc: "2.0", method: `notifications/${what}/list_changed` }));
  }

  #print(text: string): void {
    this.#needs.world.stdout(`${text}\n`);
  }
}

const isSame = (one: SignedIn | undefined, other: SignedIn | undefined): boolean =>
  one?.token.reveal() === other?.token.reveal();

const notTaken = ({ message }: Refused): Failure =>
  new Failure(
    "unauthenticated",
    "refused",
    `The credential in SPECGATE_TOKEN was refused (${message}): start specgate connect with another one.`,
  );

/** The gateway's lists are fixed for an app of the legacy era; here they change when the sign-in ends. */
function withListChanged(value: Value, result: Record<string, unknown>): string | null {
  const { capabilities } = result;
  if (!isObject(capabilities)) return null;
  const changing = ["tools", "prompts", "resources"].filter((what) => isObject(capabilities[what]));
  const told = changing.map((what) => [what, { ...(capabilities[what] as object), listChanged: true }]);
  const all = { ...capabilities, ...Object.fromEntries(told) };
  return JSON.stringify({ ...value, result: { ...result, capabilities: all } });
}
