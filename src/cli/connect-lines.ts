/**
 * Messages as they stand on standard input: one a line (MCP, stdio transport). A line that is too long, or no UTF-8, is
 * null, and the next one is read as if nothing had happened.
 */
const lineBytesMax = 16 << 20;
const newline = 0x0a;

export async function* linesOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string | null> {
  let parts: Uint8Array[] = [];
  let length = 0;
  const take = (): string | null => {
    const line = length > lineBytesMax ? null : decode(Buffer.concat(parts));
    parts = [];
    length = 0;
    return line;
  };
  const keep = (part: Uint8Array): void => {
    length += part.length;
    if (length <= lineBytesMax) parts.push(part);
    else parts = [];
  };
  for await (const chunk of bytes) {
    let from = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      keep(chunk.subarray(from, end));
      from = end + 1;
      const line = take();
      if (line !== "") yield line;
    }
    // A copy: whoever reads may fill the same memory again.
    if (from < chunk.length) keep(chunk.slice(from));
  }
  const last = take();
  if (last !== "") yield last;
}

/** Null for what is no UTF-8: put right here, it would be another message than the one that was sent. */
function decode(line: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(line).trim();
  } catch {
    return null;
  }
}
