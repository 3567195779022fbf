/**
 * A gateway as an app on a pipe meets it: what its HTTP asks for beside the message is added here, and learned here.
 */
import { headerMismatch } from "../features/mcp/headers.ts";
import { type Envelope, isObject, type Message } from "./connect-envelope.ts";
import { DeclaredParams, headersOf } from "./connect-headers.ts";
import { type Sending, send } from "./connect-send.ts";
import type { SignedIn } from "./sign-in.ts";

export type Asked = Pick<Sending, "line" | "access" | "signal" | "isGreeting"> & {
  readonly opened: Envelope;
  /** Agreed in the legacy era; null before. */
  readonly version: string | null;
};

const pagesMax = 100;
/** An app waits a minute for its greeting, and the sign-in may have to be renewed before. */
export const greetingMs = 10_000;

export class GatewayEnd {
  readonly #agent: string;
  readonly #declared = new DeclaredParams();
  #questions = 0;

  /** `version` is this program's own. */
  constructor(version: string) {
    this.#agent = `specgate/${version}`;
  }

  /** As `send`. */
  async ask(asked: Asked, say: (text: string) => void): Promise<Message | null> {
    const { opened } = asked;
    const answer = await this.#send(asked, say);
    if (opened.method === "tools/list") this.#declared.learn(answer?.value.result);
    if (opened.tool === null || opened.modernVersion === null || !isMismatch(answer)) return answer;
    // It was refused before anything was done, for headers that nobody has listed here yet, or that have changed.
    return (await this.#relearn(asked, opened.tool)) ? this.#send(asked, say) : answer;
  }

  /** Asks in the era of this message, and only whether somebody is there. Throws as `send`. */
  async knock({ modernVersion, value }: Envelope, access: SignedIn): Promise<void> {
    const [method, params] =
      modernVersion === null ? ["ping", {}] : ["server/discover", { _meta: envelopeOf(value) }];
    const question = this.#question(method, modernVersion, params);
    const signal = AbortSignal.timeout(greetingMs);
    await this.#send({ ...question, access, signal, isGreeting: true, version: null }, () => undefined);
  }

  #send({ opened, version, ...sending }: Asked, say: (text: string) => void) {
    const headers = headersOf(opened, version);
    headers.set("user-agent", this.#agent);
    this.#declared.addTo(headers, opened);
    return send({ ...sending, id: opened.id, headers }, say);
  }

  /** Asks for the list up to this tool; false when that says nothing of it. */
  async #relearn({ opened, ...asked }: Asked, tool: string): Promise<boolean> {
    const { modernVersion, value } = opened;
    let cursor: string | undefined;
    for (let page = 0; page < pagesMax; page++) {
      const params = { _meta: envelopeOf(value), ...(cursor === undefined ? {} : { cursor }) };
      const list = this.#question("tools/list", modernVersion, params);
      const answer = await this.#send({ ...asked, ...list }, () => undefined).catch(() => null);
      const { result } = answer?.value ?? {};
      if (this.#declared.learn(result).has(tool)) return this.#declared.knows(tool);
      if (!isObject(result) || typeof result.nextCursor !== "string") return false;
      cursor = result.nextCursor;
    }
    return false;
  }

  /** One of this program's own. */
  #question(method: string, modernVersion: string | null, params: object) {
    this.#questions += 1;
    const id = `specgate-connect-${this.#questions}`;
    const value = { jsonrpc: "2.0", id, method, params };
    const opened: Envelope = { value, method, id, modernVersion, name: null, tool: null };
    return { line: JSON.stringify(value), opened };
  }
}

const isMismatch = (answer: Message | null): boolean =>
  isObject(answer?.value.error) && answer.value.error.code === headerMismatch;

/** Who asks, and by which revision; not what is only this one request's, such as where its progress is told. */
function envelopeOf({ params }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const meta = isObject(params) && isObject(params._meta) ? params._meta : {};
  return Object.fromEntries(
    Object.entries(meta).filter(([key]) => key.startsWith("io.modelcontextprotocol/")),
  );
}
