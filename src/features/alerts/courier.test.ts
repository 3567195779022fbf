/**
 * The courier alone, with short terms: what becomes of a delivery when receivers, instances and databases do their worst.
 */
import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { eq } from "drizzle-orm";
import { Webhook } from "standardwebhooks";
import { type Alarm, insertAlarms } from "../../db/alarms.ts";
import { alarms, alertDeliveries, alertHooks } from "../../db/schema.ts";
import { type Resolve, resolveName } from "../../platform/addresses.ts";
import { systemClock } from "../../platform/clock.ts";
import { createGuardedFetch } from "../../platform/guarded-fetch.ts";
import type { Fields, Log } from "../../platform/log.ts";
import { silentLog } from "../../platform/log.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { type Receiver, startReceiver, until, verified } from "../../testing/receiver.ts";
import { Courier, type CourierTerms } from "./courier.ts";
import { delayAfter } from "./retries.ts";
import { createSendAlert } from "./sending.ts";
import { secretOf, signatureOf } from "./signing.ts";

const { database } = await testDatabase();
const { db } = database;
const key = new Uint8Array(32).fill(7);
const usualSigning = { kid: "k1", keys: new Map([["k1", key]]) };
const clock = systemClock();
let receiver: Receiver;
const started: Courier[] = [];

beforeEach(async () => {
  for (const table of [alarms, alertDeliveries, alertHooks]) await db.delete(table);
  receiver = startReceiver();
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((courier) => courier.stop()));
  await receiver.close();
});
afterAll(() => database.close());

type Options = Partial<CourierTerms> & {
  timeoutMs?: number;
  signing?: typeof usualSigning;
  log?: Log;
  isPrivateAllowed?: boolean;
  resolve?: Resolve;
};

function start({
  timeoutMs = 1_000,
  signing = usualSigning,
  log = silentLog,
  isPrivateAllowed = true,
  resolve = resolveName,
  ...terms
}: Options = {}) {
  const allowsPrivateNetwork = () => isPrivateAllowed;
  const fetch = createGuardedFetch({ clock, resolve });
  const send = createSendAlert({ fetch, clock, version: "1", timeoutMs, allowsPrivateNetwork });
  const usual = { pauseMs: 20, delayAfter: () => 20 };
  const courier = new Courier({ database, send, signing, clock, log, terms: { ...usual, ...terms } });
  started.push(courier);
  courier.start();
  return courier;
}

let hooksMade = 0;
async function hook(url = receiver.url, events: string[] = ["price.unknown"], kid = "k1"): Promise<string> {
  const id = `hok_${String(++hooksMade).padStart(32, "0")}`;
  await db.insert(alertHooks).values({ id, url, events, kid, createdBy: "usr_x" });
  return id;
}

let alarmsMade = 0;
const alarm = (more: Partial<Alarm> = {}): Alarm => ({
  type: "price.unknown",
  once: `alarm ${++alarmsMade}`,
  payload: { provider: "p", model: "m" },
  ...more,
});
const raise = (...raised: Alarm[]) => insertAlarms(db, raised.length === 0 ? [alarm()] : raised);

const deliveries = () => db.select().from(alertDeliveries).orderBy(alertDeliveries.id);
const statuses = async () => (await deliveries()).map(({ status }) => status);
const settled = (count = 1) =>
  until(async () => {
    const now = await statuses();
    return now.length === count && !now.includes("pending");
  });
const makeDue = () => database.sql`update alert_deliveries set next_at = now() where status = 'pending'`;

test("an alarm reaches each hook that asked for it, signed for that hook alone", async () => {
  const [first, second] = [await hook(`${receiver.url}/first?k=v`), await hook(`${receiver.url}/second`)];
  await hook(receiver.url, ["provider.up"]);
  await raise();
  start();
  await settled(2);
  const byPath = new Map(receiver.received.map((got) => [got.path, got]));
  expect([...byPath.keys()].sort()).toEqual(["/first?k=v", "/second"]);
  for (const [path, id, other] of [
    ["/first?k=v", first, second],
    ["/second", second, first],
  ] as const) {
    const got = byPath.get(path);
    if (got === undefined) throw new Error("nothing came");
    const message = verified(secretOf(key, id), got);
    expect(message).toEqual({
      type: "price.unknown",
      timestamp: expect.stringMatching(/^\d{4}-.*\.\d{3}Z$/),
      data: { provider: "p", model: "m" },
    });
    expect(() => verified(secretOf(key, other), got)).toThrow("No matching signature");
    expect(got.headers).toMatchObject({ "content-type": "application/json", "user-agent": "specgate/1" });
    expect(got.headers["webhook-id"]).toMatch(/^evt_[0-9a-f]{32}$/);
  }
});

