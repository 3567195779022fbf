/**
 * An artifact's bytes on their way from the store into a file, checked against the size and the SHA-256 that the gateway
 * has of them. A broken line is taken up where it broke, when the store says that it still has the same object; otherwise
 * it starts over.
 */
import type { FileHandle } from "node:fs/promises";
import type { ArtifactView, DownloadView } from "../features/artifacts/contract.ts";
import { Failure } from "../platform/failure.ts";
import type { Meter } from "./artifact-meter.ts";
import { onDisk, writeAt } from "./artifact-spool.ts";
import { askStore, StoreLost, withPatience } from "./artifact-store.ts";
import { trying } from "./artifact-tries.ts";
import type { Control } from "./control-api.ts";
import type { World } from "./world.ts";

export type Fetching = { readonly world: World; readonly control: Control; readonly meter: Meter };

export async function fetchArtifact(
  { world, control, meter }: Fetching,
  artifact: ArtifactView,
  file: FileHandle,
): Promise<void> {
  const got = new Got(file, artifact.size_bytes);
  let furthest = 0;
  meter.begin("fetching", artifact.size_bytes);
  await trying(world, meter, async (_, gained) => {
    const { url } = await control.get<DownloadView>(`/artifacts/${artifact.id}/download`);
    await goOn(url, got, () => {
      meter.at(got.sizeBytes);
      // Only what no try had before: a line that always breaks in the middle must come to an end.
      if (got.sizeBytes <= furthest) return;
      furthest = got.sizeBytes;
      gained();
    });
  });
  const sha256 = got.sha256();
  if (sha256 !== artifact.sha256) throw notAnnounced(`SHA-256 ${sha256} instead of ${artifact.sha256}`);
}

/** What has come so far, in order. */
class Got {
  sizeBytes = 0;
  etag: string | null = null;
  #hash = new Bun.CryptoHasher("sha256");

  constructor(
    readonly file: FileHandle,
    readonly wholeBytes: number,
  ) {}

  async add(piece: Uint8Array): Promise<void> {
    if (this.sizeBytes + piece.length > this.wholeBytes)
      throw notAnnounced(`more than ${this.wholeBytes} bytes`);
    await onDisk("the file", () => writeAt(this.file, piece, this.sizeBytes));
    this.#hash.update(piece);
    this.sizeBytes += piece.length;
  }

  startOver(): void {
    this.sizeBytes = 0;
    this.#hash = new Bun.CryptoHasher("sha256");
  }

  sha256(): string {
    return this.#hash.digest("hex");
  }
}

const silenceMaxMs = 60_000;

async function goOn(url: string, got: Got, moved: () => void): Promise<void> {
  if (got.sizeBytes === got.wholeBytes) return;
  await withPatience(silenceMaxMs, url, async ({ signal, renew }) => {
    const response = await askStore(url, { headers: headersFor(got), signal });
    if (!continues(response, got)) got.startOver();
    got.etag = strongTag(response.headers.get("etag"));
    for await (const piece of piecesOf(response, url)) {
      renew();
      await got.add(piece);
      moved();
    }
  });
  if (got.sizeBytes < got.wholeBytes) throw new StoreLost(url, "broke off");
}

function headersFor({ sizeBytes, etag }: Got): Record<string, string> {
  // Unpacked on the way, it would be other bytes.
  const usual = { "accept-encoding": "identity" };
  if (sizeBytes === 0 || etag === null) return usual;
  return { ...usual, range: `bytes=${sizeBytes}-`, "if-range": etag };
}

/** A whole answer may come to any question. */
function continues({ status, headers }: Response, { sizeBytes }: Got): boolean {
  if (status !== 206) return false;
  const [, from = ""] = /^bytes (\d+)-/.exec(headers.get("content-range") ?? "") ?? [];
  if (from === String(sizeBytes)) return true;
  throw notAnnounced("another part than was asked for");
}

const strongTag = (etag: string | null): string | null => (etag?.startsWith('"') === true ? etag : null);

async function* piecesOf(response: Response, url: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of response.body ?? []) yield piece;
  } catch (cause) {
    throw new StoreLost(url, "broke off", cause);
  }
}

const notAnnounced = (what: string): Failure =>
  new Failure(
    "upstream",
    "wrong_bytes",
    `What the store sent is not the artifact (${what}); nothing of it was kept`,
  );
