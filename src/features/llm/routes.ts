import { Elysia } from "elysia";
import type { Call } from "../../platform/call.ts";
import type { GatewayConfig, LlmEndpoint } from "../../platform/config.ts";
import { llmDialect } from "../../platform/dialects.ts";
import { Failure } from "../../platform/failure.ts";
import type { Guard } from "../../platform/guard.ts";
import type { Shape } from "./admit.ts";
import { asStream, asWhole } from "./console-body.ts";
import type { Completions } from "./llm.ts";
import { anthropicList, anthropicModel, getModel, listModels } from "./models.ts";
import type { Prices } from "./prices.ts";

const policy = { plane: "llm", scope: "llm:chat" } as const;

/** The LLM plane, below `/v1`. Bodies are never parsed by the router: their bytes belong to the provider. */
export function llmRoutes(needs: {
  guard: Guard;
  completions: Completions;
  prices: Prices;
  gateway: () => GatewayConfig;
}) {
  const { guard, completions, prices, gateway } = needs;
  const door = (endpoint: LlmEndpoint) =>
    guard.closed(policy, (opened) => completions.complete(endpoint, opened));
  const raw = { parse: "none" } as const;
  return new Elysia({ prefix: "/v1" })
    .post("/chat/completions", door("chat/completions"), raw)
    .post("/completions", door("completions"), raw)
    .post("/responses", door("responses"), raw)
    .post("/embeddings", door("embeddings"), raw)
    .post("/messages", door("messages"), raw)
    .post("/messages/count_tokens", door("messages/count_tokens"), raw)
    .get(
      "/models",
      guard.closed(policy, ({ call }) => {
        const models = listModels(gateway(), prices);
        return speaksAnthropic(call)
          ? anthropicAnswer(call, anthropicList(models, call.url.searchParams))
          : { object: "list", data: models };
      }),
    )
    .get(
      "/models/*",
      guard.closed(policy, ({ call, params }) => {
        const model = getModel(gateway(), prices, decodeName(params["*"] ?? ""));
        return speaksAnthropic(call) ? anthropicAnswer(call, anthropicModel(model)) : model;
      }),
    );
}

/** The console's own chat, below `/api/llm`: the same pipeline for a person's browser. */
export function consoleLlmRoutes({ guard, completions }: { guard: Guard; completions: Completions }) {
  const policy = { plane: "llm", scope: "llm:chat", who: "browser", console: true } as const;
  const door = (shape: Shape) =>
    guard.closed(policy, (opened) => completions.complete("chat/completions", opened, shape));
  return new Elysia({ prefix: "/api/llm" })
    .post("/chat", door(asWhole), { parse: "none" })
    .post("/stream", door(asStream), { parse: "none" });
}

const speaksAnthropic = ({ request }: Call): boolean => llmDialect(request) === "anthropic";

/** Anthropic's own clients look for the request's id under this name. */
const anthropicAnswer = (call: Call, body: object): Response =>
  Response.json(body, { headers: { "cache-control": "no-store", "request-id": call.id } });

/** Ids contain slashes, raw or as %2F. */
function decodeName(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    throw new Failure(
      "missing",
      "model_not_found",
      "The model's name in the path is not valid percent-encoding.",
    );
  }
}
