/**
 * Every change of the control plane: one transaction that holds the change, its audit entry, its events and, where the
 * caller sent an `Idempotency-Key`, its answer. All of them are there, or none.
 *
 * Features say what changes; that it is whole, recorded, told and answered once stands here. Whoever listens is told
 * after the commit, and merely sooner than they would find out by themselves.
 */
import type { z } from "zod";
import { failureResponse } from "../platform/dialects.ts";
import { Failure } from "../platform/failure.ts";
import type { OpenedBy } from "../platform/guard.ts";
import { longTextBytesMax, readJsonBytes } from "../platform/wire-body.ts";
import { type Actor, type AuditEntry, actorOf, type RecordAudit } from "./audit-entry.ts";
import type { Database, Db } from "./database.ts";
import { insertEvents, type NewEvent } from "./events.ts";
import { type Claim, claimOf, type KeptAnswer, keepAnswer, takeClaim } from "./idempotency.ts";

/** A change under way. */
export type Change = {
  readonly tx: Db;
  readonly actor: Actor;
  /** One entry for what changed; if it cannot be written nothing changes. */
  record(entry: Omit<AuditEntry, "actor">): Promise<void>;
  tell(...events: NewEvent[]): Promise<void>;
  /** For whoever opens a transaction by itself: this one. */
  transaction<T>(work: (tx: Db) => Promise<T>): Promise<T>;
};

/** How a POST is answered. */
export type Answering<Shape extends z.ZodType, Ready = undefined> = {
  form: Shape;
  /** What takes its time and must hold up no transaction: done before it begins, once the body has come and been judged. */
  before?: (asked: z.infer<Shape>) => Promise<Ready>;
  /** 201 when left out. */
  status?: number;
  bodyBytesMax?: number;
  /** Members that are shown once: null when the answer is given again. */
  secrets?: readonly string[];
};

export type Changes = {
  make<T>(actor: Actor, work: (change: Change) => Promise<T>): Promise<T>;
  /** Reads the body, changes, and answers with what `work` returns; with an `Idempotency-Key`, once. */
  answer<Shape extends z.ZodType, Ready = undefined>(
    opened: OpenedBy,
    answering: Answering<Shape, Ready>,
    work: (change: Change, asked: z.infer<Shape>, ready: Ready) => Promise<object>,
  ): Promise<Response>;
};

export type ChangesNeeds = {
  database: Pick<Database, "transaction">;
  record: RecordAudit;
  /** Called after a commit that told events. */
  told: () => void;
  /** Called after the commit of a change that may have ended a credential. Never throws. */
  announce: () => Promise<void>;
};

export function createChanges(needs: ChangesNeeds): Changes {
  return {
    make: (actor, work) => make(needs, actor, work),
    async answer(opened, answering, work) {
      const { call, principal, request } = opened;
      const { bodyBytesMax = longTextBytesMax } = answering;
      const { value, bytes } = await readJsonBytes(request, answering.form, bodyBytesMax);
      const actor = actorOf(principal, call);
      const claim = claimOf(request, { principal: principal.id, path: pathOf(call.url), body: bytes });
      const ready = (await answering.before?.(value)) as Awaited<
        ReturnType<NonNullable<typeof answering.before>>
      >;
      const run = async (change: Change) =>
        answerOf(await work(change, value, ready), answering.status ?? 201);
      if (claim === null) return responseOf(await make(needs, actor, run));
      return once(needs, claim, { actor, requestId: call.id, secrets: answering.secrets ?? [] }, run);
    },
  };
}

/** However it is spelled. */
function pathOf({ pathname }: URL): string {
  const plain = pathname.replace(/\/+$/, "");
  try {
    return decodeURIComponent(plain);
  } catch {
    return plain;
  }
}

async function make<T>(
  { database, record, told, announce }: ChangesNeeds,
  actor: Actor,
  work: (change: Change) => Promise<T>,
): Promise<T> {
  let hasTold = false;
  let isShared = false;
  const result = await database.transaction((tx) =>
    work({
      tx,
      actor,
      record: (entry) => record(tx, { ...entry, actor }),
      async tell(...events) {
        hasTold ||= events.length > 0;
        await insertEvents(tx, events);
      },
      transaction(inner) {
        isShared = true;
        return inner(tx);
      },
    }),
  );
  if (hasTold) told();
  if (isShared) await announce();
  return result;
}

type Once = { actor: Actor; requestId: string; secrets: readonly string[] };

async function once(
  needs: ChangesNeeds,
  claim: Claim,
  { actor, requestId, secrets }: Once,
  run: (change: Change) => Promise<KeptAnswer>,
): Promise<Response> {
  // What the claim itself is refused with is nobody's first answer.
  let isTaken = false;
  try {
    return await make(needs, actor, async (change) => {
      const kept = await takeClaim(change.tx, claim);
      if (kept !== null) return replayOf(kept);
      isTaken = true;
      const answer = await run(change);
      await keepAnswer(change.tx, claim, { ...answer, body: withoutSecrets(answer.body, secrets) });
      return responseOf(answer);
    });
  } catch (error) {
    if (!isTaken || !(error instanceof Failure) || !isKept(error)) throw error;
    const refusal = failureResponse(error, "problem", requestId);
    const body = await refusal.text();
    const headers = { "content-type": "application/problem+json" };
    await make(needs, actor, async ({ tx }) => {
      if ((await takeClaim(tx, claim)) === null)
        await keepAnswer(tx, claim, { status: refusal.status, body, headers });
    }).catch(() => undefined);
    throw error;
  }
}

/** Not what depends on who asked when: another credential of the same caller, or the same one later, may well do it. */
const isKept = ({ kind, status }: Failure): boolean =>
  status < 500 && !["unauthenticated", "forbidden", "stale", "rate"].includes(kind);

function answerOf(value: object, status: number): KeptAnswer {
  const version = "version" in value && typeof value.version === "number" ? value.version : null;
  return {
    status,
    body: JSON.stringify(value),
    headers: {
      "content-type": "application/json;charset=utf-8",
      ...(version === null ? {} : { etag: `"${version}"` }),
    },
  };
}

const responseOf = ({ status, body, headers }: KeptAnswer): Response =>
  new Response(body, { status, headers: { ...headers, "cache-control": "no-store" } });

const replayOf = (kept: KeptAnswer): Response =>
  responseOf({ ...kept, headers: { ...kept.headers, "idempotent-replayed": "true" } });

function withoutSecrets(body: string, secrets: readonly string[]): string {
  if (secrets.length === 0) return body;
  const value = JSON.parse(body) as Record<string, unknown>;
  for (const name of secrets) if (name in value) value[name] = null;
  return JSON.stringify(value);
}
