import { Elysia } from "elysia";
import type { Call } from "../../platform/call.ts";
import type { GatewayConfig } from "../../platform/config.ts";
import { llmDialect } from "../../platform/dialects.ts";
import { Failure } from "../../platform/failure.ts";
import type { Guard } from "../../platform/guard.ts";
import type { Completions } from "./llm.ts";
import { anthropicModel, getModel, listModels } from "./models.ts";
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
  return new Elysia({ prefix: "/v1" })
    .post(
      "/chat/completions",
      guard.closed(policy, (opened) => completions.complete("chat/completions", opened)),
      { parse: "none" },
    )
    .get(
      "/models",
      guard.closed(policy, ({ call }) => {
        const models = listModels(gateway(), prices);
        return speaksAnthropic(call)
          ? anthropicAnswer(call, anthropicList(models))
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

const speaksAnthropic = ({ request }: Call): boolean => llmDialect(request) === "anthropic";

/** Anthropic's own clients look for the request's id under this name. */
const anthropicAnswer = (call: Call, body: object): Response =>
  Response.json(body, { headers: { "cache-control": "no-store", "request-id": call.id } });

const anthropicList = (models: ReturnType<typeof listModels>): object => ({
  data: models.map(anthropicModel),
  has_more: false,
  first_id: models[0]?.id ?? null,
  last_id: models.at(-1)?.id ?? null,
});

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
