/**
 * Embeddings: one document, no text comes out (platform.openai.com, API reference, "Embeddings").
 */
import type { Usage } from "../../db/ledger.ts";
import { noUsage, record, tokens, type Wire } from "./wire.ts";
import { chatWire, promptText } from "./wire-chat.ts";

export const embeddingsWire: Wire = {
  // Nothing streams here; a provider that does anyway is read as a chat would be.
  markers: chatWire.markers,
  look: chatWire.look,
  errorEvent: chatWire.errorEvent,
  textOf: () => "",
  usageOfBody(body): Usage | null {
    const usage = record(record(body).usage);
    // Some count the total alone, and all of it went in.
    const input = tokens(usage.prompt_tokens) ?? tokens(usage.total_tokens);
    return input === null ? null : { ...noUsage, input, output: 0 };
  },
  textOfBody: () => "",
  keptOfBody: () => [],
  textOfRequest: (body) => promptText(record(body).input),
};
