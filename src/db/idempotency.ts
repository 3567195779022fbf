/**
 * Requests that may be sent twice and act once: the IETF draft's `Idempotency-Key`, kept for 24 hours.
 *
 * The first answer is written in the transaction of what it answers, so that neither is ever there without the other. A
 * refusal is kept too, in a transaction of its own, because the refused one was rolled back. What failed on the gateway's
 * side is not kept: sent again, it may succeed.
 */
import { and, eq, lt, sql } from "drizzle-orm";
import { sha256 } from "../platform/digest.ts";
import { Failure } from "../platform/failure.ts";
import type { Database, Db } from "./database.ts";
import { idempotency } from "./schema.ts";
import { forGood, type SweepTerms, sweepRows } from "./sweep.ts";

/** One request, as often as it is sent. */
export type Claim = {
  readonly principal: string;
  readonly method: string;
  readonly path: string;
  readonly key: string;
  readonly bodyHash: Uint8Array;
};

export type KeptAnswer = {
  readonly status: number;
  readonly body: string;
  readonly headers: Record<string, string>;
};

const keptMs = 86_400_000;

/** Null when none was sent. Throws 400 for one that is empty or too long. */
export function claimOf(
  request: Request,
  asked: { principal: string; path: string; body: Uint8Array },
): Claim | null {
  const key = request.headers.get("idempotency-key");
  if (key === null) return null;
  if (key.length < 1 || key.length > 255)
    throw new Failure("invalid", "invalid_request", "An Idempotency-Key has 1 to 255 characters.");
  const { principal, path, body } = asked;
  return { principal, method: request.method, path, key, bodyHash: sha256(body) };
}

/**
 * The first answer when there is one, or null when this is the first time: nobody else may then take the claim until the
 * transaction ends. Throws 409 `in_progress`, 422 `idempotency_mismatch`.
 */
export async function takeClaim(tx: Db, claim: Claim): Promise<KeptAnswer | null> {
  const early = await findKept(tx, claim);
  if (early !== null && early !== "old") return early;
  if (!(await lockClaim(tx, claim))) throw inProgress();
  const kept = await findKept(tx, claim);
  if (kept !== "old") return kept;
  await tx.delete(idempotency).where(isClaim(claim));
  return null;
}

/** `old`: one that is kept no longer. Throws 422 `idempotency_mismatch`. */
async function findKept(tx: Db, claim: Claim): Promise<KeptAnswer | "old" | null> {
  const [row] = await tx.select().from(idempotency).where(isClaim(claim));
  if (row === undefined) return null;
  if (Date.now() - row.at.getTime() > keptMs) return "old";
  if (!Buffer.from(row.bodyHash).equals(claim.bodyHash)) throw mismatch();
  return row;
}

/** Where another answer is kept already, that one stays. */
export async function keepAnswer(tx: Db, claim: Claim, answer: KeptAnswer): Promise<void> {
  await tx
    .insert(idempotency)
    .values({ ...claim, ...answer })
    .onConflictDoNothing();
}

export const sweepAnswers = (
  { db }: Pick<Database, "db">,
  now: number,
  terms: SweepTerms = forGood,
): Promise<number> =>
  sweepRows(db, { table: idempotency, isOver: lt(idempotency.at, new Date(now - keptMs)) }, terms);

const isClaim = ({ principal, method, path, key }: Claim) =>
  and(
    eq(idempotency.principal, principal),
    eq(idempotency.method, method),
    eq(idempotency.path, path),
    eq(idempotency.key, key),
  );

/** An insert would wait for the other request instead of saying that there is one. */
async function lockClaim(tx: Db, { principal, method, path, key }: Claim): Promise<boolean> {
  const name = JSON.stringify([principal, method, path, key]);
  const [row] = (await tx.execute(
    sql`select pg_try_advisory_xact_lock(hashtextextended(${name}, 0)) as mine`,
  )) as unknown as { mine: boolean }[];
  return row?.mine ?? false;
}

const inProgress = (): Failure =>
  new Failure(
    "conflict",
    "in_progress",
    "A request with this Idempotency-Key is being answered right now. Send it again in a moment.",
  );

const mismatch = (): Failure =>
  new Failure(
    "unprocessable",
    "idempotency_mismatch",
    "This Idempotency-Key was sent with another body. A new request needs a new key.",
  );
