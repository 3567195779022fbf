/**
 * What commands read that a person names: a file, or `-` for standard input. What cannot be read is a misuse.
 */
import { resolve } from "node:path";
import { Misuse, type World } from "./world.ts";

/** Far beyond what any gateway takes. */
const bytesMax = 64 * 1_048_576;

/** UTF-8 without a byte order mark. */
export async function readText(world: World, name: string): Promise<string> {
  if (name === "-") return world.stdin();
  const bytes = await reading(name, async () => {
    const file = Bun.file(resolve(world.cwd, name));
    if (file.size > bytesMax) throw new Error(`it is larger than ${bytesMax / 1_048_576} MiB`);
    return file.bytes();
  });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Misuse([`${name}: not text; would be a file in UTF-8`]);
  }
}

export async function readJsonText(world: World, name: string): Promise<unknown> {
  const text = await readText(world, name);
  try {
    return JSON.parse(text);
  } catch {
    throw new Misuse([`${name === "-" ? "standard input" : name}: not JSON`]);
  }
}

/** 64 lower-case hexadecimal digits, of the file's bytes. */
export const sha256OfFile = (world: World, name: string): Promise<string> =>
  reading(name, async () => {
    const hash = new Bun.CryptoHasher("sha256");
    for await (const bytes of Bun.file(resolve(world.cwd, name)).stream()) hash.update(bytes);
    return hash.digest("hex");
  });

async function reading<T>(name: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Misuse([`${name} cannot be read: ${why}`]);
  }
}
