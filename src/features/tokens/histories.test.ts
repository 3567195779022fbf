import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { sha256 } from "../../platform/digest.ts";
import { asFailure } from "../../platform/failure.ts";
import { newId } from "../../platform/ids.ts";
import { testDatabase } from "../../testing/cluster.ts";
import { assemble, deskUrl, localActor } from "../../testing/desk.ts";
import type { Asked } from "./grant.ts";
import { mintRefreshToken } from "./minting.ts";
import { type ClientRow, findClient } from "./store.ts";

const historiesMin = 10_000;
const lanesMax = 8;
const lifeMs = 30 * 86_400_000;
const began = Date.now();

const { database } = await testDatabase();
afterAll(() => database.close());

const plain = assemble(database, { now: Date.now, monotonic: () => performance.now() });
const { id: userId } = await plain.users.create(localActor, { email: "ada@example.com", role: "user" });
const made = await plain.clients.create(localActor, { name: "app", kind: "desktop", scope: "llm:chat" });
const client = await getClient("specgate-desktop");
const stranger = await getClient(made.client_id);

async function getClient(id: string): Promise<ClientRow> {
  const found = await findClient(database.db, id);
  if (found === undefined) throw new Error(`there is no ${id}`);
  return found;
}

/** Two instances with one clock, which stands still unless it is moved. */
class Lane {
  now = began;
  readonly instances: ReturnType<typeof assemble>[];
  constructor() {
    const clock = { now: () => this.now, monotonic: () => this.now };
    this.instances = [assemble(database, clock), assemble(database, clock)];
  }
}

const nothing: Asked = { scope: null, projectId: null, sessionId: null, ttlSeconds: null, resources: [] };
const asks = {
  all: nothing,
  narrow: { ...nothing, scope: "llm:chat" },
  short: { ...nothing, ttlSeconds: 60 },
  wide: { ...nothing, scope: "llm:chat mcp:write" },
} satisfies Record<string, Asked>;
const scopes = ["llm:chat", "usage:read"];

type Refresh = {
  do: "refresh";
  /** Generations before the head. */
  back: number;
  ask: keyof typeof asks;
  instance: number;
  byStranger: boolean;
};
type Step = Refresh | { do: "wait"; milliseconds: number } | { do: "revoke" };

const days = (count: number) => count * 86_400_000;
const refresh: fc.Arbitrary<Refresh> = fc.record({
  do: fc.constant("refresh"),
  back: fc.constantFrom(0, 0, 0, 1, 1, 2, 3),
  ask: fc.constantFrom("all", "all", "all", "narrow", "short", "wide"),
  instance: fc.nat(1),
  byStranger: fc.nat(19).map((n) => n === 0),
});
const wait: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("wait"),
  milliseconds: fc.constantFrom(1, 999, 5_000, 9_999, 10_000, 10_001, 60_000, days(29), days(30)),
});
const revoke: fc.Arbitrary<Step> = fc.constant({ do: "revoke" });
const history = fc.array(
  fc.oneof(
    { weight: 7, arbitrary: refresh },
    { weight: 3, arbitrary: wait },
    { weight: 1, arbitrary: revoke },
  ),
  { minLength: 1, maxLength: 5 },
);

/** What a refresh token is to the model: `answer` is what its one use gave, `asked` what that use asked for. */
type Token = { text: string; expiresAt: number; usedAt: number; asked: string; answer: string };

/** The model: what must come back, said without looking at any database. */
class SignIn {
  ended = false;
  readonly tokens: Token[] = [];

  constructor(
    readonly id: string,
    first: string,
  ) {
    this.add(first, began);
  }

  add(text: string, now: number): void {
    this.tokens.push({ text, expiresAt: now + lifeMs, usedAt: 0, asked: "", answer: "" });
  }

  before(generations: number): Token {
    return this.tokens[Math.max(0, this.tokens.length - 1 - generations)] as Token;
  }

  /** `a new pair`, `the end`, an error, or the answer that came before. */
  expects(token: Token, { ask, byStranger }: Refresh, now: number): string {
    if (byStranger || this.ended || token.expiresAt <= now) return "invalid_grant";
    if (token === this.before(0)) return ask === "wide" ? "invalid_scope" : "a new pair";
    if (token !== this.before(1) || now - token.usedAt > 10_000) return "the end";
    return token.asked === ask ? token.answer : "invalid_grant";
  }
}

