import { afterAll, describe, expect, test } from "bun:test";
import { connect } from "../../db/connection.ts";
import { openDatabase } from "../../db/open.ts";
import { silentLog } from "../../platform/log.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { localActor } from "../../testing/desk.ts";
import { listen } from "../../testing/event-stream.ts";
import { startGateway } from "../../testing/gateway.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { IterationView, SessionView } from "../sessions/contract.ts";
import { EventFeed } from "./feed.ts";
import { type EventRow, forgetEvents, reachesBack } from "./store.ts";

const gateway = await startGateway();
const { robo, mallory, nobody } = gateway;
const { ada, olga, vera, stranger } = await gateway.people();
const ofProject = `/projects/${robo.projectId}/events`;

const newSession = (who = robo, title = "Login") =>
  ok<SessionView>(who, "POST", `/projects/${who.projectId}/sessions`, { title });
const newIteration = (session: SessionView) =>
  ok<IterationView>(robo, "POST", `/sessions/${session.id}/iterations`, {});

describe("the event feed", () => {
  test("tells what happens in a project, to whoever may see it and nobody else", async () => {
    const [seen, all, foreign] = await Promise.all([
      listen(vera, ofProject),
      listen(ada, "/events"),
      listen(mallory, "/events"),
    ]);
    expect(seen.headers.get("content-type")).toBe("text/event-stream");
    const session = await newSession();
    const theirs = await newSession(mallory);
    await ok(robo, "PATCH", `/sessions/${session.id}`, { title: "Sign in" });
    await seen.until((told) => told.length >= 2);
    expect(seen.told.map(({ type, data }) => [type, data.id, data.version])).toEqual([
      ["session.created", session.id, 1],
      ["session.updated", session.id, 2],
    ]);
    expect(seen.told[1]?.data).toMatchObject({
      project_id: robo.projectId,
      title: "Sign in",
      status: "open",
    });
    await foreign.until((told) => told.length >= 1);
    await all.until((told) => told.length >= 3);
    expect(foreign.told.map(({ data }) => data.id)).toEqual([theirs.id]);
    expect(new Set(all.told.map(({ data }) => data.project_id))).toEqual(
      new Set([robo.projectId, mallory.projectId]),
    );
    for (const one of [seen, all, foreign]) one.leave();
  });

  test("tells of the project itself and of its members", async () => {
    const heard = await listen(ada, ofProject);
    await ok(olga, "PATCH", `/projects/${robo.projectId}`, { name: "Renamed" });
    await ok(olga, "PUT", `/projects/${robo.projectId}/members/${stranger.id}`, { role: "viewer" });
    await ok(olga, "PUT", `/projects/${robo.projectId}/members/${stranger.id}`, { role: "editor" });
    await call(olga, "DELETE", `/projects/${robo.projectId}/members/${stranger.id}`);
    await heard.until((told) => told.length >= 4);
    expect(heard.told.map(({ type, data }) => [type, data.id])).toEqual([
      ["project.updated", robo.projectId],
      ["member.created", stranger.id],
      ["member.updated", stranger.id],
      ["member.deleted", stranger.id],
    ]);
    heard.leave();
  });

  test("is closed to strangers", async () => {
    expect(await refused(nobody, "GET", ofProject)).toBe("401 unauthenticated");
    expect(await refused(stranger, "GET", ofProject)).toBe("404 not_found");
    expect(await refused(mallory, "GET", ofProject)).toBe("404 not_found");
  });

  test("goes on after the last event that was seen: none skipped, none twice", async () => {
    const before = await listen(vera, ofProject);
    const session = await newSession();
    await before.until((told) => told.length === 1);
    before.leave();
    for (let number = 1; number <= 30; number++) await newIteration(session);
    const after = await listen(vera, ofProject, before.lastEventId());
    await newIteration(session);
    await after.until((told) => told.length >= 31);
    expect(after.told.map(({ data }) => data.number)).toEqual(Array.from({ length: 31 }, (_, at) => at + 1));
    after.leave();
  });

  test("resumes at every place of a busy log and hears exactly the rest", async () => {
    const whole = await listen(vera, ofProject);
    const session = await newSession();
    const writers = Array.from({ length: 40 }, () => newIteration(session));
    // Readers that come and go while others write.
    const readers = [];
    for (let at = 1; at <= 12; at++) {
      await whole.until((told) => told.length >= at);
      readers.push({ at, heard: await listen(vera, ofProject, whole.told[at - 1]?.id ?? "") });
    }
    await Promise.all(writers);
    await whole.until((told) => told.length === 41);
    const ids = whole.told.map(({ id }) => id);
    expect(new Set(ids).size).toBe(41);
    for (const { at, heard } of readers) {
      await heard.until((told) => told.length >= 41 - at);
      expect(heard.told.map(({ id }) => id)).toEqual(ids.slice(at));
      heard.leave();
    }
    whole.leave();
  });

  test("says so when a cursor is too old, of another cluster, or none at all", async () => {
    const { cursors } = gateway.parts;
    const now = Date.now();
    const old = [
      cursors.seal("events", ["1", "5", "5", String(now - 25 * 3_600_000)]),
      cursors.seal("events", ["2", "5", "5", String(now)]),
      cursors.seal("sessions", ["1", "5", "5", String(now)]),
      "garbage",
    ];
    for (const cursor of old) {
      const heard = await listen(vera, ofProject, cursor);
      await heard.until((told) => told.length >= 1);
      expect(heard.told[0]?.type).toBe("reset");
      const session = await newSession();
      await heard.until((told) => told.length >= 2);
      expect(heard.told[1]?.data.id).toBe(session.id);
      heard.leave();
    }
  });

  test("honours an old cursor as long as the log reaches back to it, however long it was kept before", async () => {
    const { cursors } = gateway.parts;
    await newSession();
    const [at] = await gateway.database.sql<{ xid: string; id: string }[]>`
      select xid::text as xid, id::text as id from events order by events.xid desc, events.id desc limit 1`;
    const since = String(Date.now() - 2 * 3_600_000);
    const cursor = cursors.seal("events", ["1", at?.xid ?? "", at?.id ?? "", since]);
    const session = await newSession();
    const first = async () => {
      const heard = await listen(vera, ofProject, cursor);
      await heard.until((told) => told.length >= 1);
      heard.leave();
      return heard.told[0];
    };
    expect((await first())?.data.id).toBe(session.id);
    await gateway.database
      .sql`delete from events where (xid, id) <= (${at?.xid ?? ""}::xid8, ${at?.id ?? ""}::bigint)`;
    expect((await first())?.type).toBe("reset");
  });

  describe("of a log that is swept", () => {
    const hourMs = 3_600_000;
    const cursorOf = (hours: number, at: { xid: string; id: string } = { xid: "1", id: "0" }) =>
      gateway.parts.cursors.seal("events", ["1", at.xid, at.id, String(Date.now() - hours * hourMs)]);
    const firstAfter = async (cursor: string) => {
      const heard = await listen(vera, ofProject, cursor);
      await heard.until((told) => told.length >= 1);
      heard.leave();
      return heard.told[0];
    };
    const log = () =>
      gateway.database.sql<{ xid: string; id: string }[]>`
        select xid::text as xid, id::text as id from events order by events.xid, events.id`;
    const age = (hours: number) =>
      gateway.database.sql`update events set at = at - make_interval(hours => ${hours})`;
    const forget = (keptHours: number, dryRun = false) =>
      forgetEvents(gateway.database, new Date(Date.now() - keptHours * hourMs), { dryRun });

    test("a reader who missed nothing goes on, however quiet it was", async () => {
      await gateway.database.sql`delete from events`;
      const heard = await listen(vera, ofProject, cursorOf(2));
      const session = await newSession();
      await heard.until((told) => told.length >= 1);
      expect(heard.told[0]?.data.id).toBe(session.id);
      heard.leave();

      await age(30);
      const [at] = await log();
      const beforeSweep = cursorOf(20, at);
      expect([await forget(25, true), await forget(25), (await log()).length]).toEqual([0, 0, 1]);
      await ok(robo, "PATCH", `/sessions/${session.id}`, { title: "Quiet no more" });
      expect((await firstAfter(beforeSweep))?.data.id).toBe(session.id);
    });

    test("a reader is told when something was swept that it had not seen, also when the log is kept longer now", async () => {
      await gateway.database.sql`delete from events`;
      await newSession();
      const [seen] = await log();
      await newSession();
      await newSession();
      await age(4);
      // Kept for an hour until now, for a day from now on.
      expect([await forget(2, true), await forget(2), await forget(2)]).toEqual([2, 2, 0]);
      expect((await log()).length).toBe(1);
      expect((await firstAfter(cursorOf(5, seen)))?.type).toBe("reset");
      const [newest] = await log();
      const next = await newSession();
      expect((await firstAfter(cursorOf(3, newest)))?.data.id).toBe(next.id);
    });
  });

  test("ends within a second when the membership or the sign-in ends", async () => {
    const heard = await listen(vera, ofProject);
    const everywhere = await listen(vera, "/events");
    await ok(olga, "PUT", `/projects/${robo.projectId}/members/${vera.id}`, { role: "editor" });
    await Promise.race([Promise.all([heard.ended, everywhere.ended]), Bun.sleep(1_000).then(fail)]);
    await ok(olga, "PUT", `/projects/${robo.projectId}/members/${vera.id}`, { role: "viewer" });
    const again = await listen(vera, ofProject);
    await ok(olga, "DELETE", `/projects/${robo.projectId}/members/${vera.id}`);
    await Promise.race([again.ended, Bun.sleep(1_000).then(fail)]);
    expect(await refused(vera, "GET", ofProject)).toBe("404 not_found");
    await ok(olga, "PUT", `/projects/${robo.projectId}/members/${vera.id}`, { role: "viewer" });
  });

  test("ends with its credential, and shows a bound one its own session only", async () => {
    const one = await newSession();
    const two = await newSession();
    const token = await gateway.oauth.tokens.issue(localActor, robo.id, {
      scope: "control:read",
      projectId: null,
      sessionId: one.id,
      ttlSeconds: 60,
      resources: [],
    });
    const bound = gateway.as(token.access_token);
    const heard = await listen(bound, ofProject);
    await newIteration(two);
    await newIteration(one);
    await heard.until((told) => told.length >= 1);
    expect(heard.told.map(({ data }) => data.session_id)).toEqual([one.id]);
    expect(await refused(bound, "GET", `/sessions/${two.id}`)).toBe("404 not_found");
    expect(
      (await ok<{ data: SessionView[] }>(bound, "GET", `/projects/${robo.projectId}/sessions`)).data,
    ).toHaveLength(1);
    heard.leave();
  });

  test("holds a hundred streams of a credential and no more", async () => {
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "control:read",
    });
    const greedy = gateway.as(key);
    const streams = await Promise.all(Array.from({ length: 100 }, () => listen(greedy, ofProject)));
    expect(await refused(greedy, "GET", ofProject)).toBe("429 too_many_streams");
    for (const stream of streams) stream.leave();
    await Promise.all(streams.map(({ ended }) => ended));
    const deadline = performance.now() + 2_000;
    let status = "";
    while (performance.now() < deadline && status !== "200") {
      const again = await listen(greedy, ofProject);
      status = String(again.status);
      again.leave();
    }
    expect(status).toBe("200");
  });

  test("ends when its credential was revoked while it opened", async () => {
    const { id, key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "control:read",
    });
    const owner = connect(gateway.owner, {
      applicationName: "owner",
      prepare: false,
      connectionsMax: 1,
      statementTimeoutMs: null,
    });
    // What the stream reads first has to wait, and the key ends meanwhile.
    const { promise: revoked, resolve } = Promise.withResolvers<void>();
    const locked = owner.begin(async (tx) => {
      await tx`lock table events in access exclusive mode`;
      await revoked;
    });
    await Bun.sleep(50);
    const opening = listen(gateway.as(key), ofProject);
    await Bun.sleep(100);
    await gateway.keys.revoke(localActor, id);
    resolve();
    await locked;
    await Promise.race([(await opening).ended, Bun.sleep(3_000).then(fail)]);
    await owner.end();
  });

  test("answers HEAD with its headers, and holds nothing for it", async () => {
    const { key } = await gateway.keys.create(localActor, {
      owner: { clientId: robo.id },
      scope: "control:read",
    });
    const who = gateway.as(key);
    for (let times = 0; times < 101; times++) {
      const head = await who.fetch(`/api/v1${ofProject}`, { method: "HEAD" });
      expect([head.status, head.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    }
    const heard = await listen(who, ofProject);
    expect(heard.status).toBe(200);
    heard.leave();
  });

  test("ticks for what a project spends, once a second at most", async () => {
    const heard = await listen(vera, ofProject);
    const calls = Array.from({ length: 20 }, () => robo.chat({ model: "openai/m" }));
    for (const response of await Promise.all(calls)) await response.text();
    await heard.until((told) => ticked(told) === 20, 4_000);
    const times = heard.told
      .filter(({ type }) => type === "usage.tick")
      .map(({ data }) => Date.parse(String(data.at)));
    for (const [at, time] of times.entries()) expect(time - (times[at - 1] ?? 0)).toBeGreaterThanOrEqual(900);
    heard.leave();
  });
});

