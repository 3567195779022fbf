/**
 * Passwords: argon2id and nothing else.
 *
 * One hash takes 64 MB and a core for about 150 ms, so only two run at a time and few may wait: a crowd of sign-ins
 * must not starve the calls that this gateway is for. Refuses passwords under 12 and over 1024 bytes.
 */
import { Failure } from "../../platform/failure.ts";

const runningMax = 2;
const waitingMax = 32;
const bytesMin = 12;
const bytesMax = 1024;

export type Passwords = {
  /** The PHC string. Throws `invalid_password`, or `unavailable` when too many wait already. */
  hash(password: string): Promise<string>;
  /** Takes as long when there is no hash to compare with, and then is false. Throws `unavailable`. */
  verify(password: string, hash: string | null): Promise<boolean>;
};

export function createPasswords(): Passwords {
  const turn = createTurns();
  const hash = (password: string) => turn(() => Bun.password.hash(password, { algorithm: "argon2id" }));
  // What a stranger's password is compared with: made like any other, of something nobody knows.
  let nobodys: Promise<string> | null = null;
  return {
    hash(password) {
      checkLength(password);
      return hash(password);
    },
    async verify(password, known) {
      if (!fits(password)) return false;
      nobodys ??= hash(crypto.randomUUID()).catch((error: unknown) => {
        nobodys = null;
        throw error;
      });
      const stranger = await nobodys;
      const equal = await turn(() => Bun.password.verify(password, known ?? stranger));
      return equal && known !== null;
    },
  };
}

/** Runs two at a time; the turn passes straight to the next in line, so `running` does not change when somebody waits. */
function createTurns(): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running < runningMax) running++;
    else if (waiting.length < waitingMax) await new Promise<void>((resolve) => waiting.push(resolve));
    else throw busy();
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}

const fits = (password: string): boolean => {
  const bytes = Buffer.byteLength(password);
  return bytes >= bytesMin && bytes <= bytesMax;
};

function checkLength(password: string): void {
  if (fits(password)) return;
  throw new Failure(
    "unprocessable",
    "invalid_password",
    `A password has ${bytesMin} to ${bytesMax} bytes; this one has ${Buffer.byteLength(password)}.`,
  );
}

const busy = (): Failure =>
  new Failure("unavailable", "unavailable", "Too many passwords are being checked right now. Try again.", {
    retryAfterSeconds: 2,
  });