async function live(lane: Lane, steps: readonly Step[]): Promise<SignIn> {
  lane.now = began;
  const signIn = await begin();
  let afterEnd = 0;
  for (const step of steps) {
    // Once it has been seen that nothing works after the end, the rest says the same.
    if (signIn.ended && step.do === "refresh" && afterEnd++ > 0) break;
    if (step.do === "wait") lane.now += step.milliseconds;
    else if (step.do === "revoke") await end(lane, signIn);
    else await take(lane, signIn, step);
  }
  return signIn;
}

async function end(lane: Lane, signIn: SignIn): Promise<void> {
  await lane.instances[0]?.tokens.revoke(client, signIn.before(0).text, localActor);
  signIn.ended = true;
}

async function take(lane: Lane, signIn: SignIn, step: Refresh): Promise<void> {
  const token = signIn.before(step.back);
  const expected = signIn.expects(token, step, lane.now);
  const { appTokens } = lane.instances[step.instance]?.oauth ?? plain.oauth;
  const answer = await appTokens
    .refresh(step.byStranger ? stranger : client, token.text, asks[step.ask], localActor)
    .catch((error: unknown) => asFailure(error).code);
  if (typeof answer === "string") {
    expect(answer).toBe(expected === "the end" ? "invalid_grant" : expected);
    signIn.ended ||= expected === "the end";
    return;
  }
  expect(answer.scope).toBe(step.ask === "narrow" ? "llm:chat" : "llm:chat usage:read");
  const text = JSON.stringify(answer);
  if (expected !== "a new pair") return expect(text).toBe(expected);
  const next = answer.refresh_token ?? "";
  expect(signIn.tokens.map((other) => other.text)).not.toContain(next);
  Object.assign(token, { usedAt: lane.now, asked: step.ask, answer: text });
  signIn.add(next, lane.now);
}

/** Sign-ins that nobody has used yet: made by the thousand, because one by one they would take most of the time. */
let unused: Promise<SignIn[]> = Promise.resolve([]);
async function begin(): Promise<SignIn> {
  const signIn = (await unused).pop();
  if (signIn !== undefined) return signIn;
  if ((await unused).length === 0) unused = beginMany(1_000);
  return begin();
}

async function beginMany(count: number): Promise<SignIn[]> {
  const many = Array.from({ length: count }, () => new SignIn(newId("sgn"), mintRefreshToken()));
  const [at, expiresAt] = [new Date(began), new Date(began + lifeMs)];
  const { sql } = database;
  await sql`insert into sign_ins ${sql(
    many.map(({ id }) => ({
      ...{ id, user_id: userId, client_id: client.id, method: "code", scopes, audiences: [deskUrl] },
      ...{ created_at: at, used_at: at, expires_at: expiresAt },
    })),
  )}`;
  await sql`insert into refresh_tokens ${sql(
    many.map((signIn) => ({
      ...{ hash: sha256(signIn.before(0).text), sign_in_id: signIn.id, number: 1, expires_at: expiresAt },
    })),
  )}`;
  return many;
}

test("ten thousand random histories: one head, one pair for each use, and the end for whoever is late", async () => {
  const lived: SignIn[] = [];
  const lanes = Array.from({ length: lanesMax }, () => new Lane());
  await Promise.all(
    lanes.map((lane) =>
      fc.assert(
        fc.asyncProperty(history, async (steps) => void lived.push(await live(lane, steps))),
        { numRuns: historiesMin / lanesMax },
      ),
    ),
  );
  expect(lived.length).toBeGreaterThanOrEqual(historiesMin);
  const rows = await database.sql<{ id: string; ended: boolean; numbers: number[]; heads: number }[]>`
    select s.id, s.ended_at is not null as ended, array_agg(t.number order by t.number) as numbers,
      (count(*) filter (where t.used_at is null))::int as heads
    from sign_ins s join refresh_tokens t on t.sign_in_id = s.id group by s.id`;
  const kept = new Map(rows.map((row) => [row.id, row]));
  for (const { id, ended, tokens } of lived)
    expect(kept.get(id)).toEqual({ id, ended, numbers: tokens.map((_, i) => i + 1), heads: 1 });
}, 180_000);
