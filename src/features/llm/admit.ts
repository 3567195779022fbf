/**
 * Lets a call in or turns it away before it costs anything: body, attribution, what its project may, and how many
 * streams may be open.
 *
 * What it lets in it must be told of when it is over: `release` gives back the memory and the stream's place.
 */
import { type BodyRoom, readBody, requireJson } from "../../platform/body.ts";
import type { LimitsConfig, LlmEndpoint } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { OpenedBy } from "../../platform/guard.ts";
import { type Attribution, attributionOf, type LocateWork } from "./attribution.ts";
import { type LlmRequest, parseRequest } from "./request.ts";
import type { Streams } from "./streams.ts";

export type Admission = {
  readonly asked: LlmRequest;
  readonly attribution: Attribution;
  /** Safe to call more than once. */
  readonly release: () => void;
};

export type AdmittanceNeeds = {
  limits: () => LimitsConfig["llm"];
  locate: LocateWork;
  streams: Streams;
  /** Counts one request of a project, or throws the 429. */
  admitProject: (projectId: string) => void | Promise<void>;
};

/** Too small to keep anybody out. */
const smallBytes = 16 * 1024;

/** The body as it is to be read, or a Failure. */
export type Shape = (bytes: Uint8Array) => Uint8Array;

export class Admittance {
  readonly #needs: AdmittanceNeeds;
  readonly #room: BodyRoom = { bytes: 0 };
  /** Bytes of large bodies in that room, by principal. */
  readonly #shares = new Map<string, number>();
  #closed = false;

  constructor(needs: AdmittanceNeeds) {
    this.#needs = needs;
  }

  get streamsOpen(): number {
    return this.#needs.streams.open();
  }

  /** Lets nobody in any more. */
  close(): void {
    this.#closed = true;
  }

  async admit(
    endpoint: LlmEndpoint,
    { request, principal }: OpenedBy,
    shape: Shape | null,
  ): Promise<Admission> {
    if (this.#closed) throw shuttingDown();
    requireJson(request);
    // An await of what is already there costs a turn, here and below.
    const found = attributionOf(request.headers, principal, this.#needs.locate);
    const attribution = found instanceof Promise ? await found : found;
    const { bodyBytesMax, bodiesInFlightBytesMax } = this.#needs.limits();
    const body = await readBody(request, { bodyBytesMax, roomBytesMax: bodiesInFlightBytesMax }, this.#room);
    let leaveShare = nothing;
    try {
      leaveShare = this.#share(principal.id, body.bytes.length, bodiesInFlightBytesMax);
      const asked = parseRequest(endpoint, shape === null ? body.bytes : shape(body.bytes));
      const { projectId } = attribution;
      const counted = projectId === null ? undefined : this.#needs.admitProject(projectId);
      if (counted instanceof Promise) await counted;
      if (!asked.stream) return { asked, attribution, release: once(body.release, leaveShare) };
      const place = this.#needs.streams.enter({ credentialId: principal.holderId, projectId });
      const leave = place instanceof Promise ? await place : place;
      return { asked, attribution, release: once(leave, body.release, leaveShare) };
    } catch (error) {
      leaveShare();
      body.release();
      throw error;
    }
  }

  /** Takes a part of the room that one caller's large bodies may fill; half of it is always the others'. */
  #share(principalId: string, bytes: number, roomBytesMax: number): () => void {
    if (bytes <= smallBytes) return nothing;
    const shares = this.#shares;
    const before = shares.get(principalId) ?? 0;
    if (before > 0 && before + bytes > roomBytesMax / 2) throw noShare();
    shares.set(principalId, before + bytes);
    return () => {
      const left = (shares.get(principalId) ?? 0) - bytes;
      if (left > 0) shares.set(principalId, left);
      else shares.delete(principalId);
    };
  }
}

export const shuttingDown = (): Failure =>
  new Failure("unavailable", "unavailable", "The gateway is shutting down.");

const noShare = (): Failure =>
  new Failure(
    "rate",
    "rate_limit_exceeded",
    "Your calls under way hold half of what the gateway may hold of request bodies. Try again when one is over.",
    { retryAfterSeconds: 1 },
  );

const nothing = (): void => {};

function once(...steps: (() => void)[]): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    for (const step of steps) step();
  };
}
