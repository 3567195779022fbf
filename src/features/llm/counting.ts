/**
 * A Worker that counts tokens where the provider did not: its vocabulary takes a moment to load and a moment per text,
 * neither of which the streams of everyone else should feel. An entry point of the compiled binary of its own.
 */
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";

declare const self: {
  onmessage: (event: { data: { id: number; texts: string[] } }) => void;
  postMessage(message: { id: number; counts: number[] }): void;
};

self.onmessage = ({ data }) => {
  // Text that spells a control token is text here; it came from a person or a model, not from a tokenizer.
  const counts = data.texts.map((text) => countTokens(text, { allowedSpecial: "all" }));
  self.postMessage({ id: data.id, counts });
};
