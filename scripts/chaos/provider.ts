/**
 * Every accident that a provider can have: before the first byte another one answers, after it the stream ends in its own
 * dialect's error, the row is right, and the gateway's memory does not notice.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { answer, refuse } from "../../src/testing/provider-answers.ts";
import { builtInScripts } from "../../src/testing/provider-models.ts";
import { bodyOf as bytesOf, crlf, reply, type Scripted, tornAt } from "../../src/testing/provider-script.ts";
import type { Options } from "../chaos.ts";
import type { Caller, Row } from "../smoke/caller.ts";
import { type Check, eventually, expect, expectEqual } from "../smoke/checks.ts";
import { type Heard, make } from "./calls.ts";
import type { Endpoint, Plan } from "./plans.ts";
import { Random } from "./random.ts";
import { World } from "./world.ts";

/** Each accident meets a model of its own, so that no circuit is open that another one has opened. */
const accidentsMax = 16;
const models = `${Array.from(
  { length: accidentsMax },
  (_, n) =>
    `  backed-${n}: { targets: [{ provider: openai, model: accident-${n} }], fallbacks: [{ provider: spare, model: steady }], retries: 0 }\n`,
).join("")}
  backless: { targets: [{ provider: gone, model: m }], fallbacks: [{ provider: spare, model: steady }], retries: 0 }
  slow: { targets: [{ provider: openai, model: trickle }], retries: 0, timeouts: { idle_ms: 3000, total_ms: 6000 } }
`;

export async function provider(check: Check, { seed, number }: Options): Promise<void> {
  const world = await World.open(models);
  try {
    const trial = new Trial(world, await world.caller(), new Random(seed));
    await before(check, trial);
    await after(check, trial, number("events", 200));
    await bytes(check, trial);
    await memory(check, trial, number("megabytes", 2_048));
  } finally {
    await world.close();
  }
}

class Trial {
  constructor(
    readonly world: World,
    readonly caller: Caller,
    readonly random: Random,
  ) {}

  ask(
    endpoint: Endpoint,
    model: string,
    more: Partial<Plan> = {},
    onPiece?: (piece: Uint8Array) => void,
  ): Promise<Heard> {
    const plan: Plan = {
      key: this.random.hex(32),
      endpoint,
      model,
      stream: true,
      asksUsage: false,
      words: 0,
      gapMs: 0,
      tally: {},
      acts: [],
      cutAt: 0,
      leavesAfterMs: null,
      ...more,
    };
    return make(plan, { url: this.caller.gateway.url, token: this.caller.token }, onPiece);
  }

  async row(heard: Heard): Promise<Row> {
    const ask = async () => {
      const response = await this.caller.fetch(`/api/v1/usage/requests/${heard.requestId}`);
      return response.ok ? ((await response.json()) as Row) : null;
    };
    const row = await eventually(ask, (found) => found !== null && found.state !== "open", 5_000);
    if (row === null) throw new Error(`no row for ${heard.requestId}, which was answered ${heard.status}`);
    return row;
  }
}

const textOf = ({ body }: Heard): string => new TextDecoder().decode(body);
const script = (name: string): Scripted => builtInScripts[name] as Scripted;

/** `wants`: the states of the attempts; null where either to fall back or to say 502 is right. */
async function before(check: Check, trial: Trial): Promise<void> {
  const { provider } = trial.world;
  provider.script("steady", answer());
  const accidents: [string, string, Scripted, string[] | null][] = [
    ["refuses the connection", "backless", answer(), ["failed", "settled"]],
    [
      "hangs up without a word",
      "backed",
      { headless: true, steps: [{ cut: "reset" }] },
      ["unknown", "settled"],
    ],
    ["answers 500", "backed", refuse(500), ["failed", "settled"]],
    ["answers 503", "backed", refuse(503), ["failed", "settled"]],
    ["answers 429", "backed", refuse(429), ["failed", "settled"]],
    ["answers 408", "backed", refuse(408), ["failed", "settled"]],
    ["answers HTML with 200", "backed", script("html"), null],
    ["answers bad gzip", "backed", script("bad-gzip"), null],
  ];
  let met = 0;
  for (const stream of [true, false]) {
    for (const [name, kind, accident, wants] of accidents) {
      await check(`a provider that ${name}, ${stream ? "stream" : "document"}`, async () => {
        const n = met++;
        provider.script(`accident-${n}`, accident);
        const model = kind === "backed" ? `backed-${n}` : kind;
        const heard = await trial.ask("chat/completions", model, { stream });
        const row = await trial.row(heard);
        const states = row.attempts.map(({ state }) => state);
        const fellBack = Bun.deepEquals([heard.status, states.at(-1)], [200, "settled"]);
        if (wants !== null) expectEqual([heard.status, states], [200, wants], "status and attempts");
        else if (!fellBack) {
          const isTyped = [200, 502].includes(heard.status ?? 0) && textOf(heard).includes("provider_error");
          expect(isTyped && row.state !== "settled", `${heard.status} ${textOf(heard)}, ${row.state}`);
        }
        return `${heard.status}, ${states.join(", ")}`;
      });
    }
  }
}

