import { describe, expect, test } from "bun:test";
import type { EndRecord, LedgerRecord } from "../../db/ledger.ts";
import { beginCall } from "../../platform/call.ts";
import { systemClock } from "../../platform/clock.ts";
import { defaultTimeouts, type ProviderConfig } from "../../platform/config.ts";
import { Failure } from "../../platform/failure.ts";
import type { Principal } from "../../platform/principal.ts";
import { Account } from "./account.ts";
import { Attempts, type AttemptsNeeds } from "./attempts.ts";
import { Breakers } from "./breakers.ts";
import { noHolds } from "./holds.ts";
import type { LlmCall } from "./leg.ts";
import { parseRequest } from "./request.ts";
import { Watch } from "./watch.ts";
import { wireOf } from "./wires.ts";

const principal: Principal = {
  id: "cli_a",
  kind: "client",
  role: "runner",
  credential: "api_key",
  credentialId: "key_a",
  holderId: "key_a",
  endsWith: ["cli_a", "key_a"],
  signInId: null,
  userId: null,
  email: null,
  clientId: "cli_a",
  clientKind: "runner",
  keyId: "key_a",
  scopes: new Set(["llm:chat"]),
  reach: new Set(["llm:chat"]),
  projectId: null,
  sessionId: null,
  memberships: new Map(),
  expiresAt: Number.POSITIVE_INFINITY,
};
const config: ProviderConfig = {
  kind: "openai",
  baseUrl: "http://127.0.0.1:1/v1",
  apiKey: null,
  endpoints: ["chat/completions"],
  includeUsage: true,
  allowPrivateNetwork: false,
};
const noRoom = () => new Failure("no_room", "no_room", "The disk is full.");
const brokenOff = () => Object.assign(new Error("reset"), { code: "ECONNRESET" });
const answer = () => Response.json({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 1 } });
const price = { input: 1_000_000_000, cached_read: 0, cache_write: 0, output: 1_000_000_000 };

type Story = {
  /** What the provider does at each attempt. */
  says: (() => Response | Promise<Response>)[];
  /** Whether the books take the START of each attempt. */
  takes?: ("yes" | "refused" | "rejected")[];
  holds?: AttemptsNeeds["holds"];
  nano?: number;
  hasLeft?: () => boolean;
  /** What happens before START is written. */
  meanwhile?: (watch: Watch) => Promise<void>;
};

/** Runs a call with two retries over this story; the records stand in the order in which they were handed in. */
async function tell(told: Story) {
  const { says, takes = [], holds = noHolds, nano, hasLeft = () => false, meanwhile } = told;
  const records: LedgerRecord[] = [];
  const released: string[] = [];
  const watch = new Watch();
  const attempts = new Attempts({
    holds,
    watch,
    clock: systemClock(),
    breakers: new Breakers({ raise: () => {}, clock: systemClock(), providers: () => ({}) }),
    count: async (texts) => texts.map(() => 1),
    noted: () => {},
    fetch: async (_url, _init, rules) => {
      rules?.departs?.();
      return await (says.shift() ?? answer)();
    },
    prices: {
      find: () => price,
      claims: () => true,
      known: () => [],
      contextTokens: () => null,
      explain: () => ({ source: null, pattern: null, prices: null, sinceMs: null, contextTokens: null }),
    },
    books: {
      start(record) {
        const takesIt = takes.shift() ?? "yes";
        if (takesIt === "refused") throw noRoom();
        const written =
          takesIt === "yes" ? (meanwhile?.(watch) ?? Promise.resolve()) : Promise.reject(noRoom());
        records.push(record);
        return { written, durable: written };
      },
      async end(record) {
        records.push(record);
      },
    },
  });
  const url = new URL("http://127.0.0.1/v1/chat/completions");
  const request = new Request(url.href, { method: "POST", headers: { "content-type": "application/json" } });
  const around = { address: () => null, stayOpen: () => {} };
  const target = { provider: "p", model: "m", config, weight: 1 };
  const call: LlmCall = {
    opened: { call: beginCall(request, url, around), request, params: {}, principal },
    admission: {
      asked: parseRequest("chat/completions", Buffer.from('{"model":"x","messages":[]}')),
      attribution: { projectId: null, sessionId: null, iterationId: null, taskId: null, tags: null },
      release: () => released.push("release"),
    },
    route: { targets: [target], fallbacks: [], retries: 2, timeouts: defaultTimeouts },
    wire: wireOf("chat/completions"),
    account: new Account(performance.now(), nano === undefined ? null : { nano, periods: ["per_1"] }),
    subjects: { user_id: null, client_id: "cli_a", key_id: "key_a", project_id: null },
    caller: { isEndedBy: () => false, hasLeft, stayOpen: () => {} },
    forAnthropic: false,
  };
  const outcome = await attempts.run(call).catch((error: unknown) => error as Failure);
  await Bun.sleep(1);
  const ends = records.filter((record): record is EndRecord => record.t === "end");
  const story = records.map(
    (record) => `${record.t} ${record.att}${record.t === "end" && record.close ? " close" : ""}`,
  );
  expect(watch.size).toBe(0);
  return { outcome, records, ends, story, close: ends.find(({ close }) => close !== null)?.close };
}

