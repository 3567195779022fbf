/** Writes as much as is read, for a time; once at least. */
export async function flood({ text, times, ms }: Record<string, unknown>): Promise<void> {
  const piece = String(text).repeat(Number(times));
  const end = Date.now() + Number(ms);
  do {
    if (!process.stdout.write(piece)) await new Promise((resolve) => process.stdout.once("drain", resolve));
  } while (Date.now() < end);
}
