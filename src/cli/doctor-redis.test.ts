import { describe, expect, test } from "bun:test";
import { Secret } from "../platform/secret.ts";
import { isRedisMissing, startRedis } from "../testing/redis-server.ts";
import { checkRedis } from "./doctor-redis.ts";

test("nothing is said of a Redis that nobody asked for", async () => {
  expect(await checkRedis(null)).toEqual([]);
});

describe.skipIf(isRedisMissing)("a Redis (needs redis-server)", () => {
  const canary = "pass-canary";
  const wordsOf = async (url: string) => {
    const [finding] = await checkRedis(new Secret(url));
    expect(finding?.message).not.toContain(canary);
    return `${finding?.status}: ${finding?.message}`;
  };

  test("that works, that refuses, that hangs and that is gone are told apart, and no password is shown", async () => {
    const server = await startRedis(canary);
    expect(await wordsOf(server.url)).toMatch(/^ok: Redis [\d.]+ takes a write in \d+ ms$/);
    expect(await wordsOf(server.url.replace(canary, `${canary}-wrong`))).toBe(
      "failure: REDIS_URL is refused (WRONGPASS): correct its password",
    );
    expect(await wordsOf(server.url.replace(`:${canary}@`, ""))).toBe(
      "failure: REDIS_URL is refused (NOAUTH): correct its password",
    );
    server.freeze();
    const away = "until it does each instance counts limits for itself";
    expect(await wordsOf(server.url)).toBe(`failure: REDIS_URL does not answer (ETIMEDOUT): ${away}`);
    server.thaw();
    await server.kill();
    expect(await wordsOf(server.url)).toBe(`failure: REDIS_URL does not answer (ECONNREFUSED): ${away}`);
  });
});
