/**
 * Providers that speak OpenAI's API, OpenAI's own and those that imitate it: the address and the key's header.
 */
import type { ProviderDialect } from "./dispatch.ts";

export const openai: ProviderDialect = {
  url: (baseUrl, endpoint) => `${baseUrl}/${endpoint}`,
  sign(headers, key) {
    if (key !== null) headers.authorization = `Bearer ${key}`;
  },
};
