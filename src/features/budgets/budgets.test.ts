import { afterAll, describe, expect, test } from "bun:test";
import { audit } from "../../db/schema.ts";
import { localActor } from "../../testing/desk.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { endRecord, startRecord } from "../../testing/ledger.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import { mergeBatch } from "../usage/merge.ts";
import type { BudgetView } from "./contract.ts";

const gateway = await startGateway();
afterAll(() => gateway.close());
const { ada, olga, ed, vera, stranger } = await gateway.people();
const { robo, mallory } = gateway;

const ofRobo = { subject: "project", subject_id: robo.projectId, period: "month", limit_usd: "12.5" };
const make = (more: object = {}) => ok<BudgetView>(ada, "POST", "/budgets", { ...ofRobo, ...more });
const seen = async (who: Actor) =>
  (await ok<{ data: BudgetView[] }>(who, "GET", "/budgets")).data.map(({ id }) => id);

describe("a budget", () => {
  test("is made with the usual terms, read, changed and ended, and each is in the audit", async () => {
    const made = await call<BudgetView>(ada, "POST", "/budgets", ofRobo);
    expect(made).toMatchObject({
      http: 201,
      body: {
        subject: "project",
        subject_id: robo.projectId,
        period: "month",
        timezone: "UTC",
        week_start: "monday",
        limit_usd: "12.50",
        thresholds: [50, 80, 95, 100],
        hard: true,
        current: { spent_usd: "0.00", held_usd: "0.00", remaining_usd: "12.50" },
        created_by: ada.id,
        version: 1,
      },
    });
    const { id, current } = made.body;
    const now = new Date();
    expect(current.starts_at).toBe(
      new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1)).toISOString(),
    );
    expect(current.ends_at).toBe(
      new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1)).toISOString(),
    );
    const read = await call<BudgetView>(ada, "GET", `/budgets/${id}`);
    expect([read.body, read.headers.get("etag")]).toEqual([made.body, '"1"']);

    const change = { limit_usd: "20", thresholds: [90, 10, 90], hard: false };
    const changed = await call<BudgetView>(ada, "PATCH", `/budgets/${id}`, change, { "if-match": '"1"' });
    expect(changed.body).toMatchObject({
      limit_usd: "20.00",
      thresholds: [10, 90],
      hard: false,
      version: 2,
    });
    expect(await refused(ada, "PATCH", `/budgets/${id}`, { hard: true }, { "if-match": '"1"' })).toBe(
      "412 stale_version",
    );
    expect(await refused(ada, "DELETE", `/budgets/${id}`, undefined, { "if-match": '"1"' })).toBe(
      "412 stale_version",
    );
    expect((await call(ada, "DELETE", `/budgets/${id}`)).http).toBe(204);
    expect(await refused(ada, "GET", `/budgets/${id}`)).toBe("404 not_found");
    expect(await seen(ada)).not.toContain(id);
    const entries = (await gateway.database.db.select().from(audit)).filter(({ subject }) => subject === id);
    expect(entries.map(({ action, projectId, actor }) => [action, projectId, actor])).toEqual(
      ["created", "updated", "deleted"].map((verb) => [`budget.${verb}`, robo.projectId, ada.id]),
    );
  });

  test("is made once, however often the same request comes", async () => {
    const headers = { "idempotency-key": "budget-1" };
    const [first, again] = [
      await call<BudgetView>(ada, "POST", "/budgets", ofRobo, headers),
      await call<BudgetView>(ada, "POST", "/budgets", ofRobo, headers),
    ];
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
  });

  test("is an administrator's to make, to change and to end", async () => {
    const { id } = await make();
    for (const who of [olga, ed, vera, stranger, robo, mallory]) {
      expect(await refused(who, "POST", "/budgets", ofRobo)).toBe("403 insufficient_scope");
      expect(await refused(who, "PATCH", `/budgets/${id}`, { hard: false })).toBe("403 insufficient_scope");
      expect(await refused(who, "DELETE", `/budgets/${id}`)).toBe("403 insufficient_scope");
    }
    expect(await refused(gateway.nobody, "GET", "/budgets")).toBe("401 unauthenticated");
  });

  test("is refused with its mistakes", async () => {
    const rows: [object, string][] = [
      [{ limit_usd: 12.5 }, "limit_usd"],
      [{ limit_usd: "-1" }, "limit_usd"],
      [{ limit_usd: "0.0000000001" }, "limit_usd"],
      [{ limit_usd: "1000000.01" }, "limit_usd"],
      [{ period: "year" }, "period"],
      [{ thresholds: [0] }, "thresholds.0"],
      [{ thresholds: [1.5] }, "thresholds.0"],
      [{ week_start: "friday" }, "week_start"],
      [{ subject: "team" }, "subject"],
      [{ subject_id: undefined }, "subject_id"],
      [{ subject_id: "prj_00000000000000000000000000000000" }, "subject_id"],
      [{ subject: "key", subject_id: robo.id }, "subject_id"],
      [{ subject: "global" }, "subject_id"],
      [{ timezone: "Europe/Nowhere" }, "timezone"],
      [{ timezone: "EST5EDT4,M3.2.0,M11.1.0" }, "timezone"],
      [{ timezone: "+03" }, "timezone"],
      [{ spent_usd: "1" }, "spent_usd"],
    ];
    for (const [more, path] of rows) {
      const answer = await call<{ errors: { path: string }[] }>(ada, "POST", "/budgets", {
        ...ofRobo,
        ...more,
      });
      expect([more, answer.http, answer.body.errors?.[0]?.path]).toEqual([more, 422, path]);
    }
    const { id } = await make();
    for (const fixed of ["subject", "subject_id", "period", "timezone", "week_start"]) {
      expect(await refused(ada, "PATCH", `/budgets/${id}`, { [fixed]: "day" })).toStartWith("422");
    }
  });

  test("is shown to those whom it concerns", async () => {
    const project = (await make()).id;
    const foreign = (await make({ subject_id: mallory.projectId })).id;
    const user = (await make({ subject: "user", subject_id: olga.id })).id;
    const client = (await make({ subject: "client", subject_id: robo.id })).id;
    const global = (await make({ subject: "global", subject_id: null })).id;
    const scope = "usage:read control:read";
    const olgas = await gateway.keys.create(localActor, { owner: { userEmail: olga.email }, scope });
    const key = (await make({ subject: "key", subject_id: olgas.id })).id;
    const all = [project, foreign, user, client, global, key];
    const rows: [string, Actor, string[]][] = [
      ["ada", ada, all],
      ["olga", olga, [project, user, key]],
      ["olga's key", gateway.as(olgas.key), [project, user, key]],
      ["vera", vera, [project]],
      ["stranger", stranger, []],
      ["robo", robo, [project, client]],
      ["mallory", mallory, [foreign]],
    ];
    for (const [name, who, mine] of rows) {
      const listed = await seen(who);
      expect([name, all.filter((id) => listed.includes(id))]).toEqual([name, mine]);
      for (const id of all) {
        const { http } = await call(who, "GET", `/budgets/${id}`);
        expect([name, id, http]).toEqual([name, id, mine.includes(id) ? 200 : 404]);
      }
    }
    await call(ada, "DELETE", `/budgets/${global}`);
  });

  test("is listed page by page", async () => {
    for (let made = 0; made < 3; made++) await make();
    const whole = await seen(ada);
    const paged: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = cursor === "" ? "" : `&cursor=${cursor}`;
      const page: { data: BudgetView[]; next_cursor: string | null } = await ok(
        ada,
        "GET",
        `/budgets?limit=2${query}`,
      );
      paged.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    expect(paged).toEqual(whole);
    expect(await refused(ada, "GET", "/budgets?subject=team")).toBe("400 invalid_request");
  });

  test("begins its week and its day where the zone says so", async () => {
    const kolkata = await make({ period: "day", timezone: "Asia/Kolkata" });
    expect(kolkata.current.starts_at).toEndWith("T18:30:00.000Z");
    const sunday = await make({ period: "week", week_start: "sunday" });
    const monday = await make({ period: "week" });
    expect(new Date(sunday.current.starts_at).getUTCDay()).toBe(0);
    expect(new Date(monday.current.starts_at).getUTCDay()).toBe(1);
    const total = await make({ period: "total" });
    expect(total.current).toMatchObject({ starts_at: "1970-01-01T00:00:00.000Z", ends_at: null });
  });
});

