/**
 * A gateway as an app on a pipe meets it: what its HTTP asks for beside the message is added here, and learned here.
 */
import { headerMismatch } from "../features/mcp/headers.ts";
import { type Envelope, isObject, type Message } from "./connect-envelope.ts";
import { DeclaredParams, headersOf } from "./connect-headers.ts";
import { type Sending, send } from "./connect-send.ts";

export type Asked = Pick<Sending, "line" | "access" | "signal"> & {
  readonly opened: Envelope;
  /** Agreed in the legacy era; null before. */
  readonly version: string | null;
};

const pagesMax = 100;

export class GatewayEnd {
  readonly #agent: string;
  readonly #declared = new DeclaredParams();
  #lists = 0;

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

  #send({ line, opened, version, access, signal }: Asked, say: (text: string) => void) {
    const headers = headersOf(opened, version);
    headers.set("user-agent", this.#agent);
    this.#declared.addTo(headers, opened);
    return send({ line, id: opened.id, headers, access, signal }, say);
  }

  /** Asks for the list up to this tool; false when that says nothing of it. */
  async #relearn({ opened, ...asked }: Asked, tool: string): Promise<boolean> {
    const { modernVersion, value } = opened;
    const method = "tools/list";
    let cursor: string | undefined;
    for (let page = 0; page < pagesMax; page++) {
      this.#lists += 1;
      const id = `specgate-connect-${this.#lists}`;
      const params = { _meta: envelopeOf(value), ...(cursor === undefined ? {} : { cursor }) };
      const request = { jsonrpc: "2.0", id, method, params };
      const list: Envelope = { value: request, method, id, modernVersion, name: null, tool: null };
      const line = JSON.stringify(request);
      const answer = await this.#send({ ...asked, line, opened: list }, () => undefined).catch(() => null);
      const { result } = answer?.value ?? {};
      if (this.#declared.learn(result).has(tool)) return this.#declared.knows(tool);
      if (!isObject(result) || typeof result.nextCursor !== "string") return false;
      cursor = result.nextCursor;
    }
    return false;
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
