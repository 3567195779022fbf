/** A stream of changes at /mcp (`subscriptions/listen`), as a client of 2026-07-28 hears it. */
import type { Actor } from "./gateway.ts";
import { modernVersion } from "./mcp.ts";

export type Heard = {
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: unknown;
};

export type McpListening = {
  readonly status: number;
  readonly headers: Headers;
  /** The answer, where it is no stream. */
  readonly answer: { error?: { code: number; data?: unknown } } | null;
  readonly heard: readonly Heard[];
  readonly comments: () => number;
  /** Methods and URIs of what was heard since the beginning, without the acknowledgement. */
  said(): string[];
  until(enough: () => boolean, milliseconds?: number): Promise<void>;
  /** Resolves when the other side has ended the stream. */
  readonly ended: Promise<void>;
  leave(): void;
};

export async function mcpListen(
  who: Pick<Actor, "fetch">,
  notifications: Record<string, unknown> | null,
): Promise<McpListening> {
  const leaving = new AbortController();
  const method = "subscriptions/listen";
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": modernVersion,
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const params = { ...(notifications === null ? {} : { notifications }), _meta };
  const response = await who.fetch("/mcp", {
    method: "POST",
    signal: leaving.signal,
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": modernVersion,
      "mcp-method": method,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: "l1", method, params }),
  });
  const heard: Heard[] = [];
  let comments = 0;
  const take = (line: string) => {
    if (line.startsWith("data: ")) heard.push(JSON.parse(line.slice(6)));
    else if (line.startsWith(":")) comments += 1;
  };
  const isStream = response.headers.get("content-type") === "text/event-stream";
  const answer = isStream ? null : ((await response.json().catch(() => ({}))) as McpListening["answer"]);
  return {
    status: response.status,
    headers: response.headers,
    answer,
    heard,
    comments: () => comments,
    said: () =>
      heard
        .slice(1)
        .map(({ method: said = "end", params: about }) =>
          [said.replace("notifications/", ""), about?.uri].filter(Boolean).join(" "),
        ),
    async until(enough, milliseconds = 5_000) {
      const deadline = performance.now() + milliseconds;
      while (!enough()) {
        if (performance.now() > deadline) throw new Error(`only heard ${JSON.stringify(heard)}`);
        await Bun.sleep(10);
      }
    },
    ended: isStream ? readLines(response, take) : Promise.resolve(),
    leave: () => leaving.abort(),
  };
}

async function readLines(response: Response, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) take(line);
    }
  } catch {
    // Left by the test itself.
  }
}
