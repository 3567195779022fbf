/**
 * Artifacts, below `/api/v1`, and the local store's bytes at `/blobs`.
 */
import { Elysia } from "elysia";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { Failure } from "../../platform/failure.ts";
import type { ClosedPolicy, Guard } from "../../platform/guard.ts";
import { parseQuery } from "../../platform/query.ts";
import { seenVersion, versioned } from "../../platform/versions.ts";
import type { Artifacts } from "./artifacts.ts";
import {
  artifactsQuery,
  completionForm,
  downloadQuery,
  newArtifactForm,
  newAttachmentForm,
  newUploadForm,
} from "./contract.ts";
import type { Disk } from "./disk.ts";

const unparsed = { parse: "none" } as const;
const reads = {
  plane: "control",
  scope: "artifacts:read",
  project: "viewer",
} as const satisfies ClosedPolicy;
const writes = {
  plane: "control",
  scope: "artifacts:write",
  project: "editor",
} as const satisfies ClosedPolicy;
const attaches = {
  plane: "control",
  scope: "artifacts:write",
  who: "person",
  unbound: true,
} as const satisfies ClosedPolicy;

/** A signed URL is as good as a credential. */
const secrets = ["upload"];

export type ArtifactRoutesNeeds = { guard: Guard; changes: Changes; artifacts: Artifacts };

export function artifactRoutes(needs: ArtifactRoutesNeeds) {
  const { guard, changes, artifacts } = needs;
  const at = "session";
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/sessions/:session/artifacts",
      guard.closed({ ...reads, at }, ({ call, params }) =>
        artifacts.page(params.session ?? "", parseQuery(artifactsQuery, call.url.searchParams)),
      ),
    )
    .post(
      "/sessions/:session/artifacts",
      guard.closed({ ...writes, at }, (opened) =>
        changes.answer(opened, { form: newArtifactForm, secrets }, (change, asked) =>
          artifacts.create(change, opened.params.session ?? "", asked),
        ),
      ),
      unparsed,
    )
    .post(
      "/me/artifacts",
      guard.closed(attaches, (opened) =>
        changes.answer(opened, { form: newAttachmentForm, secrets }, (change, asked) =>
          artifacts.attach(change, opened.principal.id, asked),
        ),
      ),
      unparsed,
    )
    .use(oneArtifactRoutes(needs));
}

function oneArtifactRoutes({ guard, changes, artifacts }: ArtifactRoutesNeeds) {
  const at = "artifact";
  return new Elysia({ prefix: "/artifacts/:artifact" })
    .get(
      "",
      guard.closed({ ...reads, at }, async ({ params }) =>
        versioned(await artifacts.get(params.artifact ?? "")),
      ),
    )
    .delete(
      "",
      guard.closed({ ...writes, at }, async ({ request, call, principal, params }) => {
        const actor = actorOf(principal, call);
        return versioned(await artifacts.delete(actor, params.artifact ?? "", seenVersion(request)));
      }),
    )
    .post(
      "/upload",
      guard.closed({ ...writes, at }, (opened) =>
        changes.answer(opened, { form: newUploadForm, secrets }, (change, asked) =>
          artifacts.signAgain(change, opened.params.artifact ?? "", asked.ttl_seconds),
        ),
      ),
      unparsed,
    )
    .post(
      "/completion",
      guard.closed({ ...writes, at }, (opened) => {
        const id = opened.params.artifact ?? "";
        const before = () => artifacts.inspect(actorOf(opened.principal, opened.call), id);
        return changes.answer(opened, { form: completionForm, status: 200, before }, (change, _, seen) =>
          artifacts.complete(change, id, seen),
        );
      }),
      unparsed,
    )
    .get(
      "/download",
      guard.closed({ ...reads, at }, ({ call, params }) => {
        const { ttl_seconds } = parseQuery(downloadQuery, call.url.searchParams);
        return artifacts.download(params.artifact ?? "", ttl_seconds);
      }),
    );
}

const signed = { plane: "blobs", public: "The URL's signature is the proof." } as const;

/** Where the local store's signed URLs lead. A HEAD arrives at the door of GET, and has no signature of its own. */
export function blobRoutes({ guard, disk }: { guard: Guard; disk: Disk }) {
  return new Elysia()
    .get(
      "/blobs/*",
      guard.open(signed, ({ call }) => disk.serve(call)),
    )
    .put(
      "/blobs/*",
      guard.open(signed, ({ call }) => disk.receive(call)),
      unparsed,
    )
    .all("/blobs/*", guard.open(signed, otherMethod), unparsed);
}

function otherMethod(): never {
  throw new Failure("method", "method_not_allowed", "Bytes are sent with PUT and fetched with GET.", {
    headers: { allow: "GET, PUT" },
  });
}
