/**
 * A reader of server-sent events, as a browser's EventSource reads them: fields, comments, and the last event id.
 */
import type { Actor } from "./gateway.ts";

export type Told = { readonly type: string; readonly id: string; readonly data: Record<string, unknown> };

export type Listening = {
  readonly status: number;
  readonly headers: Headers;
  readonly told: readonly Told[];
  /** Comments, heartbeats among them. */
  readonly comments: readonly string[];
  readonly lastEventId: () => string;
  /** Resolves when `enough` holds; rejects after `milliseconds`. */
  until(enough: (told: readonly Told[]) => boolean, milliseconds?: number): Promise<void>;
  /** Resolves when the other side has ended the stream. */
  readonly ended: Promise<void>;
  leave(): void;
};

export async function listen(
  who: Pick<Actor, "fetch">,
  path: string,
  lastEventId: string | null = null,
): Promise<Listening> {
  const aborting = new AbortController();
  const headers: Record<string, string> = lastEventId === null ? {} : { "last-event-id": lastEventId };
  const response = await who.fetch(`/api/v1${path}`, { headers, signal: aborting.signal });
  const told: Told[] = [];
  const comments: string[] = [];
  let lastId = lastEventId ?? "";
  const take = (block: string) => {
    const data: string[] = [];
    let type = "message";
    for (const line of block.split("\n")) {
      const [field = "", ...rest] = line.split(":");
      const value = rest.join(":").replace(/^ /, "");
      if (field === "") comments.push(value);
      if (field === "event") type = value;
      if (field === "id") lastId = value;
      if (field === "data") data.push(value);
    }
    if (data.length > 0) told.push({ type, id: lastId, data: JSON.parse(data.join("\n")) });
  };
  const read = async () => {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        take(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  };
  return {
    status: response.status,
    headers: response.headers,
    told,
    comments,
    lastEventId: () => lastId,
    async until(enough, milliseconds = 5_000) {
      const deadline = performance.now() + milliseconds;
      while (!enough(told)) {
        if (performance.now() > deadline)
          throw new Error(`not told in ${milliseconds} ms: ${JSON.stringify(told.slice(-5))}`);
        await Bun.sleep(5);
      }
    },
    ended: read().catch(() => undefined),
    leave: () => aborting.abort(),
  };
}