test("a changed body or timestamp does not verify", async () => {
  const id = await hook();
  await raise();
  start();
  const [got] = await receiver.count(1);
  if (got === undefined) throw new Error("nothing came");
  const secret = secretOf(key, id);
  expect(() => verified(secret, { ...got, body: got.body.replace('"m"', '"n"') })).toThrow();
  const headers = {
    ...got.headers,
    "webhook-timestamp": String(Number(got.headers["webhook-timestamp"]) + 1),
  };
  expect(() => verified(secret, { ...got, headers })).toThrow();
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
});

test("the standard's own signature comes out", () => {
  const signed = { id: "msg_1", timestampSeconds: 1_614_265_330, body: '{"test": 2432232314}' };
  const theirs = new Webhook(secretOf(key, "hok_1")).sign(
    signed.id,
    new Date(1_614_265_330_000),
    signed.body,
  );
  expect(signatureOf(key, "hok_1", signed)).toBe(theirs);
});

test("an alarm that nobody asked for is done with, and is not told to a later hook", async () => {
  await raise();
  start();
  await until(async () => (await db.select().from(alarms)).every(({ handedAt }) => handedAt !== null));
  await hook();
  await raise(alarm({ payload: { second: true } }));
  await settled();
  expect(receiver.received.map(({ body }) => JSON.parse(body).data)).toEqual([{ second: true }]);
});

