/** A zip of one stored file, the same bytes each time: for whoever needs something large to send. */

/** `sizeBytes` is the whole archive's. */
export async function zipOf(sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const name = new TextEncoder().encode("build.bin");
  const content = await noise(sizeBytes - local - central - ending - 2 * name.length);
  const crc = Bun.hash.crc32(content);
  const entry = (signature: number, extra: number): Buffer => {
    const header = Buffer.alloc(extra);
    let at = header.writeUInt32LE(signature);
    if (extra === central) at = header.writeUInt16LE(20, at);
    // Version 2.0, names in UTF-8, stored; then midnight of 1980-01-01.
    for (const field of [20, 0x0800, 0, 0, 0x21]) at = header.writeUInt16LE(field, at);
    for (const field of [crc, content.length, content.length]) at = header.writeUInt32LE(field, at);
    header.writeUInt16LE(name.length, at);
    return header;
  };
  const end = Buffer.alloc(ending);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(central + name.length, 12);
  end.writeUInt32LE(local + name.length + content.length, 16);
  return Buffer.concat([entry(0x04034b50, local), name, content, entry(0x02014b50, central), name, end]);
}

/** Sizes of a zip's three records, without names. */
const [local, central, ending] = [30, 46, 22];

/** A cipher's stream under a key that everybody knows: nothing compresses it, nothing looks random twice. */
async function noise(sizeBytes: number): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "AES-CTR", false, ["encrypt"]);
  const counter = { name: "AES-CTR", counter: new Uint8Array(16), length: 64 };
  return new Uint8Array(await crypto.subtle.encrypt(counter, key, new Uint8Array(sizeBytes)));
}
