/**
 * A provider that does what it is told: a real server on loopback that answers OpenAI's API by scripts, one per model
 * name, and can stall, lie, tear a chunk or hang up at any byte.
 *
 * It keeps books of its own (what it was asked, which bytes it sent, when the client left), so that the gateway's
 * account can be held against an independent one. Also runs by itself: `bun src/testing/provider.ts --port 9000`.
 */
import { answer } from "./provider-answers.ts";
import { builtInScripts } from "./provider-models.ts";
import { type Asked, bytesOf, type Script, type Scripted, type Step, type Tally } from "./provider-script.ts";
import { Connection, type WireRequest } from "./provider-wire.ts";

export type Provider = {
  /** As an SDK takes it: `http://127.0.0.1:<port>/v1`. */
  readonly url: string;
  readonly port: number;
  /** Requests for `model` get the scripts in turn, the last one from then on. `*` is every model without its own. */
  script(model: string, ...scripts: [Scripted, ...Scripted[]]): void;
  /** In the order of arrival. */
  readonly received: readonly Received[];
  /** The same by the call they belong to, which one request and its retries share: see `Received.key`. */
  books(): ReadonlyMap<string, readonly Received[]>;
  /** The request after those already received, as soon as it is there. */
  next(): Promise<Received>;
  /** Hangs up on everyone. */
  close(): void;
};

/** `whole`: the script ran to its end. `cut`: the script hung up. `gone`: the client left before either. */
export type Ending = "whole" | "cut" | "gone";

export class Received {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Headers;
  /** Request line and headers, as they came. */
  readonly head: string;
  readonly body: Uint8Array;
  readonly json: unknown;
  readonly model: string | null;
  /** What its caller knows it by, sent through every gateway: `idempotency-key`, else the trace of `traceparent`. */
  readonly key: string | null;
  /** The status that was answered; null when nothing was. */
  status: number | null = null;
  /** Tokens that were told to the client, as far as the pieces that say so have gone out whole. */
  reported: Partial<Tally> = {};
  /** `performance.now()`. */
  readonly at = performance.now();
  ending: Ending | "open" = "open";
  /** `performance.now()` of the ending. */
  endedAt: number | null = null;
  readonly ended: Promise<Ending>;
  /** Every byte put on the wire, headers and framing included. */
  sentBytes = 0;
  #wire: Uint8Array[] = [];
  #body: Uint8Array[] = [];
  #resolve: (ending: Ending) => void = () => {};

