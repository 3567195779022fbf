import { afterAll, describe, expect, test } from "bun:test";
import { mount } from "../../app.ts";
import { systemClock } from "../../platform/clock.ts";
import { createEdge } from "../../platform/edge.ts";
import { silentLog } from "../../platform/log.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { callTool } from "../../testing/mcp.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { SessionView } from "../sessions/contract.ts";
import { Approvals, type ApprovalsNeeds } from "./approvals.ts";
import type { ApprovalView } from "./contract.ts";
import { approvalRoutes } from "./routes.ts";
import { untilDecided } from "./waiting.ts";

const gateway = await startGateway();
const { robo, database } = gateway;
const { olga, ed, vera } = await gateway.people();
const session = await ok<SessionView>(robo, "POST", `/projects/${robo.projectId}/sessions`, {
  title: "Release",
});
const asked = { action: "deploy", subject_sha256: "ab".repeat(32), reason: "It is due." };
const request = () => ok<ApprovalView>(robo, "POST", `/sessions/${session.id}/approvals`, asked);

/** The answer, and after how many milliseconds it came. */
async function wait({ id }: { id: string }, seconds: number, who: Actor = robo) {
  const startedAt = performance.now();
  const { http, body } = await call<ApprovalView>(who, "GET", `/approvals/${id}?wait_seconds=${seconds}`);
  return { http, status: body.status, milliseconds: performance.now() - startedAt };
}

describe("whoever waits", () => {
  test.each([
    ["decision", { decision: "approve" }, "approved"],
    ["decision", { decision: "reject" }, "rejected"],
    ["withdrawal", {}, "withdrawn"],
  ] as const)("hears of a %s %p at once", async (verb, body, status) => {
    const approval = await request();
    const waiting = Promise.all([wait(approval, 20), wait(approval, 20, vera)]);
    await Bun.sleep(300);
    await ok(verb === "withdrawal" ? robo : ed, "POST", `/approvals/${approval.id}/${verb}`, body);
    const decidedAt = performance.now();
    const heard = await waiting;
    expect(performance.now() - decidedAt).toBeLessThan(1_500);
    expect(heard.map((one) => [one.http, one.status])).toEqual([
      [200, status],
      [200, status],
    ]);
  });

  test("for what is decided is answered without waiting", async () => {
    const approval = await request();
    await ok(ed, "POST", `/approvals/${approval.id}/decision`, { decision: "approve" });
    const { status, milliseconds } = await wait(approval, 30);
    expect(status).toBe("approved");
    expect(milliseconds).toBeLessThan(1_000);
  });

  test("waits no longer than was asked for", async () => {
    const { status, milliseconds } = await wait(await request(), 1);
    expect(status).toBe("pending");
    expect(milliseconds).toBeGreaterThanOrEqual(950);
    expect(milliseconds).toBeLessThan(2_000);
  });

  test("hears that its time is over when it is", async () => {
    const approval = await request();
    await database.sql`update approvals set pending_until = now() + interval '600 ms' where id = ${approval.id}`;
    const { status, milliseconds } = await wait(approval, 20);
    expect(status).toBe("expired");
    expect(milliseconds).toBeGreaterThan(400);
    expect(milliseconds).toBeLessThan(2_000);
  });

  test("hears nothing more once its credential is revoked, or its part in the project changed", async () => {
    const scope = "control:read";
    const { id, key } = await gateway.keys.create(localActor, { owner: { clientId: robo.id }, scope });
    const helper = gateway.as(key);
    const approval = await request();
    const waiting = Promise.all([wait(approval, 20, helper), wait(approval, 20, vera)]);
    await Bun.sleep(300);
    await ok(robo, "GET", `/approvals/${approval.id}`);
    await gateway.keys.revoke(localActor, id);
    const member = `/projects/${robo.projectId}/members/${vera.id}`;
    await ok(olga, "DELETE", member);
    for (const { http, status, milliseconds } of await waiting) {
      expect([http, status]).toEqual([200, "pending"]);
      expect(milliseconds).toBeLessThan(2_000);
    }
    expect(await refused(helper, "GET", `/approvals/${approval.id}`)).toBe("401 unauthenticated");
    expect(await refused(vera, "GET", `/approvals/${approval.id}`)).toBe("404 not_found");
    await ok(olga, "PUT", member, { role: "viewer" });
  });

  test("hears nothing more once its token is over", async () => {
    const asking = { scope: "control:read", projectId: null, sessionId: null, ttlSeconds: 60, resources: [] };
    const issued = await gateway.oauth.tokens.issue(localActor, robo.id, asking);
    const approval = await request();
    const ahead = { ...systemClock(), now: () => Date.now() + 59_000 };
    const { status, milliseconds } = await over({ clock: ahead }, (server) =>
      wait(approval, 10, server.as(issued.access_token)),
    );
    expect(status).toBe("pending");
    expect(milliseconds).toBeLessThan(3_000);
  });

  test("and leaves, leaves nothing behind", async () => {
    const waits = countedWaits();
    const approval = await request();
    await over({ waitFor: waits.waitFor }, async ({ as }) => {
      const leaving = new AbortController();
      const path = `/api/v1/approvals/${approval.id}?wait_seconds=30`;
      const sent = as(robo.bearer).fetch(path, { signal: leaving.signal });
      await until(() => waits.open === 1);
      leaving.abort();
      await expect(sent).rejects.toThrow();
      await until(() => waits.open === 0);
      await Bun.sleep(300);
      expect(waits).toMatchObject({ begun: 1, open: 0 });
    });
  });

  test("does not keep the database busy", async () => {
    const waits = countedWaits();
    const { milliseconds } = await over({ waitFor: waits.waitFor }, async ({ as }) =>
      wait(await request(), 2, as(robo.bearer)),
    );
    expect(milliseconds).toBeGreaterThanOrEqual(1_950);
    // One look each second, and a timer may ring a moment early.
    expect(waits.begun).toBeLessThanOrEqual(3);
    expect(waits.open).toBe(0);
  });

  test("misses nothing that happens between looking and listening", async () => {
    const waits = countedWaits();
    const [pending, approved] = [await request(), await request()];
    await ok(ed, "POST", `/approvals/${approved.id}/decision`, { decision: "approve" });
    const looks: { listening: number }[] = [];
    // Decided right after the first look, and told before anybody listened.
    const look = () => {
      looks.push({ listening: waits.open });
      return approvals.get(looks.length === 1 ? pending.id : approved.id);
    };
    const { approvals } = gateway.parts.control;
    const principal = await gateway.authenticator.authenticate(robo.bearer, "control");
    const { signal } = new AbortController();
    const waiter = { principal, projectId: robo.projectId, milliseconds: 5_000, signal };
    const closing = new AbortController().signal;
    const needs = { clock: systemClock(), waitFor: waits.waitFor, onRevoked: () => () => undefined, closing };
    const startedAt = performance.now();
    expect((await untilDecided(needs, waiter, look)).status).toBe("approved");
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    expect(looks).toEqual([{ listening: 0 }, { listening: 1 }]);
    await until(() => waits.open === 0);
  });

  test("is not cut by an idle timeout", async () => {
    const { http, status } = await over({ idleTimeout: 1 }, async ({ as }) =>
      wait(await request(), 6, as(robo.bearer)),
    );
    expect([http, status]).toEqual([200, "pending"]);
  });
});

