/**
 * The right answer, or the right refusal, for whatever endpoint was asked.
 */
import { anthropicRefusal, countTokens, message } from "./provider-anthropic.ts";
import { completion, embeddings, response } from "./provider-openai.ts";
import { type Asked, json, type Reply, refusal, reply, type Script } from "./provider-script.ts";

/** This reply in the endpoint's own shape; what is no endpoint is not found. */
export function answer(options: Reply = {}): (asked: Asked) => Script {
  return (asked) => {
    const [, say] = endpoints.find(([end]) => asked.path.endsWith(end)) ?? [];
    return say === undefined ? refusal(404) : say(options)(asked);
  };
}

/** A refusal in the dialect of the endpoint that was asked. */
export function refuse(status: number, headers: Record<string, string> = {}): (asked: Asked) => Script {
  return ({ path }) =>
    /\/messages(\/count_tokens)?$/.test(path) ? anthropicRefusal(status, headers) : refusal(status, headers);
}

type Say = (options: Reply) => (asked: Asked) => Script;
const endpoints: [string, Say][] = [
  ["/chat/completions", reply],
  ["/completions", completion],
  ["/responses", response],
  ["/embeddings", embeddings],
  ["/messages", message],
  ["/messages/count_tokens", countTokens],
  ["/models", () => () => json({ object: "list", data: [] })],
];
