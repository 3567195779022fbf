/**
 * An artifact's bytes on their way to the store, and the artifact complete at the end of it.
 *
 * The same command again goes on where it was: what is uploaded says by which key the gateway knows it. Every try but the
 * first begins by asking whether the bytes are there already, because what was lost may have been the answer alone.
 */
import type { ArtifactView, NewArtifactView, UploadView } from "../features/artifacts/contract.ts";
import { Failure } from "../platform/failure.ts";
import type { Meter } from "./artifact-meter.ts";
import type { Source } from "./artifact-source.ts";
import { askStore, StoreRefusal, withPatience } from "./artifact-store.ts";
import { trying } from "./artifact-tries.ts";
import type { Control, Path } from "./control-api.ts";
import { ApiRefusal } from "./sign-in-api.ts";
import type { World } from "./world.ts";

export type Announcement = {
  readonly name: string;
  readonly kind: string | undefined;
  readonly iteration_id: string | undefined;
  readonly content_type: string;
  readonly size_bytes: number;
  readonly sha256: string;
};

export type Sending = {
  readonly world: World;
  readonly control: Control;
  readonly meter: Meter;
  readonly session: string;
  readonly source: Source;
};

export type Sent = { readonly artifact: ArtifactView; readonly wasThere: boolean };

export async function sendArtifact(sending: Sending, announced: Announcement): Promise<Sent> {
  const { world, control, meter, session, source } = sending;
  const { artifact, upload: first } = await announce(control, `/sessions/${session}/artifacts`, announced);
  if (artifact.status === "complete") return { artifact, wasThere: true };
  return trying(world, meter, async (before) => {
    let upload = before === 0 ? first : null;
    if (upload === null) {
      const there = await complete(control, artifact.id).catch(orMissing);
      if (there !== null) return { artifact: there, wasThere: true };
      ({ upload } = await control.post<NewArtifactView>(`/artifacts/${artifact.id}/upload`, {}));
    }
    if (upload === null)
      throw new Failure("upstream", "strange_answer", "The gateway gave no URL to send to");
    await put(upload, source, meter);
    return { artifact: await complete(control, artifact.id), wasThere: false };
  });
}

async function announce(control: Control, path: Path, announced: Announcement): Promise<NewArtifactView> {
  const text = JSON.stringify([path, announced]);
  const key = `artifact-put-${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;
  try {
    const made = await control.post<NewArtifactView>(path, announced, key);
    if (made.upload !== null) return made;
    const artifact = await control.get<ArtifactView>(`/artifacts/${made.artifact.id}`);
    if (isOfUse(artifact)) return { artifact, upload: null };
  } catch (error) {
    // With the same key a refusal is given again for a day, whatever has changed since.
    if (!(error instanceof ApiRefusal) || ![404, 409, 422].includes(error.httpStatus)) throw error;
  }
  return control.post<NewArtifactView>(path, announced);
}

const isOfUse = ({ status, expires_at: end }: ArtifactView): boolean =>
  (status === "pending" || status === "complete") && (end === null || Date.parse(end) > Date.now());

const complete = (control: Control, id: string): Promise<ArtifactView> =>
  control.post<ArtifactView>(`/artifacts/${id}/completion`, {}).catch((error: unknown) => {
    if (!(error instanceof ApiRefusal) || error.code !== "artifact_mismatch") throw error;
    const message = `${error.message} Did the file change while it was uploaded?`;
    throw new Failure("upstream", error.code, message, { cause: error });
  });

function orMissing(error: unknown): null {
  if (error instanceof ApiRefusal && error.code === "artifact_missing") return null;
  throw error;
}

/** Long, because what a slow line has been handed already takes its time to leave. */
const silenceMaxMs = 600_000;

/** Bytes that are there already are as good as sent. */
async function put({ url, headers }: UploadView, source: Source, meter: Meter): Promise<void> {
  meter.begin("sending", source.sizeBytes);
  await withPatience(silenceMaxMs, url, async (patience) => {
    const body = counted(source, meter, patience.renew);
    const told = { ...headers, "content-length": String(source.sizeBytes) };
    const response = await askStore(url, { method: "PUT", headers: told, body, signal: patience.signal });
    await response.body?.cancel();
  }).catch((error: unknown) => {
    if (!(error instanceof StoreRefusal) || error.httpStatus !== 412) throw error;
  });
}

async function* counted(source: Source, meter: Meter, alive: () => void): AsyncGenerator<Uint8Array> {
  let sentBytes = 0;
  for await (const piece of source.bytes()) {
    yield piece;
    alive();
    sentBytes += piece.length;
    meter.at(sentBytes);
  }
}