test("a gateway that closes lets nobody wait, over HTTP or MCP", async () => {
  const approval = await request();
  const startedAt = performance.now();
  const waiting = [
    wait(approval, 20),
    callTool(robo, "approval_get", { approval_id: approval.id, wait_seconds: 20 }),
  ];
  await Bun.sleep(300);
  gateway.parts.control.approvals.endWaits();
  const [http, tool] = await Promise.all(waiting);
  expect(http).toMatchObject({ http: 200, status: "pending" });
  expect(tool).toMatchObject({ result: { structuredContent: { status: "pending" } } });
  await wait(approval, 20);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

/** Waits that end with their time or their signal alone, and are counted. */
function countedWaits() {
  const waits = {
    begun: 0,
    open: 0,
    waitFor(_id: string, milliseconds: number, signal: AbortSignal): Promise<void> {
      waits.begun += 1;
      waits.open += 1;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, milliseconds);
      signal.addEventListener("abort", () => resolve());
      return promise.finally(() => {
        clearTimeout(timer);
        waits.open -= 1;
      });
    },
  };
  return waits;
}

type Other = Partial<Pick<ApprovalsNeeds, "waitFor" | "clock">> & { idleTimeout?: number };

/** The same approvals over another server that waits in another way. */
async function over<T>(
  { idleTimeout = 30, ...other }: Other,
  use: (server: { as: (bearer: string) => Actor }) => Promise<T>,
): Promise<T> {
  const { changes, cursors, guard } = gateway.parts;
  const approvals = new Approvals({
    database,
    changes,
    cursors,
    clock: systemClock(),
    waitFor: countedWaits().waitFor,
    onRevoked: (listener) => gateway.feed.onRevoked(listener),
    ...other,
  });
  const { answer } = mount([approvalRoutes({ guard, changes, approvals })]);
  const edge = createEdge(
    {
      allowedHosts: () => [],
      publicUrl: () => gateway.url,
      corsOrigins: [],
      trustedProxies: [],
      bodyBytesMax: () => 65_536,
      log: silentLog,
    },
    answer,
  );
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout, fetch: edge });
  afterAll(() => server.stop(true));
  const as = (bearer: string): Actor => {
    const headers = { authorization: `Bearer ${bearer}` };
    return {
      ...gateway.as(bearer),
      fetch: (path, init = {}) =>
        fetch(`${server.url.origin}${path}`, { ...init, headers: { ...headers, ...init.headers } }),
    };
  };
  return use({ as });
}

async function until(isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 2_000;
  while (!isSo() && performance.now() < deadline) await Bun.sleep(10);
  expect(isSo()).toBe(true);
}
