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
  const counts = data.texts.map((text) =>
    runs(text).reduce((sum, run) => sum + countTokens(run, { allowedSpecial: "all" }), 0),
  );
  self.postMessage({ id: data.id, counts });
};

/**
 * The vocabulary's time grows with the square of a stretch without (or of nothing but) white space: 60 KB of Thai would
 * take a minute, and everyone behind it would wait. Cut at 128 characters it is milliseconds, and a token in a hundred off.
 */
function runs(text: string): string[] {
  const found: string[] = [];
  let start = 0;
  for (const { 0: run, index } of text.matchAll(/\S{128}(?=\S)|\s{128}(?=\s)/gu)) {
    found.push(text.slice(start, index + run.length));
    start = index + run.length;
  }
  found.push(text.slice(start));
  return found;
}
