/** One caller of a running gateway: its credential, its chats, and what the usage API tells it. */
import { type Gateway, run, type Surroundings, tokenOf } from "../gateway.ts";
import { eventually } from "./checks.ts";

export type Client = { client_id: string; client_secret: string };
export type Usage = Record<"input" | "output" | "cached_read" | "cache_write" | "reasoning", number | null>;
export type Row = {
  id: string;
  state: string;
  model: string;
  delivery: string;
  stream: boolean;
  usage: Usage;
  cost_usd: string | null;
  charged_usd: string | null;
  trace_id: string | null;
  attempts: {
    state: string;
    provider: string;
    status: number | null;
    first_token_ms: number | null;
    usage: Usage;
    cost_usd: string | null;
  }[];
};
export type Heard = {
  status: number;
  requestId: string | null;
  body: Uint8Array;
  /** The answer came to its end, and not to an accident. */
  whole: boolean;
};

export async function createClient(dataDir: string, surroundings: Surroundings): Promise<Client> {
  const words = ["client", "create", "--kind", "runner", "--scope", "llm:chat usage:read", "--json"];
  return JSON.parse(await output([...words, "--data-dir", dataDir], surroundings)) as Client;
}

/** A command's stdout; throws with its words when it fails. */
export async function output(args: string[], surroundings: Surroundings): Promise<string> {
  const { code, stdout, stderr } = await run(args, surroundings);
  if (code !== 0) throw new Error(`specgate ${args.join(" ")} exited with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

export class Caller {
  constructor(
    readonly gateway: Gateway,
    readonly token: string,
  ) {}

  static async open(gateway: Gateway, client: Client): Promise<Caller> {
    return new Caller(gateway, await tokenOf(gateway, client));
  }

  /** Reads to the end, or to wherever the answer breaks off. */
  async chat(model: string, more: object = { stream: true }): Promise<Heard> {
    const pieces: Uint8Array[] = [];
    let status = 0;
    let requestId: string | null = null;
    let whole = false;
    try {
      const response = await this.fetch("/v1/chat/completions", { model, messages: hello, ...more });
      status = response.status;
      requestId = response.headers.get("x-request-id");
      for await (const piece of response.body ?? []) pieces.push(piece);
      whole = true;
    } catch {
      // What was heard until then says it all.
    }
    return { status, requestId, body: Buffer.concat(pieces), whole };
  }

  fetch(path: string, body?: object): Promise<Response> {
    return fetch(`${this.gateway.url}${path}`, {
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
  }

  /** All of this caller's rows. */
  async rows(): Promise<Row[]> {
    const rows: Row[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const from: string = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const response = await this.fetch(`/api/v1/usage/requests?limit=200${from}`);
      if (!response.ok)
        throw new Error(`usage/requests answered ${response.status}: ${await response.text()}`);
      const page = (await response.json()) as { data: Row[]; next_cursor: string | null };
      rows.push(...page.data);
      cursor = page.next_cursor;
    }
    return rows;
  }
}

/** Once none is open and no more arrive. */
export function settledRows(caller: Caller, withinMs = 20_000): Promise<Row[]> {
  let before = -1;
  return eventually(
    // The database may be away.
    () => caller.rows().catch(() => []),
    (found) => {
      const isStill = found.length === before && found.every(({ state }) => state !== "open");
      before = found.length;
      return isStill && found.length > 0;
    },
    withinMs,
    1_000,
  );
}

export const hello = [{ role: "user", content: "hello out there" }];

export const isDone = (heard: Heard): boolean =>
  heard.whole && new TextDecoder().decode(heard.body).includes("data: [DONE]");