  constructor(request: WireRequest) {
    const [path = "", query = ""] = request.target.split("?");
    this.method = request.method;
    this.path = path;
    this.query = query;
    this.headers = request.headers;
    this.head = request.head;
    this.body = request.body;
    this.json = parsed(request.body);
    const model = (this.json as { model?: unknown } | null)?.model;
    this.model = typeof model === "string" ? model : null;
    this.key = keyOf(request.headers);
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** The first 32 MiB of what was put on the wire. */
  get sent(): Uint8Array {
    return Buffer.concat(this.#wire);
  }

  /** The first 32 MiB of the body, without chunk framing. */
  get sentBody(): Uint8Array {
    return Buffer.concat(this.#body);
  }

  /** Of an answer made of `word1 word2 …`: how many of them were put on the wire. */
  get words(): number {
    return wordsIn(new TextDecoder().decode(this.sentBody));
  }

  noteSent(wire: Uint8Array, body: Uint8Array): void {
    this.sentBytes += wire.length;
    if (this.sentBytes > booksBytesMax) return;
    this.#wire.push(wire);
    this.#body.push(body);
  }

  noteEnd(ending: Ending): void {
    this.ending = ending;
    this.endedAt = performance.now();
    this.#resolve(ending);
  }
}

export const wordsIn = (text: string): number =>
  [...text.matchAll(/word(\d+)/g)].reduce((most, [, n]) => Math.max(most, Number(n)), 0);

const booksBytesMax = 32 * 1024 * 1024;
const nothing = new Uint8Array(0);

export function startProvider(options: { port?: number } = {}): Provider {
  const scripts = new Map<string, Scripted[]>();
  const received: Received[] = [];
  let waiting: ((request: Received) => void)[] = [];

  const choose = (request: Received): Script => {
    const queue = scripts.get(request.model ?? "") ?? scripts.get("*");
    const scripted = (queue && queue.length > 1 ? queue.shift() : queue?.[0]) ?? answer();
    return typeof scripted === "function" ? scripted(askedOf(request)) : scripted;
  };
  const talk = async (connection: Connection): Promise<void> => {
    for (;;) {
      const request = await connection.read();
      if (request === undefined) return;
      const entry = new Received(request);
      received.push(entry);
      const told = waiting;
      waiting = [];
      for (const tell of told) tell(entry);
      await perform(connection, entry, choose(entry));
    }
  };

  const server = Bun.listen<Connection>({
    hostname: "127.0.0.1",
    port: options.port ?? 0,
    socket: {
      open(socket) {
        socket.data = new Connection(socket);
        void talk(socket.data);
      },
      data: (socket, bytes) => socket.data.onData(bytes),
      drain: (socket) => socket.data.onDrain(),
      error: (socket) => socket.data.onClose(),
      close: (socket) => socket.data.onClose(),
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}/v1`,
    port: server.port,
    received,
    books: () => Map.groupBy(received.filter(hasKey), ({ key }) => key),
    script: (model, ...list) => void scripts.set(model, list),
    next: () => new Promise((resolve) => waiting.push(resolve)),
    close: () => server.stop(true),
  };
}

const keyOf = (headers: Headers): string | null =>
  headers.get("idempotency-key") ?? headers.get("traceparent")?.split("-")[1] ?? null;
const hasKey = (entry: Received): entry is Received & { key: string } => entry.key !== null;

type Wire = {
  connection: Connection;
  /** Framing and the like; false when the client has left. */
  put(bytes: Uint8Array): Promise<boolean>;
  putBody(piece: string | Uint8Array): Promise<boolean>;
  /** The start of a chunk that promises more than will follow. */
  tear(piece: string | Uint8Array): Promise<boolean>;
};

async function perform(connection: Connection, entry: Received, script: Script): Promise<void> {
  const ending = await play(script, entry, wireOf(connection, entry, script));
  entry.noteEnd(ending);
  if (ending === "whole" && script.framing === "close") connection.end("fin");
}

async function play(script: Script, entry: Received, wire: Wire): Promise<Ending> {
  if (!(await pause(wire.connection, script.headersAfterMs ?? 0))) return "gone";
  if (script.headless !== true) {
    if (!(await wire.put(headOf(script)))) return "gone";
    entry.status = script.status ?? 200;
  }
  for (const step of script.steps) {
    if (typeof step === "object" && "cut" in step) {
      if (step.within !== undefined) await wire.tear(step.within);
      wire.connection.end(step.cut);
      return "cut";
    }
    if (!(await take(step, wire))) return "gone";
    for (const { piece, tally } of script.tells ?? [])
      if (piece === step) Object.assign(entry.reported, tally);
  }
  if (framingOf(script) === "chunked" && !(await wire.put(bytesOf("0\r\n\r\n")))) return "gone";
  return "whole";
}

async function take(step: Exclude<Step, { cut: string }>, wire: Wire): Promise<boolean> {
  if (step === "stall") return pause(wire.connection, Number.POSITIVE_INFINITY);
  if (typeof step === "string" || step instanceof Uint8Array) return wire.putBody(step);
  if ("until" in step) {
    await Promise.race([step.until, wire.connection.left]);
    return !wire.connection.closed;
  }
  if ("pause" in step) return pause(wire.connection, step.pause);
  if ("raw" in step) return wire.put(bytesOf(step.raw));
  for (let n = 0; n < step.times; n++) if (!(await wire.putBody(step.repeat))) return false;
  return true;
}

function wireOf(connection: Connection, entry: Received, script: Script): Wire {
  const chunked = framingOf(script) === "chunked";
  const put = (wire: Uint8Array, body: Uint8Array = nothing): Promise<boolean> => {
    entry.noteSent(wire, body);
    return connection.write(wire);
  };
  return {
    connection,
    put: (bytes) => put(bytes),
    async putBody(piece) {
      const bytes = bytesOf(piece);
      const size = script.pieceBytes ?? Math.max(1, bytes.length);
      for (let at = 0; at < bytes.length; at += size) {
        const part = bytes.subarray(at, at + size);
        if (!(await put(chunked ? chunk(part) : part, part))) return false;
        // Gives the reader a turn, so that it meets the pieces one by one.
        if (script.pieceBytes !== undefined) await new Promise((resolve) => setImmediate(resolve));
      }
      return true;
    },
    tear(piece) {
      const torn = bytesOf(piece);
      return put(chunked ? chunk(torn, torn.length + 64).subarray(0, -2) : torn, torn);
    },
  };
}

const framingOf = (script: Script): "chunked" | "length" | "close" => script.framing ?? "chunked";

function headOf(script: Script): Uint8Array {
  const status = script.status ?? 200;
  const length = script.steps.reduce(
    (sum, step) =>
      sum + (typeof step === "string" || step instanceof Uint8Array ? bytesOf(step).length : cutLength(step)),
    0,
  );
  const framed = {
    chunked: "transfer-encoding: chunked",
    length: `content-length: ${length}`,
    close: "connection: close",
  }[framingOf(script)];
  const headers = Object.entries(script.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
  return bytesOf(`HTTP/1.1 ${status} Scripted\r\n${headers.join("")}${framed}\r\n\r\n`);
}

/** A body that will be cut has promised more than it holds. */
const cutLength = (step: object): number => ("cut" in step ? 64 : 0);

function chunk(bytes: Uint8Array, promised = bytes.length): Uint8Array {
  return Buffer.concat([bytesOf(`${promised.toString(16)}\r\n`), bytes, bytesOf("\r\n")]);
}

async function pause(connection: Connection, milliseconds: number): Promise<boolean> {
  if (milliseconds === Number.POSITIVE_INFINITY) await connection.left;
  else if (milliseconds > 0) await Promise.race([Bun.sleep(milliseconds), connection.left]);
  return !connection.closed;
}

function askedOf(request: Received): Asked {
  const body = request.json as {
    stream?: unknown;
    stream_options?: { include_usage?: unknown };
  } | null;
  return {
    model: request.model ?? "",
    stream: body?.stream === true,
    includeUsage: body?.stream_options?.include_usage === true,
    path: request.path,
    key: request.key,
    json: request.json,
  };
}

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return null;
  }
}

if (import.meta.main) {
  const flag = process.argv.indexOf("--port");
  const provider = startProvider({
    port: flag > 0 ? Number(process.argv[flag + 1]) : 0,
  });
  for (const [model, scripted] of Object.entries(builtInScripts)) provider.script(model, scripted);
  console.log(
    `${provider.url}\nmodels: ${Object.keys(builtInScripts).join(" ")}; any other answers in eight words`,
  );
  for (let told = 0; ; await provider.next()) {
    for (; told < provider.received.length; told++) tell(provider.received[told] as Received);
  }
}

function tell(request: Received): void {
  const name = `${request.method} ${request.path} ${request.model ?? "-"}`;
  console.log(name);
  void request.ended.then((ending) => console.log(`${name}: ${ending}, ${request.sentBytes} bytes`));
}
