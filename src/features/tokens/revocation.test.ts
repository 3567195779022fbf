import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { openDatabase } from "../../db/open.ts";
import { Failure } from "../../platform/failure.ts";
import { Secret } from "../../platform/secret.ts";
import { ownCluster, type TestDatabase, testDatabase } from "../../testing/cluster.ts";
import {
  assemble,
  type Desk,
  localActor,
  type MovableClock,
  movableClock,
  openDesk,
} from "../../testing/desk.ts";
import type { CreatedClient } from "./contract.ts";
import { PrincipalCache } from "./principal-cache.ts";
import { registerSecrets, signingSecrets } from "./secrets.ts";

let home: TestDatabase;
let clock: MovableClock;
let desk: Desk;
/** A command beside the gateway: the same database, its own connection, no feed. */
let beside: ReturnType<typeof assemble>;
let client: CreatedClient;

beforeEach(async () => {
  home = await testDatabase();
  clock = movableClock();
  desk = await openDesk(home.database, clock);
  const other = { endpoint: home.gateway, direct: null, prepare: true, applicationName: "beside" };
  beside = assemble(await openDatabase(other), clock);
  client = await desk.clients.create(localActor, { name: "robo", kind: "runner", scope: "llm:chat" });
});
afterEach(async () => {
  await beside.database.close();
  await desk.close();
});

const newKey = () =>
  desk.keys.create(localActor, { owner: { clientId: client.client_id }, scope: "llm:chat" });
const newToken = async () => {
  const { access_token } = (await (await desk.ask(client)).json()) as { access_token: string };
  return access_token;
};
/** Milliseconds until the credential is refused. */
async function stopped(bearer: string, where: Pick<Desk, "knock"> = desk): Promise<number> {
  const from = performance.now();
  while ((await where.knock(bearer)) !== 401) {
    if (performance.now() - from > 5_000) throw new Error("it still works");
    await Bun.sleep(1);
  }
  return performance.now() - from;
}
const codeOf = async (bearer: string): Promise<string> => {
  try {
    await desk.authenticator.authenticate(bearer, "llm");
    return "ok";
  } catch (error) {
    return error instanceof Failure ? error.code : String(error);
  }
};

describe("revocation acts within 50 ms", () => {
  test("of a key, by a command beside the gateway", async () => {
    const { id, key } = await newKey();
    expect(await desk.knock(key)).toBe(200);
    await beside.keys.revoke(localActor, id);
    expect(await stopped(key)).toBeLessThan(50);
  });

  test("of a client, with its keys and its tokens", async () => {
    const credentials = [(await newKey()).key, await newToken(), await newToken()];
    for (const bearer of credentials) expect(await desk.knock(bearer)).toBe(200);
    await beside.clients.revoke(localActor, client.client_id);
    for (const bearer of credentials) expect(await stopped(bearer)).toBeLessThan(50);
  });

  test("of a person, with their keys", async () => {
    const ada = await desk.users.create(localActor, { email: "ada@example.com", role: "admin" });
    const owner = { userEmail: ada.email };
    const { key } = await desk.keys.create(localActor, { owner, scope: "llm:chat" });
    expect(await desk.knock(key)).toBe(200);
    await beside.users.disable(localActor, ada.email);
    expect(await stopped(key)).toBeLessThan(50);
  });

  test("and whoever listens hears of it", async () => {
    const heard: string[] = [];
    const stop = desk.feed.onRevoked((subject) => {
      heard.push(subject);
      if (heard.length === 1) throw new Error("a listener's own mistake");
    });
    const keys = [await newKey(), await newKey()];
    for (const { id } of keys) await beside.keys.revoke(localActor, id);
    await Bun.sleep(50);
    expect(heard).toEqual(keys.map(({ id }) => id));
    stop();
  });

  test("what was not revoked goes on as the same principal", async () => {
    const [one, other] = [await newKey(), await newKey()];
    const before = await desk.authenticator.authenticate(one.key, "llm");
    await beside.keys.revoke(localActor, other.id);
    await Bun.sleep(50);
    expect(await desk.authenticator.authenticate(one.key, "llm")).toBe(before);
  });
});

