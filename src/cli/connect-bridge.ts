/**
 * Between an app's pipe and a gateway's /mcp: a line in, a request out, its messages back as lines.
 *
 * What the app sends goes on as it is and is judged by the gateway alone; what comes back is said as it was received, but
 * for the few words of `connect-retold.ts`. Each request is answered exactly once, whatever becomes of the connection,
 * except one that the app itself has cancelled. While nobody is signed in the gateway is not asked at all: what answers
 * then offers a way to sign in, and nothing else. It also greets an app while the gateway is away.
 */
import { Failure } from "../platform/failure.ts";
import { type Envelope, errorText, isObject, openEnvelope } from "./connect-envelope.ts";
import { Errand } from "./connect-errand.ts";
import { GatewayEnd, greetingMs } from "./connect-gateway.ts";
import { LocalServer } from "./connect-local.ts";
import { changesFor, listChanges, withHint, withListChanged, withSignIn } from "./connect-retold.ts";
import { letsIn, WantedScopes } from "./connect-scopes.ts";
import { isAway, Refused } from "./connect-send.ts";
import { printable } from "./print.ts";
import { type SignedIn, signedIn } from "./sign-in.ts";
import type { GatewayFlags } from "./sign-in-gateway.ts";
import type { World } from "./world.ts";

export type BridgeNeeds = { world: World; flags: GatewayFlags; scope: string };

/** How long what is under way may still take once the app has closed its end: it may go on reading. */
const partingMs = 60_000;
/** Between two looks whether the gateway is back. */
const lookMsMax = 15_000;

const requestForm =
  "A request has `jsonrpc`, `method`, an `id` that is a string or a whole number, and named `params`.";

type Value = Readonly<Record<string, unknown>>;
/** The tool `sign_in` alone, beside the gateway's tools, or not at all. */
type Offer = "sign_in" | "both" | "gateway";

export class Bridge {
  readonly #needs: BridgeNeeds;
  readonly #local: LocalServer;
  readonly #gateway: GatewayEnd;
  readonly #wanted: WantedScopes;
  readonly #underWay = new Set<Errand>();
  /** Of the legacy era, as the two ends have agreed; null until they have. */
  #version: string | null = null;
  #isLegacy = false;
  /** What the app was last offered; null before anything was. */
  #offered: Offer | null = null;
  /** The app was greeted from here, and has yet to hear that there is something to list. */
  #isAwaited = false;
  #asking: { refused: SignedIn | undefined; answer: Promise<SignedIn | null> } | null = null;
  /** A kept credential that the gateway refused although it had just been renewed. */
  #useless: SignedIn | null = null;

  constructor(needs: BridgeNeeds) {
    this.#needs = needs;
    this.#gateway = new GatewayEnd(needs.world.version);
    this.#wanted = new WantedScopes(needs.scope);
    this.#local = new LocalServer({
      ...needs,
      wanted: this.#wanted,
      say: (message) => this.#sayLocal(message),
      access: () => this.#access(),
      onSignedIn: (granted) => {
        this.#offered ??= "sign_in";
        this.#offer(this.#wanted.areMoreThan(granted) ? "both" : "gateway");
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
    this.#isAwaited = false;
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
    const { opened, isGreeting, isStream } = errand;
    if (opened.tool === "sign_in") return this.#askLocal(errand);
    try {
      await this.#askGateway(line, errand);
    } catch (error) {
      // A stream is opened once, and here it is heard that the gateway is back.
      if (errand.isOver || !(isGreeting || isStream)) throw error;
      if (isAway(error)) void this.#awaitGateway(opened);
      else if (!isSignedOut(error)) throw error;
      this.#askLocal(errand);
    }
  }

  async #askGateway(line: string, errand: Errand): Promise<void> {
    const access = await this.#access();
    if (errand.isOver) return;
    if (access === null) {
      this.#offer("sign_in");
      this.#hasCome();
      return this.#askLocal(errand);
    }
    this.#offer(this.#offerFor(access));
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
    this.#offer("sign_in");
    throw new Failure("unauthenticated", "signed_out", "Your sign-in has ended: call the tool sign_in.");
  }

  async #pass(line: string, errand: Errand, access: SignedIn): Promise<void> {
    const { opened, isGreeting } = errand;
    const signal = isGreeting
      ? AbortSignal.any([errand.signal, AbortSignal.timeout(greetingMs)])
      : errand.signal;
    const asked = { line, opened, access, signal, isGreeting, version: this.#version };
    const answer = await this.#gateway.ask(asked, (text) => {
      if (!errand.isOver) this.#print(text);
    });
    this.#hasCome();
    if (answer === null) return this.#end(errand);
    const retold = access.isKept ? this.#retold(opened, answer.value, access) : null;
    this.#answer(errand, answer.value, retold ?? answer.text);
  }

  #retold({ method }: Envelope, value: Value, access: SignedIn): string | null {
    if (this.#wanted.learn(value.error)) {
      this.#offer(this.#offerFor(access));
      return withHint(value);
    }
    if (method === "initialize") return withListChanged(value);
    return method === "tools/list" && this.#offerFor(access) === "both" ? withSignIn(value) : null;
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
      if (found.isKept && !letsIn(found.scope)) return null;
      return this.#useless !== null && isSame(this.#useless, found) ? null : found;
    } catch (error) {
      if (isSignedOut(error)) return null;
      throw error;
    }
  }

  /** Nobody else would say when the gateway is back: lists that failed are asked for again once they have changed. */
  async #awaitGateway(greeting: Envelope): Promise<void> {
    if (this.#isAwaited) return;
    this.#isAwaited = true;
    for (let waitMs = 1_000; this.#isAwaited; waitMs = Math.min(2 * waitMs, lookMsMax)) {
      await this.#needs.world.sleep(waitMs);
      if (this.#isAwaited && (await this.#isThere(greeting))) this.#hasCome();
    }
  }

  async #isThere(greeting: Envelope): Promise<boolean> {
    try {
      const access = await this.#access();
      if (access !== null) await this.#gateway.knock(greeting, access);
      return true;
    } catch (error) {
      return !isAway(error);
    }
  }

  #hasCome(): void {
    if (this.#isAwaited) this.#announce();
    this.#isAwaited = false;
  }

  #offerFor({ isKept, scope }: SignedIn): Offer {
    return isKept && this.#wanted.areMoreThan(scope) ? "both" : "gateway";
  }

  /** Tells when what is offered has become something else. */
  #offer(offer: Offer): void {
    const before = this.#offered;
    this.#offered = offer;
    if (before !== null && before !== offer) this.#announce();
  }

  /** The modern era tells those alone who listen, each on its own stream. */
  #announce(): void {
    this.#local.announce();
    if (this.#isLegacy) for (const text of listChanges) this.#print(text);
    for (const { opened, isStream, isLocal } of this.#underWay)
      if (isStream && !isLocal) for (const text of changesFor(opened)) this.#print(text);
  }

  #print(text: string): void {
    this.#needs.world.stdout(`${text}\n`);
  }
}

const isSame = (one: SignedIn | undefined, other: SignedIn | undefined): boolean =>
  one?.token.reveal() === other?.token.reveal();

const isSignedOut = (error: unknown): boolean => error instanceof Failure && error.code === "signed_out";

const notTaken = ({ message }: Refused): Failure =>
  new Failure(
    "unauthenticated",
    "refused",
    `The credential in SPECGATE_TOKEN was refused (${message}): start specgate connect with another one.`,
  );
