/**
 * The event feed over HTTP, as server-sent events.
 */
import { Elysia } from "elysia";
import type { ClosedPolicy, Guard, OpenedBy } from "../../platform/guard.ts";
import type { Events } from "./events.ts";

const reads = { plane: "control", scope: "control:read" } as const satisfies ClosedPolicy;

const headers = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // Proxies that collect an answer before they pass it on would hold every event back.
  "x-accel-buffering": "no",
};

export function eventRoutes({ guard, events }: { guard: Guard; events: Events }) {
  const stream = async (
    { call, principal, request }: OpenedBy,
    projectId: string | null,
  ): Promise<Response> => {
    // Nobody would read a body, or say that they have gone.
    if (request.method === "HEAD") return new Response(null, { headers });
    const body = await events.stream(principal, projectId, request.headers.get("last-event-id"));
    // Heartbeats come less often than Bun's idle timeout.
    call.stayOpen();
    return new Response(body, { headers });
  };
  return new Elysia({ prefix: "/api/v1" })
    .get(
      "/events",
      guard.closed(reads, (opened) => stream(opened, null)),
    )
    .get(
      "/projects/:project/events",
      guard.closed({ ...reads, project: "viewer" }, (opened) => stream(opened, opened.place.projectId)),
    );
}
