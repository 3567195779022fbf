/**
 * Messages as they stand on standard input: one a line (MCP, stdio transport). A line that is too long is null, and the
 * next one is read as if nothing had happened.
 */
const lineBytesMax = 16 << 20;
const newline = 0x0a;

export async function* linesOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string | null> {
  const decoder = new TextDecoder();
  let parts: Uint8Array[] = [];
  let length = 0;
  const take = (): string | null => {
    const line = length > lineBytesMax ? null : decoder.decode(Buffer.concat(parts)).trim();
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
