import { timingSafeEqual } from "node:crypto";
import { Elysia } from "elysia";
import type { Call } from "../../platform/call.ts";
import { sha256 } from "../../platform/digest.ts";
import { notFound } from "../../platform/failure.ts";
import type { Guard } from "../../platform/guard.ts";
import { isLoopbackRequest } from "../../platform/loopback.ts";
import type { Secret } from "../../platform/secret.ts";
import type { Health } from "./health.ts";

/** The operators' plane. `/metrics` is for this machine, or for whoever holds SPECGATE_METRICS_TOKEN. */
export function healthRoutes(needs: { guard: Guard; health: Health; metricsToken: Secret | null }) {
  const { guard, health, metricsToken } = needs;
  const ops = (why: string) => ({ plane: "ops", public: why }) as const;
  return new Elysia()
    .get(
      "/healthz",
      guard.open(ops("Says that the process answers, and its version."), () => health.alive()),
    )
    .get(
      "/readyz",
      guard.open(ops("Load balancers ask it; it names what does not work, in general words."), async () => {
        const readiness = await health.readiness();
        return Response.json(readiness, {
          status: readiness.ready ? 200 : 503,
          headers: { "cache-control": "no-store" },
        });
      }),
    )
    .get(
      "/metrics",
      guard.open(ops("Judged here: a loopback caller, or the metrics token."), ({ call }) => {
        if (!mayRead(call, metricsToken)) throw notFound();
        return new Response(health.metrics(), { headers: { "content-type": "text/plain; version=0.0.4" } });
      }),
    );
}

function mayRead({ request, peer }: Call, token: Secret | null): boolean {
  if (isLoopbackRequest(request, peer)) return true;
  const sent = request.headers.get("authorization");
  if (token === null || sent === null) return false;
  // Hashed first, so that neither the length nor the first wrong byte shows in the time.
  return timingSafeEqual(sha256(sent), sha256(`Bearer ${token.reveal()}`));
}
