/**
 * Files of a session, for MCP clients: announced, sent and fetched by signed URLs as over HTTP, by the same rules.
 *
 * Bytes never pass through a tool. A signed URL is as good as a credential: it stands in the answer, and nowhere else.
 */
import { z } from "zod";
import { actorOf } from "../../db/audit-entry.ts";
import type { Changes } from "../../db/changes.ts";
import { type OpenedTool, readTool, type Tool, type ToolPlace, writeTool } from "../../platform/tool.ts";
import { toolPage, toolPageOf } from "../../platform/tool-page.ts";
import type { Artifacts } from "./artifacts.ts";
import { artifactShape, artifactsQuery, downloadShape, newArtifactForm, uploadShape } from "./contract.ts";

export type ArtifactToolsNeeds = { changes: Changes; artifacts: Artifacts };

const inSession = (least: ToolPlace["least"]): ToolPlace => ({
  least,
  at: "session",
  argument: "session_id",
});
const atArtifact = (least: ToolPlace["least"]): ToolPlace => ({
  least,
  at: "artifact",
  argument: "artifact_id",
});

const sessionId = z.string().describe("The session that the file belongs to (`ses_…`).");
const artifactId = z.string().describe("The artifact (`art_…`).");

export function artifactTools({ changes, artifacts }: ArtifactToolsNeeds): Tool[] {
  return [listTool(artifacts), presignPutTool(changes, artifacts), ...byIdTools(changes, artifacts)];
}

function listTool(artifacts: Artifacts): Tool {
  const { kind, iteration, status } = artifactsQuery.shape;
  return readTool({
    name: "artifact_list",
    title: "List artifacts",
    description:
      "Lists the files of a session, newest first, without their bytes. Only those with the status `complete` can be fetched, with artifact_presign_get.",
    scopes: ["mcp:read", "artifacts:read"],
    place: inSession("viewer"),
    input: z.strictObject({
      session_id: sessionId,
      kind: kind.describe("Only of this kind, such as `file` or `report`."),
      iteration_id: iteration.describe("Only those of this iteration (`itr_…`)."),
      status: status.describe("Only those with this status."),
      ...toolPage,
    }),
    output: toolPageOf(artifactShape),
    run: ({ asked: { session_id, iteration_id, ...rest } }) =>
      artifacts.page(session_id, { ...rest, iteration: iteration_id }),
  });
}

function presignPutTool(changes: Changes, artifacts: Artifacts): Tool {
  const { name, content_type, size_bytes, sha256, kind, iteration_id, ttl_seconds } = newArtifactForm.shape;
  return writeTool({
    name: "artifact_presign_put",
    title: "Announce an artifact",
    description:
      "Announces a file of a session and answers where to send its bytes. Three steps: call this with the file's exact size and SHA-256; send the bytes yourself with one HTTP PUT to `upload.url`, with exactly the headers of `upload.headers` (and no Authorization), before `upload.expires_at`; then call artifact_complete with `artifact.id`. Treat `upload.url` as a secret: do not show or store it.",
    scopes: ["mcp:write", "artifacts:write"],
    place: inSession("editor"),
    input: z.strictObject({
      session_id: sessionId,
      name: name.describe("The file's name without any path, such as `report.pdf`."),
      content_type: content_type.describe("Its media type, such as `text/markdown`."),
      size_bytes: size_bytes.describe("How many bytes it has, exactly."),
      sha256: sha256.describe("SHA-256 of its bytes, as 64 lower-case hexadecimal digits."),
      kind: kind.describe("A word for what it is, such as `report`; `file` unless told."),
      iteration_id: iteration_id.describe("The iteration it belongs to (`itr_…`), if any."),
      ttl_seconds: ttl_seconds.describe("How long the URL is good, in seconds; the longest unless told."),
    }),
    output: z.object({ artifact: artifactShape, upload: uploadShape.nullable() }),
    run: ({ call, principal, asked: { session_id, ...announced } }) =>
      changes.make(actorOf(principal, call), (change) => artifacts.create(change, session_id, announced)),
  });
}

function byIdTools(changes: Changes, artifacts: Artifacts): Tool[] {
  const complete = async ({ call, principal, asked }: OpenedTool<{ artifact_id: string }>) => {
    const actor = actorOf(principal, call);
    // The store is asked before the change begins: no transaction waits for it.
    const seen = await artifacts.inspect(actor, asked.artifact_id);
    return changes.make(actor, (change) => artifacts.complete(change, asked.artifact_id, seen));
  };
  return [
    writeTool({
      name: "artifact_complete",
      title: "Complete an artifact",
      description:
        "Says that the bytes of an announced artifact have been sent. They are compared with what was announced: what differs is removed, and has to be announced and sent anew. Safe to repeat.",
      scopes: ["mcp:write", "artifacts:write"],
      repeatable: true,
      place: atArtifact("editor"),
      input: z.strictObject({ artifact_id: artifactId }),
      output: artifactShape,
      run: complete,
    }),
    readTool({
      name: "artifact_presign_get",
      title: "Fetch an artifact",
      description:
        "Answers a URL from which the bytes of a complete artifact can be fetched with one HTTP GET, without any header, until `expires_at`. Treat it as a secret: do not show or store it.",
      scopes: ["mcp:read", "artifacts:read"],
      place: atArtifact("viewer"),
      input: z.strictObject({
        artifact_id: artifactId,
        ttl_seconds: newArtifactForm.shape.ttl_seconds.describe(
          "How long the URL is good, in seconds; the longest unless told.",
        ),
      }),
      output: downloadShape,
      run: ({ asked }) => artifacts.download(asked.artifact_id, asked.ttl_seconds),
    }),
  ];
}
