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
};

export function createPasswords(): Passwords {
  let running = 0;
  const waiting: (() => void)[] = [];
  const enter = async (): Promise<void> => {
    if (running < runningMax) running++;
    else if (waiting.length < waitingMax) await new Promise<void>((resolve) => waiting.push(resolve));
    else throw busy();
  };
  // The turn passes straight to the next in line, so `running` does not change when somebody waits.
  const leave = (): void => {
    const next = waiting.shift();
    if (next) next();
    else running--;
  };
  return {
    async hash(password) {
      checkLength(password);
      await enter();
      try {
        return await Bun.password.hash(password, { algorithm: "argon2id" });
      } finally {
        leave();
      }
    },
  };
}

function checkLength(password: string): void {
  const bytes = Buffer.byteLength(password);
  if (bytes >= bytesMin && bytes <= bytesMax) return;
  throw new Failure(
    "unprocessable",
    "invalid_password",
    `A password has ${bytesMin} to ${bytesMax} bytes; this one has ${bytes}.`,
  );
}

const busy = (): Failure =>
  new Failure("unavailable", "unavailable", "Too many passwords are being checked right now. Try again.", {
    retryAfterSeconds: 2,
  });