describe("the records of a call", () => {
  test("whose first attempt failed: the next START is asked for before the END, and one END closes", async () => {
    const { outcome, story, ends } = await tell({ says: [() => new Response("", { status: 500 }), answer] });
    expect((outcome as Response).status).toBe(200);
    expect(story).toEqual(["start 1", "start 2", "end 1", "end 2 close"]);
    expect(ends.map(({ state }) => state)).toEqual(["failed", "settled"]);
  });

  test("whose next attempt could not be written down are closed by the one before", async () => {
    for (const refusal of ["refused", "rejected"] as const) {
      const { outcome, ends, close } = await tell({
        says: [() => new Response("", { status: 500 })],
        takes: ["yes", refusal],
      });
      expect(outcome).toMatchObject({ code: "no_room" });
      expect(ends.map(({ att, state, error }) => [att, state, error])).toEqual([
        [1, "failed", "provider_500"],
      ]);
      expect(close).toMatchObject({ state: "failed", status: 507, cost: 0, charged: 0 });
    }
  });

  test("that never began are none, and the hold goes back", async () => {
    const dropped: string[] = [];
    const holds = { ...noHolds, drop: (req: string) => void dropped.push(req) };
    const { outcome, story } = await tell({ says: [], takes: ["refused"], holds, nano: 7 });
    expect(outcome).toMatchObject({ code: "no_room" });
    expect([story, dropped.length]).toEqual([[], 1]);
  });

  test("say that nobody knows when an attempt that may be billed is followed by one that fails", async () => {
    const failed = () => new Response("", { status: 500 });
    const { outcome, ends, close } = await tell({
      says: [() => Promise.reject(brokenOff()), failed, failed],
    });
    expect((outcome as Response).status).toBe(500);
    expect(ends.map(({ state }) => state)).toEqual(["unknown", "failed", "failed"]);
    expect(close).toMatchObject({ state: "unknown", status: 500, cost: null, charged: null });
  });
});

describe("the hold of a call", () => {
  const holdsThat = (takes: () => Promise<string[]>) => {
    const taken: number[] = [];
    return {
      taken,
      holds: {
        ...noHolds,
        take: ({ nano }: { nano: number }) => {
          taken.push(nano);
          return takes();
        },
      },
    };
  };

  test("is taken again behind an attempt that may be billed, and only then", async () => {
    const { holds, taken } = holdsThat(async () => ["per_1"]);
    const says = [() => new Response("", { status: 503 }), () => Promise.reject(brokenOff()), answer];
    const { records, close } = await tell({ says, holds, nano: 500_000 });
    expect(taken).toEqual([500_000]);
    expect(
      records.flatMap((record) => (record.t === "start" ? [[record.hold, record.periods]] : [])),
    ).toEqual([
      [500_000, ["per_1"]],
      [500_000, ["per_1"]],
      [1_000_000, ["per_1"]],
    ]);
    expect(close).toMatchObject({ state: "settled", cost: 2_000, charged: 502_000 });
  });

  test("that cannot be taken again ends the call, closed by the attempt that may be billed", async () => {
    const spent = new Failure("budget", "insufficient_quota", "Spent.");
    const { holds } = holdsThat(async () => Promise.reject(spent));
    const { outcome, ends, close } = await tell({
      says: [() => Promise.reject(brokenOff())],
      holds,
      nano: 500_000,
    });
    expect(outcome).toBe(spent);
    expect(ends.map(({ state }) => state)).toEqual(["unknown"]);
    expect(close).toMatchObject({ state: "unknown", status: 429, cost: null, charged: 500_000 });
  });
});

test("nothing is charged for a call that ends while its START is being written", async () => {
  let asked = 0;
  const says = [
    () => {
      asked++;
      return answer();
    },
  ];
  let hasLeft = false;
  const leave = async () => {
    hasLeft = true;
    await Bun.sleep(120);
  };
  const left = await tell({ says, nano: 5, hasLeft: () => hasLeft, meanwhile: leave });
  expect(left.outcome).toMatchObject({ code: "caller_left" });
  expect(left.story).toEqual(["start 1", "end 1 close"]);
  expect(left.close).toMatchObject({ state: "failed", status: null, cost: 0, charged: 0 });
  const revoke = async (watch: Watch) => {
    await Bun.sleep(1);
    watch.giveUp(new Failure("unauthenticated", "unauthenticated", "Revoked."));
  };
  const revoked = await tell({ says, nano: 5, meanwhile: revoke });
  expect(revoked.outcome).toMatchObject({ code: "unauthenticated" });
  expect(revoked.close).toMatchObject({ state: "failed", status: 401, cost: 0, charged: 0 });
  expect(asked).toBe(0);
});

test("a caller who leaves while the money for another attempt is set aside is asked for no more", async () => {
  let hasLeft = false;
  const holds = {
    ...noHolds,
    take: async () => {
      hasLeft = true;
      await Bun.sleep(120);
      return ["per_1"];
    },
  };
  const says = [() => Promise.reject(brokenOff())];
  const { outcome, story, close } = await tell({ says, holds, nano: 5, hasLeft: () => hasLeft });
  expect(outcome).toMatchObject({ code: "caller_left" });
  expect(story).toEqual(["start 1", "end 1 close"]);
  expect(close).toMatchObject({ state: "unknown", status: null, charged: 5 });
});
