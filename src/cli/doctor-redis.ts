import type { Redis } from "ioredis";
import { codeOf, createClient } from "../platform/redis.ts";
import type { Secret } from "../platform/secret.ts";
import type { Finding } from "./doctor.ts";

const answerMsMax = 3_000;
/** Calls wait for it 100 ms at most, and go on without it then. */
const slowMs = 25;

/** A failure, though the gateway goes on without it: limits would not be what the operator wrote. */
export async function checkRedis(url: Secret | null): Promise<Finding[]> {
  if (url === null) return [];
  const client = await createClient(url);
  const errors: unknown[] = [];
  // The first one says why; what follows is that the connection is gone.
  client.on("error", (error: unknown) => errors.push(error));
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(timedOut()), answerMsMax);
  try {
    return [await Promise.race([examine(client), late.promise])];
  } catch (error) {
    return [{ name, status: "failure", message: wordsOf(codeOf(errors[0] ?? error)) }];
  } finally {
    clearTimeout(timer);
    client.disconnect();
  }
}

const name = "redis";
const timedOut = () => Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" });

async function examine(client: Redis): Promise<Finding> {
  await client.connect();
  await client.set("specgate:probe", "1", "EX", 60);
  const begun = performance.now();
  await client.set("specgate:probe", "1", "EX", 60);
  const took = Math.ceil(performance.now() - begun);
  const found = /^(valkey|redis)_version:(\S+)/m.exec(await client.info("server").catch(() => ""));
  const which = found === null ? "it" : `${found[1] === "valkey" ? "Valkey" : "Redis"} ${found[2]}`;
  if (took <= slowMs) return { name, status: "ok", message: `${which} takes a write in ${took} ms` };
  const message = `${which} takes a write in ${took} ms, for which each call waits: put it nearer to the gateway`;
  return { name, status: "warning", message };
}

function wordsOf(code: string): string {
  if (code === "NOAUTH" || code === "WRONGPASS")
    return `REDIS_URL is refused (${code}): correct its password`;
  if (code === "READONLY" || code === "NOPERM")
    return `REDIS_URL may not write (${code}): name one that takes SET, EVAL, ZADD and INCRBY`;
  return `REDIS_URL does not answer (${code}): until it does each instance counts limits for itself`;
}
