/**
 * The models that a caller may use, for MCP clients. Models are called over HTTP, with a credential of that plane.
 *
 * An app's token for this plane seldom holds `llm:chat`, though its person may use every model: people are told of the
 * models, and whether this credential may call them. A machine that was never given the scope is shown none.
 */
import { z } from "zod";
import type { GatewayConfig } from "../../platform/config.ts";
import { type Cursors, pageOf } from "../../platform/page.ts";
import type { Principal } from "../../platform/principal.ts";
import { readTool, type Tool } from "../../platform/tool.ts";
import { toolPage, toolPageOf } from "../../platform/tool-page.ts";
import { listModels } from "./models.ts";
import type { Prices } from "./prices.ts";

export type ModelToolsNeeds = { gateway: () => GatewayConfig; prices: Prices; cursors: Cursors };

const usd = z.string().optional();
const rates = {
  input: z.string(),
  cached_read: z.string(),
  cache_write: z.string(),
  output: z.string(),
  cache_write_long: usd,
  audio_input: usd,
  audio_output: usd,
};
const modelShape = z.object({
  id: z.string().describe("What a call names as `model`."),
  provider: z.string(),
  endpoints: z.array(z.string()).describe("What it answers, below `/v1`."),
  prices: z
    .object({ ...rates, tiers: z.array(z.object({ above: z.int(), ...rates })).optional() })
    .nullable()
    .describe(
      "USD per million tokens; `tiers` hold instead for calls with more input tokens than `above`. null: not known.",
    ),
});

const list = "mcp/models";

const mayUse = ({ kind, reach }: Principal): boolean => kind === "user" || reach.has("llm:chat");

export function modelTools({ gateway, prices, cursors }: ModelToolsNeeds): Tool[] {
  return [
    readTool({
      name: "models_list",
      title: "List models",
      description:
        "Lists the models that the caller may use through this gateway, with their prices. They are not tools: they are called over HTTP below `/v1`, as OpenAI's or Anthropic's API, with a credential that holds `llm:chat`.",
      scopes: ["mcp:read"],
      input: z.strictObject({
        provider: z.string().max(64).optional().describe("Only models that this provider answers first."),
        ...toolPage,
      }),
      output: toolPageOf(modelShape).extend({
        may_call: z
          .boolean()
          .describe("Whether this credential itself holds `llm:chat`; another of the same person might."),
      }),
      run: async ({ principal, asked: { provider, limit, cursor } }) => {
        const known = mayUse(principal) ? listModels(gateway(), prices) : [];
        const models = known.filter(({ owned_by }) => provider === undefined || owned_by === provider);
        const [last] = cursor === undefined ? [] : cursors.open(list, cursor);
        // What is gone from the configuration meanwhile begins anew.
        const from = models.findIndex(({ id }) => id === last) + 1;
        const page = pageOf(models.slice(from), limit, ({ id }) => cursors.seal(list, [id]));
        return {
          data: page.data.map(({ id, owned_by, endpoints, prices: price }) => ({
            id,
            provider: owned_by,
            endpoints,
            prices: price,
          })),
          next_cursor: page.next_cursor,
          may_call: principal.scopes.has("llm:chat"),
        };
      },
    }),
  ];
}