describe("the log of revocations", () => {
  test("a row that commits late, after rows with higher transaction ids, is not skipped", async () => {
    const [late, early] = [await newKey(), await newKey()];
    for (const { key } of [late, early]) expect(await desk.knock(key)).toBe(200);
    const hold = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const slow = beside.database.sql.begin(async (tx) => {
      await tx`update api_keys set revoked_at = now() where id = ${late.id}`;
      await tx`insert into revocations (subject) values (${late.id})`;
      begun.resolve();
      await hold.promise;
    });
    await begun.promise;
    await beside.keys.revoke(localActor, early.id);
    expect(await stopped(early.key)).toBeLessThan(50);
    await desk.feed.read();
    expect(await desk.knock(late.key)).toBe(200);
    hold.resolve();
    await slow;
    await desk.feed.read();
    expect(await desk.knock(late.key)).toBe(401);
  });

  test("without a word it is read each second", async () => {
    const { id, key } = await newKey();
    expect(await desk.knock(key)).toBe(200);
    await beside.database.sql.begin(async (tx) => {
      await tx`update api_keys set revoked_at = now() where id = ${id}`;
      await tx`insert into revocations (subject) values (${id})`;
    });
    expect(await stopped(key)).toBeLessThan(1_500);
  });

  test("each row is told once, however often it is read", async () => {
    const heard: string[] = [];
    desk.feed.onRevoked((subject) => heard.push(subject));
    const { id } = await newKey();
    // A transaction that stays open keeps the place to read on from below the row.
    const hold = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const slow = beside.database.sql.begin(async (tx) => {
      await tx`select pg_current_xact_id()`;
      begun.resolve();
      await hold.promise;
    });
    await begun.promise;
    await beside.keys.revoke(localActor, id);
    for (let i = 0; i < 5; i++) await desk.feed.read();
    hold.resolve();
    await slow;
    for (let i = 0; i < 5; i++) await desk.feed.read();
    expect(heard).toEqual([id]);
  });

  test("more rows than one page are all acted on", async () => {
    const { id, key } = await newKey();
    expect(await desk.knock(key)).toBe(200);
    const heard = new Set<string>();
    desk.feed.onRevoked((subject) => heard.add(subject));
    await beside.database
      .sql`insert into revocations (subject) select 'tok_' || n from generate_series(1, 2500) n`;
    await beside.keys.revoke(localActor, id);
    await stopped(key);
    expect(heard.size).toBe(2_501);
  });

  test("lost connections are made again, and what was missed is caught up", async () => {
    const [one, other] = [await newKey(), await newKey()];
    for (const { key } of [one, other]) expect(await desk.knock(key)).toBe(200);
    await beside.database.sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`;
    await beside.keys.revoke(localActor, one.id);
    expect(await stopped(one.key)).toBeLessThan(2_000);
    await Bun.sleep(500);
    await beside.keys.revoke(localActor, other.id);
    expect(await stopped(other.key)).toBeLessThan(50);
  });
});

describe("the cache", () => {
  test("a thousand first calls with one key are one look-up and one principal", async () => {
    const { key } = await newKey();
    const calls = Array.from({ length: 1_000 }, () => desk.authenticator.authenticate(key, "llm"));
    expect(new Set(await Promise.all(calls)).size).toBe(1);
    expect(desk.authenticator.authenticate(key, "llm")).not.toBeInstanceOf(Promise);
  });

  test("a look-up that began before a revocation and ended after it is not believed", async () => {
    const { id, key } = await newKey();
    const owner = await openDatabase({
      endpoint: home.owner,
      direct: null,
      prepare: true,
      applicationName: "owner",
    });
    // Each look-up now takes a third of a second and answers what was true when it began.
    await owner.sql.unsafe(`
      alter table clients rename to clients_real;
      create view clients as
        select real.* from clients_real real where (select count(*) from pg_sleep(0.3)) = 1;
      grant select on clients to public`);
    const pending = codeOf(key);
    await Bun.sleep(100);
    await beside.database.sql`update api_keys set revoked_at = now() where id = ${id}`;
    desk.authenticator.forget(id);
    expect(await pending).toBe("unauthenticated");
    expect(await codeOf(key)).toBe("unauthenticated");
    await owner.close();
  });

  test("a cached credential ends at its own end", async () => {
    const token = await newToken();
    expect(await desk.knock(token)).toBe(200);
    clock.move(899_000);
    expect(await desk.knock(token)).toBe(200);
    clock.move(2_000);
    expect(await desk.knock(token)).toBe(401);
  });

  test("a key ends with its days", async () => {
    const { key } = await desk.keys.create(localActor, {
      owner: { clientId: client.client_id },
      scope: "llm:chat",
      expiresDays: 1,
    });
    expect(await desk.knock(key)).toBe(200);
    clock.move(86_400_000);
    expect(await desk.knock(key)).toBe(401);
  });

  test("what changed without a word is found by looking again after a minute", async () => {
    const { id, key } = await newKey();
    expect(await desk.knock(key)).toBe(200);
    await desk.database.sql`update api_keys set scopes = '{usage:read}' where id = ${id}`;
    expect(await desk.knock(key)).toBe(200);
    clock.move(61_000);
    await desk.knock(key);
    await Bun.sleep(50);
    expect(await desk.knock(key)).toBe(403);
    await desk.database.sql`update api_keys set revoked_at = now() where id = ${id}`;
    clock.move(61_000);
    await desk.knock(key);
    await Bun.sleep(50);
    expect(await desk.knock(key)).toBe(401);
  });

  test("it holds so many and no more, and keeps what is used", () => {
    const cache = new PrincipalCache(3);
    const put = (name: string) =>
      cache.put(name, {
        principal: {
          id: "cli_1",
          kind: "client",
          role: "runner",
          credential: "api_key",
          credentialId: `key_${name}`,
          holderId: `key_${name}`,
          endsWith: ["cli_1", `key_${name}`],
          signInId: null,
          userId: null,
          email: null,
          memberships: new Map(),
          clientId: "cli_1",
          clientKind: "runner",
          keyId: `key_${name}`,
          scopes: new Set(),
          reach: new Set(),
          projectId: null,
          sessionId: null,
          expiresAt: 0,
        },
        planes: new Set(),
        verifiedAt: 0,
        recheckAt: 0,
        used: false,
      });
    for (const name of ["a", "b", "c"]) put(name);
    cache.find("a");
    put("d");
    expect(["a", "b", "c", "d"].map((name) => cache.find(name) !== undefined)).toEqual([
      true,
      false,
      true,
      true,
    ]);
    cache.dropSubject("key_a");
    expect(cache.find("a")).toBeUndefined();
    cache.dropSubject("cli_1");
    expect(cache.size).toBe(0);
  });
});

describe("without a database", () => {
  test("what was verified goes on for 15 minutes, everything else is 503", async () => {
    const [known, stranger] = [await newKey(), await newKey()];
    const [token, unseen] = [await newToken(), await newToken()];
    for (const bearer of [known.key, token]) expect(await desk.knock(bearer)).toBe(200);
    await desk.feed.close();
    await desk.database.close();
    expect(await desk.knock(known.key)).toBe(200);
    expect(await desk.knock(token)).toBe(200);
    for (const bearer of [stranger.key, unseen]) expect(await codeOf(bearer)).toBe("auth_unavailable");
    clock.move(14 * 60_000);
    expect(await desk.knock(known.key)).toBe(200);
    clock.move(60_000);
    const response = await desk.send("/v1/door", { headers: { authorization: `Bearer ${known.key}` } });
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("1");
    expect(await response.json()).toMatchObject({ error: { code: "auth_unavailable" } });
  });

  test("garbage is refused without asking", async () => {
    await desk.feed.close();
    await desk.database.close();
    expect(await codeOf("sgk_garbage")).toBe("unauthenticated");
    expect(await codeOf("a.b.c")).toBe("unauthenticated");
    expect((await desk.ask(client)).status).toBe(503);
  });

  test("once the server is back, everything works and words arrive again", async () => {
    const cluster = await ownCluster();
    const open = () =>
      openDatabase({ endpoint: cluster.embedded.gateway, direct: null, prepare: true, applicationName: "t" });
    const here = await openDesk(await open(), clock);
    const made = await here.clients.create(localActor, { name: "r", kind: "runner", scope: "llm:chat" });
    const newOne = () =>
      here.keys.create(localActor, { owner: { clientId: made.client_id }, scope: "llm:chat" });
    const [known, unseen] = [await newOne(), await newOne()];
    expect(await here.knock(known.key)).toBe(200);
    cluster.kill();
    await Bun.sleep(50);
    expect(await here.knock(known.key)).toBe(200);
    expect(await here.knock(unseen.key)).toBe(503);
    // The cluster comes back by itself.
    for (let i = 0; i < 80 && (await here.knock(unseen.key)) !== 200; i++) await Bun.sleep(100);
    expect(await here.knock(unseen.key)).toBe(200);
    await Bun.sleep(500);
    await here.keys.revoke(localActor, unseen.id);
    expect(await stopped(unseen.key, here)).toBeLessThan(50);
    await here.close();
    await cluster.stop();
  }, 20_000);
});

describe("signing secrets", () => {
  const kidsOf = (...secrets: string[]) =>
    signingSecrets(secrets.map((text) => new Secret(text))).map(({ kid }) => kid);
  const [first, second, third] = ["a", "b", "c"].map((letter) => letter.repeat(32)) as [
    string,
    string,
    string,
  ];

  test("the first start registers its own; a stranger's secret is refused by name; rotation adds one", async () => {
    await registerSecrets(desk.database, kidsOf(first));
    await registerSecrets(desk.database, kidsOf(first));
    await expect(registerSecrets(desk.database, kidsOf(second))).rejects.toThrow("SPECGATE_JWT_SECRET");
    await registerSecrets(desk.database, kidsOf(second, first));
    await registerSecrets(desk.database, kidsOf(second));
    await expect(registerSecrets(desk.database, kidsOf(third))).rejects.toMatchObject({
      code: "unknown_signing_secret",
    });
  });

  test("of two first starts with two secrets one is refused", async () => {
    const starts = await Promise.allSettled([
      registerSecrets(desk.database, kidsOf(first)),
      registerSecrets(beside.database, kidsOf(second)),
    ]);
    expect(starts.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  test("a short secret is refused without being shown", () => {
    expect(() => kidsOf("short secret")).toThrow(/at least 32 bytes; one has 12/);
  });
});
