/**
 * The event feed over HTTP, as server-sent events.
 */
import { Elysia } from "elysia";
import type { ClosedPolicy, Guard, OpenedBy } from "../../platform/guard.ts";
import type { Events } from "./events.ts";

const reads = { plane: "control", scope: "control:read" } as const satisfies ClosedPolicy;

export function eventRoutes({ guard, events }: { guard: Guard; events: Events }) {
  const stream = async (
    { call, principal, request }: OpenedBy,
    projectId: string | null,
  ): Promise<Response> => {
    const lastEventId = request.headers.get("last-event-id");
    const body = await events.stream(principal, projectId, lastEventId);
    // Heartbeats come less often than Bun's idle timeout.
    call.stayOpen();
    return new Response(body, {
      headers: {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        // Proxies that collect an answer before they pass it on would hold every event back.
        "x-accel-buffering": "no",
      },
    });
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
