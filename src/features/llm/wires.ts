/** How the answers of each endpoint are read. */
import type { LlmEndpoint } from "../../platform/config.ts";
import type { Wire } from "./wire.ts";
import { chatWire, completionsWire } from "./wire-chat.ts";
import { embeddingsWire } from "./wire-embeddings.ts";
import { countTokensWire, messagesWire } from "./wire-messages.ts";
import { responsesWire } from "./wire-responses.ts";

const wires: Readonly<Record<LlmEndpoint, Wire>> = {
  "chat/completions": chatWire,
  completions: completionsWire,
  responses: responsesWire,
  embeddings: embeddingsWire,
  messages: messagesWire,
  "messages/count_tokens": countTokensWire,
};

export const wireOf = (endpoint: LlmEndpoint): Wire => wires[endpoint];
