/**
 * Providers that speak Anthropic's API: its address, its key's header, the version it insists on.
 *
 * Chat completions go to Anthropic's own OpenAI-compatible address, which takes the key as OpenAI's clients send it
 * (platform.claude.com, "OpenAI SDK compatibility"; "API overview" for the headers of the others).
 */
import type { ProviderDialect } from "./dispatch.ts";

/** The version since which nothing was taken away; a caller that names another gets that. */
const version = "2023-06-01";

export const anthropic: ProviderDialect = {
  url: (baseUrl, endpoint) => `${baseUrl}/v1/${endpoint}`,
  sign(headers, key, endpoint) {
    if (endpoint === "chat/completions") {
      if (key !== null) headers.authorization = `Bearer ${key}`;
      return;
    }
    headers["anthropic-version"] ??= version;
    if (key !== null) headers["x-api-key"] = key;
  },
};