test("what fails is tried again under the same id with the same body, until it arrives", async () => {
  const id = await hook();
  const answers = [500, 302, 404, 429, 204];
  receiver.answer = () =>
    new Response("a secret of the receiver", {
      status: answers.shift() ?? 204,
      headers: { location: `${receiver.url}/elsewhere` },
    });
  await raise();
  start();
  await settled();
  expect(receiver.received).toHaveLength(5);
  expect(new Set(receiver.received.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
  expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
  expect(new Set(receiver.received.map(({ path }) => path))).toEqual(new Set(["/"]));
  for (const got of receiver.received) verified(secretOf(key, id), got);
  const [row] = await deliveries();
  expect(row).toMatchObject({
    status: "delivered",
    tries: 5,
    lastStatus: 204,
    lastError: null,
    nextAt: null,
  });
});

test.each([
  [500, "The receiver answered 500; 2xx would be right."],
  [308, "The receiver answered 308; a redirect is not followed, and 2xx would be right."],
])("a %d is kept as a status and a sentence of ours", async (status, lastError) => {
  await hook();
  receiver.answer = () => new Response("their words", { status, headers: { location: "/elsewhere" } });
  await raise();
  start({ delayAfter: () => 60_000 });
  await until(async () => typeof (await deliveries())[0]?.lastError === "string");
  const [row] = await deliveries();
  expect(row).toMatchObject({ status: "pending", tries: 1, lastStatus: status, lastError });
  expect(receiver.received).toHaveLength(1);
});

test("when its day is over it is tried once more, and then given up and told to the log", async () => {
  const id = await hook();
  const told: [string, Fields | undefined][] = [];
  const log: Log = { ...silentLog, warn: (event, fields) => void told.push([event, fields]) };
  receiver.answer = () => new Response(null, { status: 503 });
  await raise();
  const courier = start({ delayAfter: () => 3_600_000, log });
  await until(async () => (await deliveries())[0]?.lastStatus === 503);
  await database.sql`update alert_deliveries set created_at = now() - interval '23 hours 59 minutes'`;
  await makeDue();
  courier.wake();
  await receiver.count(2);
  await until(async () => {
    const [row] = await deliveries();
    // Not its claim's end: its day's.
    return row?.tries === 2 && row.nextAt?.getTime() === row.createdAt.getTime() + 86_400_000;
  });
  expect(await statuses()).toEqual(["pending"]);
  await database.sql`update alert_deliveries set created_at = now() - interval '24 hours', next_at = now()`;
  courier.wake();
  await settled();
  const [row] = await deliveries();
  expect(row).toMatchObject({ status: "dead", tries: 3, lastStatus: 503, nextAt: null });
  expect(row?.endedAt).not.toBeNull();
  expect(told).toEqual([
    [
      "an alert was given up",
      {
        hook_id: id,
        delivery_id: row?.id,
        status: 503,
        error: "The receiver answered 503; 2xx would be right.",
      },
    ],
  ]);
});

test("a 410 ends it at once, and the log says so", async () => {
  await hook();
  const told: string[] = [];
  receiver.answer = () => new Response(null, { status: 410 });
  await raise();
  start({ log: { ...silentLog, warn: (event) => void told.push(event) } });
  await settled();
  expect((await deliveries())[0]).toMatchObject({ status: "dead", tries: 1, lastStatus: 410 });
  expect(told).toEqual(["an alert was given up"]);
});

test("a receiver that never answers is left, and holds up no other hook", async () => {
  const silent = startReceiver(() => new Promise<Response>(() => {}));
  await hook(silent.url);
  await hook(receiver.url);
  await raise(alarm(), alarm(), alarm());
  const begun = performance.now();
  start({ timeoutMs: 3_000, delayAfter: () => 60_000 });
  await receiver.count(3);
  expect(performance.now() - begun).toBeLessThan(2_500);
  await until(async () => (await deliveries()).some(({ lastError }) => lastError?.includes("3000 ms")));
  await silent.count(2);
  await silent.close();
});

test("a receiver that answers without end is not read", async () => {
  let pulled = 0;
  await hook();
  receiver.answer = () =>
    new Response(
      new ReadableStream({
        pull(controller) {
          pulled += 1;
          controller.enqueue(new Uint8Array(1_048_576));
        },
      }),
    );
  await raise();
  start();
  await settled();
  expect((await deliveries())[0]?.status).toBe("delivered");
  await Bun.sleep(200);
  const before = pulled;
  await Bun.sleep(300);
  expect(pulled).toBe(before);
  expect(pulled).toBeLessThan(64);
});

test.each([
  ["without leave, this machine", "127.0.0.1", false],
  ["without leave, the private network", "10.0.0.1", false],
  ["with leave, the metadata address", "169.254.169.254", true],
])("a name that leads elsewhere by now does not lead there: %s", async (_, address, isPrivateAllowed) => {
  await hook(receiver.url.replace("http://127.0.0.1", "https://rebound.example"));
  await raise();
  start({ isPrivateAllowed, resolve: async () => [address], delayAfter: () => 60_000 });
  await until(async () => (await deliveries())[0]?.lastError?.includes("may not be called") ?? false);
  expect(receiver.received).toEqual([]);
  expect((await deliveries())[0]?.lastError).not.toContain(address);
});

test.each([
  ["breaks off at once", (socket: Socket) => socket.destroy(), "broke off"],
  ["speaks something else", (socket: Socket) => socket.end("SSH-2.0-OpenSSH\r\n"), "broke off"],
  ["begins and never ends its headers", drip, "500 ms"],
])("a receiver that %s is tried again", async (_, talk, told) => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => talk(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await hook(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await raise();
  start({ timeoutMs: 500, delayAfter: () => 60_000 });
  await until(async () => (await deliveries())[0]?.lastError?.includes(told) ?? false);
  expect((await deliveries())[0]).toMatchObject({ status: "pending", tries: 1, lastStatus: null });
  server.close();
});

/** A header a moment, for as long as somebody listens. */
function drip(socket: Socket): void {
  socket.write("HTTP/1.1 200 OK\r\n");
  const timer = setInterval(() => socket.write("x: y\r\n"), 50);
  socket.once("close", () => clearInterval(timer));
}

test("a receiver that is not there is tried again", async () => {
  await hook("http://127.0.0.1:1/");
  await raise();
  start({ delayAfter: () => 60_000 });
  await until(async () => typeof (await deliveries())[0]?.lastError === "string");
  expect((await deliveries())[0]).toMatchObject({
    status: "pending",
    lastStatus: null,
    lastError: "The URL's host cannot be reached, or broke off its answer.",
  });
});

test("leave that was taken back is taken back for what waits too", async () => {
  await hook();
  await raise();
  start({ isPrivateAllowed: false, delayAfter: () => 60_000 });
  await until(async () => (await deliveries())[0]?.lastError?.includes("https://") ?? false);
  expect(receiver.received).toEqual([]);
});

describe("several instances", () => {
  test("send each delivery once, and never one at the same time", async () => {
    await hook(`${receiver.url}/a`);
    await hook(`${receiver.url}/b`);
    receiver.answer = async () => {
      await Bun.sleep(5);
      return new Response(null, { status: 204 });
    };
    for (let i = 0; i < 4; i++) start({ pauseMs: 5 });
    for (let i = 0; i < 10; i++) {
      await raise(...Array.from({ length: 10 }, () => alarm()));
      await Bun.sleep(10);
    }
    await settled(200);
    expect(receiver.received).toHaveLength(200);
    expect(receiver.openMost()).toBe(1);
    const pairs = new Set(receiver.received.map(({ path, headers }) => `${path} ${headers["webhook-id"]}`));
    expect(pairs.size).toBe(200);
  });

  test("retry without ever sending one twice at the same time", async () => {
    await hook();
    let answers = 0;
    receiver.answer = async () => {
      await Bun.sleep(30);
      return new Response(null, { status: ++answers < 20 ? 500 : 204 });
    };
    await raise();
    for (let i = 0; i < 3; i++) start({ pauseMs: 1, delayAfter: () => 0 });
    await settled();
    expect(receiver.openMost()).toBe(1);
    expect((await deliveries())[0]?.tries).toBe(20);
  });

  test("take over what a dead one had claimed, when its claim is over", async () => {
    await hook();
    await raise();
    let isHung = true;
    receiver.answer = () => (isHung ? new Promise<Response>(() => {}) : new Response(null, { status: 204 }));
    // Its claim is shorter than its patience: as if it had died between sending and writing it down.
    start({ leaseMs: 400, timeoutMs: 30_000 });
    await receiver.count(1);
    isHung = false;
    start({ leaseMs: 400 });
    await settled();
    expect(receiver.received.length).toBe(2);
    expect(new Set(receiver.received.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect((await deliveries())[0]).toMatchObject({ status: "delivered", tries: 2 });
  });
});

test("whoever comes back late with an answer does not touch another's claim", async () => {
  await hook();
  await raise();
  const late = Promise.withResolvers<Response>();
  const answers = [new Promise<Response>(() => {}), late.promise];
  receiver.answer = () => answers.shift() ?? new Response(null, { status: 204 });
  // Holds its claim for shorter than it waits; the other one holds it for long.
  const first = start({ leaseMs: 400, timeoutMs: 1_200, delayAfter: () => 0 });
  await receiver.count(1);
  start({ leaseMs: 60_000, timeoutMs: 30_000 });
  await receiver.count(2);
  await first.stop();
  expect((await deliveries())[0]).toMatchObject({ status: "pending", tries: 2, lastError: null });
  late.resolve(new Response(null, { status: 202 }));
  await settled();
  expect((await deliveries())[0]).toMatchObject({ status: "delivered", tries: 2, lastStatus: 202 });
  expect(receiver.received).toHaveLength(2);
});

test("a stop gives a claim back, and the next start sends it at once", async () => {
  await hook();
  await raise();
  receiver.answer = () => new Promise<Response>(() => {});
  const courier = start({ timeoutMs: 30_000 });
  await receiver.count(1);
  await courier.stop();
  expect((await deliveries())[0]).toMatchObject({ status: "pending", tries: 0 });
  receiver.answer = () => new Response(null, { status: 200 });
  start();
  await settled();
  expect((await deliveries())[0]).toMatchObject({ status: "delivered", tries: 1 });
});

describe("a hook whose signing secret is gone", () => {
  test("is left to an instance that still has it", async () => {
    const id = await hook(receiver.url, ["price.unknown"], "old");
    await raise();
    const newcomer = start();
    await until(async () => (await deliveries()).length === 1);
    await newcomer.survey();
    expect(newcomer.warnings()[0]).toContain(id);
    expect(receiver.received).toEqual([]);
    expect(await statuses()).toEqual(["pending"]);
    start({ signing: { kid: "old", keys: new Map([["old", key]]) } });
    await settled();
    expect(await statuses()).toEqual(["delivered"]);
  });

  test("gets nothing, and its deliveries end with the reason", async () => {
    await hook(receiver.url, ["price.unknown"], "gone");
    await raise();
    const courier = start();
    await until(async () => (await deliveries()).length === 1);
    await database.sql`update alert_deliveries set next_at = now() - interval '11 minutes'`;
    await courier.survey();
    const [row] = await deliveries();
    expect(row).toMatchObject({ status: "dead", tries: 0 });
    expect(row?.lastError).toContain("SPECGATE_JWT_SECRET");
    expect(receiver.received).toEqual([]);
  });
});

test("what a deleted hook was still to get is not sent", async () => {
  const id = await hook();
  await raise();
  receiver.answer = () => new Response(null, { status: 500 });
  const courier = start({ delayAfter: () => 60_000 });
  await until(async () => (await deliveries())[0]?.lastStatus === 500);
  await db.update(alertHooks).set({ endedAt: new Date() }).where(eq(alertHooks.id, id));
  await makeDue();
  courier.wake();
  await settled();
  expect((await deliveries())[0]).toMatchObject({ status: "dead", lastError: "The hook was deleted." });
  expect(receiver.received).toHaveLength(1);
});

test("retries come sooner at first and later then, never all at the same moment", () => {
  const [shortest, longest] = [1, 2, 3, 4, 5, 6, 7, 100].reduce(
    ([low, high], tries) => [
      [...(low ?? []), delayAfter(tries, 0) / 1_000],
      [...(high ?? []), delayAfter(tries, 1) / 1_000],
    ],
    [[], []] as number[][],
  );
  expect(shortest).toEqual([4, 240, 1_440, 5_760, 14_400, 28_800, 28_800, 28_800]);
  expect(longest).toEqual([6, 360, 2_160, 8_640, 21_600, 43_200, 43_200, 43_200]);
});