const dialects: [Endpoint, string, RegExp][] = [
  ["chat/completions", "openai", /data: \{"error":\{[^\n]*"code":"provider_error"/],
  ["completions", "openai", /data: \{"error":\{[^\n]*"code":"provider_error"/],
  ["responses", "openai", /event: error\ndata: \{[^\n]*"type":"error"[^\n]*provider_error/],
  ["messages", "claude", /event: error\ndata: \{"type":"error","error":\{"type":"api_error"/],
];

async function after(check: Check, trial: Trial, events: number): Promise<void> {
  for (const [endpoint, name, ending] of dialects) {
    for (const cut of ["fin", "reset"] as const) {
      await check(
        `${endpoint} cut (${cut}) after each of ${events} events ends in its own error`,
        async () => {
          let next = 1;
          const work = async (): Promise<void> => {
            while (next <= events) await cutAt(trial, { endpoint, name, ending, cut, at: next++ });
          };
          await Promise.all(Array.from({ length: 8 }, work));
        },
      );
    }
  }
}

type Cut = { endpoint: Endpoint; name: string; ending: RegExp; cut: "fin" | "reset"; at: number };

async function cutAt(trial: Trial, { endpoint, name, ending, cut, at }: Cut): Promise<void> {
  const { provider } = trial.world;
  const model = `cut-${endpoint}-${cut}-${at}`.replace("/", "-");
  const all = Promise.withResolvers<void>();
  let missing = 0;
  provider.script(model, (asked) => {
    const whole = answer({ words: 200 })(asked);
    const steps = whole.steps.slice(0, at);
    missing += bytesOf({ steps }).length;
    // What is still under way when a connection ends is lost with it.
    return { ...whole, steps: [...steps, { until: all.promise }, { cut }] };
  });
  const heard = await trial.ask(endpoint, `${name}/${model}`, {}, (piece) => {
    missing -= piece.length;
    if (missing === 0) all.resolve();
  });
  const received = provider.books().get(heard.plan.key)?.[0];
  const text = textOf(heard);
  const where = `after ${at} events`;
  expect(heard.whole && heard.status === 200, `${where}: ${heard.status}, the caller's stream broke off`);
  expect(ending.test(text), `${where}: it ends in ${JSON.stringify(text.slice(-300))}`);
  const said = text.slice(0, text.search(ending));
  expect(said === new TextDecoder().decode(received?.sentBody), `${where}: other bytes than were sent`);
  const row = await trial.row(heard);
  const words = received?.words ?? 0;
  const output = row.usage.output ?? -1;
  const isRight = row.state === "estimated" && output >= words && output <= 3 * words + 1;
  expect(isRight, `${where}: ${row.state} with ${output} tokens of ${words} words`);
  expectEqual([row.delivery, row.attempts.length], ["cut", 1], where);
}

async function bytes(check: Check, trial: Trial): Promise<void> {
  const { provider } = trial.world;
  await check("one byte a second is passed on until the call's time is over", async () => {
    const content = { choices: [{ index: 0, delta: { content: "word1 " } }] };
    const drops = [...`data: ${JSON.stringify(content)}\n\n`.repeat(3)];
    provider.script("trickle", {
      headers: { "content-type": "text/event-stream" },
      steps: drops.flatMap((drop) => [drop, { pause: 1_000 }]),
    });
    const heard = await trial.ask("chat/completions", "slow");
    expect(textOf(heard).includes("provider_timeout"), `${heard.status} ${textOf(heard)}`);
    const row = await trial.row(heard);
    expectEqual(row.state === "settled", false, "settled");
    expect(heard.tookMs > 5_500 && heard.tookMs < 7_500, `it took ${Math.round(heard.tookMs)} ms`);
    return `${row.state} after ${Math.round(heard.tookMs)} ms`;
  });
  const whole = crlf(
    reply({ content: "Grüße ✓ 🚀 ไทย" })({
      model: "torn",
      stream: true,
      includeUsage: true,
      path: "/v1/chat/completions",
      key: null,
      json: null,
    }),
  );
  const body = bytesOf(whole);
  await check(`a stream split at each of its ${body.length} bytes arrives as it was sent`, async () => {
    for (let offset = 0; offset <= body.length; offset++) {
      provider.script("torn", tornAt(whole, offset));
      const heard = await trial.ask("chat/completions", "openai/torn", { asksUsage: true });
      expect(Buffer.compare(heard.body, body) === 0, `split at ${offset}: other bytes`);
    }
  });
}

async function memory(check: Check, trial: Trial, megabytes: number): Promise<void> {
  await check(`a line of ${megabytes} MB without an end costs no memory`, async () => {
    const { pid } = trial.world.gateway;
    // Once before, so that what the first such call needs for good is not counted.
    trial.world.provider.script("endless", endless(64));
    await trial.ask("chat/completions", "openai/endless").then(({ body }) => body.length);
    await Bun.sleep(2_000);
    const before = resident(pid, "VmRSS");
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
    trial.world.provider.script("endless", endless(megabytes));
    const ended = await drain(trial);
    const more = resident(pid, "VmHWM") - before;
    expect(more <= 20, `${more.toFixed(1)} MB more than ${before.toFixed(0)} MB; ${ended}`);
    return `${more.toFixed(1)} MB more; ${ended}`;
  });
}

const endless = (megabytes: number): Scripted => ({
  headers: { "content-type": "text/event-stream" },
  steps: ["data: ", { repeat: "x".repeat(65_536), times: megabytes * 16 }],
});

/** Reads and forgets. */
async function drain(trial: Trial): Promise<string> {
  const { url } = trial.caller.gateway;
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${trial.caller.token}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "openai/endless", stream: true, messages: [] }),
  });
  let length = 0;
  let tail = "";
  for await (const piece of response.body ?? []) {
    length += piece.length;
    tail = (tail + Buffer.from(piece.subarray(-300)).toString("latin1")).slice(-300);
  }
  return `${response.status}, ${Math.round(length / 1e6)} MB heard, ends in ${JSON.stringify(tail.slice(-120))}`;
}

function resident(pid: number, field: "VmRSS" | "VmHWM"): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(text)?.[1]) / 1_024;
}
