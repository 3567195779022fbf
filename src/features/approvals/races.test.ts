import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mayMove } from "../../platform/states.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { call, ok } from "../../testing/wire.ts";
import type { SessionView } from "../sessions/contract.ts";
import type { ApprovalView } from "./contract.ts";
import { type ApprovalState, approvalMoves, approvalStates } from "./states.ts";

const gateway = await startGateway({
  yaml: "limits: { control: { requests_per_minute: null } }",
});
const { robo, database } = gateway;
const { olga, ed, vera } = await gateway.people();
const session = await ok<SessionView>(robo, "POST", `/projects/${robo.projectId}/sessions`, {
  title: "Release",
});
const subject = { action: "deploy", subject_sha256: "ab".repeat(32) };

const request = () =>
  ok<ApprovalView>(robo, "POST", `/sessions/${session.id}/approvals`, { ...subject, reason: "It is due." });
const approved = async () => {
  const { id } = await request();
  return ok<ApprovalView>(ed, "POST", `/approvals/${id}/decision`, { decision: "approve" });
};
const read = ({ id }: { id: string }) => ok<ApprovalView>(vera, "GET", `/approvals/${id}`);
const answer = async (who: Actor, { id }: { id: string }, verb: string, body: object = {}) => {
  const { http, body: said } = await call<{ code?: string }>(who, "POST", `/approvals/${id}/${verb}`, body);
  return http === 200 ? "done" : `${http} ${said.code}`;
};
const changesOf = async ({ id }: { id: string }) => {
  const rows = await database.sql`select action from audit where subject = ${id} order by id`;
  return rows.map(({ action }) => action.replace("approval.", ""));
};

describe("of many at once", () => {
  const repeats = Array.from({ length: 10 }, (_, at) => at + 1);

  test.each(repeats)("one of fifty consumptions is granted (%p)", async () => {
    const approval = await approved();
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "control:read approvals:consume",
    });
    const runners = [robo, gateway.as(key)];
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, at) =>
        answer(runners[at % 2] as Actor, approval, "consumption", subject),
      ),
    );
    expect(answers.filter((one) => one === "done")).toHaveLength(1);
    expect(answers.filter((one) => one === "409 already_consumed")).toHaveLength(49);
    expect(await changesOf(approval)).toEqual(["requested", "decided", "consumed"]);
    expect(await read(approval)).toMatchObject({ status: "consumed", version: 3 });
  });

  test.each(repeats)("one of approving, rejecting and withdrawing wins (%p)", async () => {
    const approval = await request();
    const answers = await Promise.all([
      answer(ed, approval, "decision", { decision: "approve" }),
      answer(olga, approval, "decision", { decision: "reject" }),
      answer(robo, approval, "withdrawal"),
    ]);
    const winner = answers.indexOf("done");
    const status = (["approved", "rejected", "withdrawn"] as const)[winner];
    const lost = status === "withdrawn" ? "409 withdrawn" : "409 already_decided";
    expect(answers.filter((_, at) => at !== winner)).toEqual([lost, lost]);
    expect((await read(approval)).status).toBe(status as ApprovalState);
    expect(await changesOf(approval)).toEqual([
      "requested",
      status === "withdrawn" ? "withdrawn" : "decided",
    ]);
  });

  test.each(repeats)("one of consuming and revoking wins (%p)", async () => {
    const approval = await approved();
    const [consumption, revocation] = await Promise.all([
      answer(robo, approval, "consumption", subject),
      answer(olga, approval, "revocation"),
    ]);
    const { status } = await read(approval);
    expect([consumption, revocation, status]).toEqual(
      consumption === "done"
        ? ["done", "409 already_consumed", "consumed"]
        : ["409 not_approved", "done", "revoked"],
    );
  });

  test("nothing is consumed while its expiry is being written", async () => {
    const all = await Promise.all(Array.from({ length: 20 }, approved));
    const ids = all.map(({ id }) => id);
    await database.sql`update approvals set expires_at = now() + interval '150 ms' where id = any(${ids})`;
    const { approvals } = gateway.parts.control;
    const outcomes = await Promise.all(
      all.map(async (approval, at) => {
        await Bun.sleep(130 + at * 2);
        await approvals.expireDue();
        return answer(robo, approval, "consumption", subject);
      }),
    );
    for (const [at, approval] of all.entries()) {
      const { status } = await read(approval);
      expect([outcomes[at], status]).toEqual(
        outcomes[at] === "done" ? ["done", "consumed"] : ["409 expired", "expired"],
      );
    }
  });
});

describe("the states of an approval", () => {
  test("lead to each other only, and all but two are final", () => {
    expect(Object.keys(approvalMoves).sort()).toEqual([...approvalStates].sort());
    for (const to of Object.values(approvalMoves).flat()) expect(approvalStates).toContain(to);
    expect(approvalStates.filter((state) => approvalMoves[state].length > 0)).toEqual([
      "pending",
      "approved",
    ]);
  });

  const steps: Record<
    string,
    { from: ApprovalState[]; to: ApprovalState; take: (id: string) => Promise<string> }
  > = {
    approve: {
      from: ["pending"],
      to: "approved",
      take: (id) => answer(ed, { id }, "decision", { decision: "approve" }),
    },
    reject: {
      from: ["pending"],
      to: "rejected",
      take: (id) => answer(olga, { id }, "decision", { decision: "reject" }),
    },
    withdraw: { from: ["pending"], to: "withdrawn", take: (id) => answer(robo, { id }, "withdrawal") },
    consume: {
      from: ["approved"],
      to: "consumed",
      take: (id) => answer(robo, { id }, "consumption", subject),
    },
    revoke: { from: ["approved"], to: "revoked", take: (id) => answer(ed, { id }, "revocation") },
    wait: {
      from: ["pending", "approved"],
      to: "expired",
      async take(id) {
        await database.sql`
          update approvals set pending_until = now() - interval '1 ms',
            expires_at = case when expires_at is null then null else now() - interval '1 ms' end where id = ${id}`;
        return "done";
      },
    },
    write: {
      from: [...approvalStates],
      to: "expired",
      async take() {
        await gateway.parts.control.approvals.expireDue();
        return "done";
      },
    },
  };

  test("are gone through as their table says, whatever is asked in whatever order", async () => {
    // Most histories begin with an approval, because there is more to see behind it.
    const history = fc.array(fc.constantFrom("approve", ...Object.keys(steps)), {
      minLength: 1,
      maxLength: 7,
    });
    await fc.assert(
      fc.asyncProperty(history, async (names) => {
        const { id } = await request();
        let now: ApprovalState = "pending";
        for (const name of names) {
          const step = steps[name] as (typeof steps)[string];
          const outcome = await step.take(id);
          const { status } = await read({ id });
          expect([name, now, status, mayMove(approvalMoves, now, status)]).toEqual([name, now, status, true]);
          // Writing down that time is over changes nothing that anybody sees.
          const moved = name === "write" ? now : step.from.includes(now) ? step.to : now;
          expect([name, now, status]).toEqual([name, now, moved]);
          if (name !== "write" && name !== "wait")
            expect([name, now, outcome === "done"]).toEqual([name, now, step.from.includes(now)]);
          now = status;
        }
      }),
      { numRuns: 40 },
    );
  });
});