describe("a changed limit", () => {
  const { sql } = gateway.database;
  const owner = { instance: crypto.randomUUID(), epoch: 1 };
  const spend = async (who: Actor, dollars: number) => {
    const start = startRecord({ user_id: who.id });
    const records = [start, endRecord(start, { cost: dollars * 1e9 })].map((one) => JSON.stringify(one));
    await mergeBatch(sql, owner, { records, epoch: 1, reach: null });
  };
  const terms = { period: "total", limit_usd: "10", thresholds: [50, 80, 100], hard: false };
  const budgetOf = async (who: Actor) => {
    const { id } = await make({ ...terms, subject: "user", subject_id: who.id });
    let heard = 0;
    return {
      limit: (limit_usd: string) => ok(ada, "PATCH", `/budgets/${id}`, { limit_usd }),
      /** What was told since the last look. */
      news: async () => {
        const rows = await sql<{ what: string; limit: string }[]>`
          select coalesce(payload ->> 'threshold', 'exhausted') as what, payload ->> 'limit_usd' as limit
          from alarms where payload ->> 'budget_id' = ${id} order by id offset ${heard}`;
        heard += rows.length;
        return rows.map(({ what, limit }) => `${what} of ${limit}`);
      },
    };
  };

  test("that is raised is told of anew, but for what is passed already", async () => {
    const { limit, news } = await budgetOf(vera);
    await spend(vera, 10);
    expect(await news()).toEqual(["50 of 10.00", "80 of 10.00", "100 of 10.00", "exhausted of 10.00"]);
    for (const [raised, dollars, told] of [
      ["20", 7, ["80 of 20.00"]],
      ["40", 3, ["50 of 40.00"]],
      ["40", 20, ["80 of 40.00", "100 of 40.00", "exhausted of 40.00"]],
    ] as const) {
      await limit(raised);
      expect(await news()).toEqual([]);
      await spend(vera, dollars);
      expect(await news()).toEqual([...told]);
    }
  });

  test("that is lowered, or raised and still spent, tells nothing twice", async () => {
    const { limit, news } = await budgetOf(ed);
    await spend(ed, 9);
    expect(await news()).toEqual(["50 of 10.00", "80 of 10.00"]);
    await limit("8");
    expect(await news()).toEqual(["100 of 8.00", "exhausted of 8.00"]);
    await limit("9");
    await spend(ed, 1);
    await limit("5");
    expect(await news()).toEqual([]);
  });
});