const ticked = (told: readonly { type: string; data: Record<string, unknown> }[]): number =>
  told.reduce((sum, { type, data }) => sum + (type === "usage.tick" ? Number(data.requests) : 0), 0);

const fail = (): never => {
  throw new Error("the stream did not end");
};

describe("the reader of the log", () => {
  test("never passes a transaction that could still commit, and reads it in commit order", async () => {
    const { gateway: endpoint, database } = await testDatabase();
    const options = { endpoint, direct: null, prepare: true, applicationName: "slow" };
    const other = await openDatabase(options);
    const feed = new EventFeed({ database, log: silentLog });
    await feed.start();
    afterAll(() => Promise.all([feed.close(), other.close()]));
    const heard: string[] = [];
    feed.listen((rows: readonly EventRow[]) => heard.push(...rows.map(({ type }) => type)));
    const tell = (db: typeof database.sql, type: string) =>
      db`insert into events (project_id, type, payload) values ('prj_x', ${type}, '{}')`;
    await other.sql.begin(async (slow) => {
      await tell(slow as unknown as typeof database.sql, "slow.created");
      await tell(database.sql, "quick.created");
      feed.told();
      await Bun.sleep(200);
      // The quick one is there, but its place in the order is behind one that may still come.
      expect(heard).toEqual([]);
    });
    const deadline = performance.now() + 2_000;
    while (heard.length < 2 && performance.now() < deadline) await Bun.sleep(5);
    expect(heard).toEqual(["slow.created", "quick.created"]);
  });

  test("reaches back to the very first event, until that was swept", async () => {
    const { database } = await testDatabase();
    const start = { xid: "0", id: 0 };
    const tell = () =>
      database.sql`insert into events (project_id, type, payload, at)
        values ('prj_x', 'session.created', '{}', now() - interval '2 days')`;
    const reaches: boolean[] = [];
    const look = async () => reaches.push(await reachesBack(database.db, start));
    await look();
    await tell();
    await look();
    await forgetEvents(database, new Date());
    await look();
    await tell();
    await look();
    await forgetEvents(database, new Date());
    await look();
    expect(reaches).toEqual([true, true, true, true, false]);
    await database.close();
  });

  test("hears of other instances' changes without a word", async () => {
    const { database } = await testDatabase();
    const feed = new EventFeed({ database, log: silentLog });
    await feed.start();
    const waited = feed.waitFor("ses_1", 5_000, new AbortController().signal);
    const began = performance.now();
    await database.sql`insert into events (project_id, type, payload) values ('prj_x', 'session.created', '{"id":"ses_1"}')`;
    await waited;
    expect(performance.now() - began).toBeLessThan(1_600);
    await feed.close();
    await database.close();
  });
});
