/** How the answers of each endpoint are read. */
import type { LlmEndpoint } from "../../platform/config.ts";
import { chatWire } from "./openai.ts";
import type { Wire } from "./wire.ts";

const wires: Partial<Record<LlmEndpoint, Wire>> = {
  "chat/completions": chatWire,
};

export const wireOf = (endpoint: LlmEndpoint): Wire => wires[endpoint] ?? chatWire;
