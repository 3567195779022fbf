/** Fifty streams in flight, `kill -9`, and the books afterwards. */
import type { Provider } from "../../src/testing/provider.ts";
import { reply } from "../../src/testing/provider-script.ts";
import { type Gateway, type Surroundings, serve } from "../gateway.ts";
import { Caller, type Client, isDone, type Row } from "./caller.ts";
import { type Check, eventually, expect, expectEqual } from "./checks.ts";

const streams = 50;

/** Returns the gateway that was started afterwards. */
export async function crash(
  check: Check,
  before: Gateway,
  client: Client,
  provider: Provider,
  surroundings: Surroundings,
): Promise<Gateway> {
  const caller = await Caller.open(before, client);
  const earlier = new Set((await caller.rows()).map(({ id }) => id));
  // From 0.1 s to 2.1 s of length: at the moment of the kill some are over and some are not.
  for (let n = 0; n < streams; n++) provider.script(`crash-${n}`, reply({ words: 3 + n * 2, gapMs: 20 }));
  const asked = Array.from({ length: streams }, (_, n) => caller.chat(`openai/crash-${n}`));
  await Bun.sleep(1_000);
  await before.stop("SIGKILL");
  const heard = await Promise.all(asked);
  const done = heard.filter(isDone).length;

  const after = await serve([], surroundings, { port: before.port });
  const again = await Caller.open(after, client);
  const rows = await eventually(
    async () => (await again.rows()).filter(({ id }) => !earlier.has(id)),
    (found) => found.length >= streams && found.every(({ state }) => state !== "open"),
    10_000,
  );
  const rowsOf = (n: number): Row[] => rows.filter(({ model }) => model === `crash-${n}`);

  await check("after kill -9 it starts again by itself", () => `${Math.round(after.readyMs)} ms`);
  await check("each stream that was seen whole has exactly one row, settled", () => {
    expect(done > 0 && done < streams, `${done} of ${streams} were whole: nothing to compare`);
    for (const [n, one] of heard.entries()) {
      if (isDone(one))
        expectEqual(
          rowsOf(n).map(({ state }) => state),
          ["settled"],
          `states of crash-${n}`,
        );
    }
    return `${done} of ${streams}`;
  });
  await check("each stream that broke off has exactly one row, unknown", () => {
    for (const [n, one] of heard.entries()) {
      if (isDone(one)) continue;
      // The provider may have ended in the very moment before the caller heard of it.
      const ended = provider.received.find(({ model }) => model === `crash-${n}`)?.ending === "whole";
      const states = rowsOf(n).map(({ state }) => state);
      const fits = states.length === 1 && (states[0] === "unknown" || (ended && states[0] === "settled"));
      expect(fits, `crash-${n}: ${Bun.inspect(states)}`);
    }
    return `${streams - done} of ${streams}`;
  });
  return after;
}
