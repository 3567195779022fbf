/**
 * A call thought up by chance: what is asked, what the provider does at each attempt, and when the caller leaves. The
 * provider knows it by its key, which travels as the trace.
 */
import type { Provider } from "../../src/testing/provider.ts";
import { answer, refuse } from "../../src/testing/provider-answers.ts";
import type { Asked, Script, Scripted, Tally } from "../../src/testing/provider-script.ts";
import type { Random } from "./random.ts";

export const endpoints = [
  "chat/completions",
  "completions",
  "responses",
  "embeddings",
  "messages",
  "messages/count_tokens",
] as const;
export type Endpoint = (typeof endpoints)[number];

/**
 * `untold`: whole, without usage. `cut`, `reset`: the connection ends inside the body. `hangup`: it ends before a status
 * line. A number is an HTTP error.
 */
export type Act = "whole" | "untold" | "cut" | "reset" | "hangup" | 400 | 429 | 500 | 503;

export type Plan = {
  key: string;
  endpoint: Endpoint;
  model: string;
  stream: boolean;
  asksUsage: boolean;
  words: number;
  gapMs: number;
  tally: Partial<Tally>;
  /** At each attempt, the last from then on. */
  acts: Act[];
  /** Where a cut falls, as a share of the answer's pieces. */
  cutAt: number;
  /** When the caller leaves, if it does not wait for the end. */
  leavesAfterMs: number | null;
};

/** `troubles`: the share of calls with a caller who leaves, a cut or an error. */
export function thinkUp(random: Random, troubles: number): Plan {
  const endpoint = random.weighted({
    "chat/completions": 40,
    responses: 18,
    messages: 20,
    completions: 8,
    embeddings: 8,
    "messages/count_tokens": 6,
  });
  const speaksAnthropic = endpoint.startsWith("messages");
  const isStreamed = endpoint !== "embeddings" && endpoint !== "messages/count_tokens";
  const own = `${speaksAnthropic ? "claude" : random.pick(["openai", "spare"])}/own-${random.whole(0, 199)}`;
  const route = random.weighted({ own: 6, fast: 3, orphan: 1 });
  const isTroubled = random.chance(troubles);
  const trouble = isTroubled ? random.weighted({ leave: 4, act: 5, both: 1 }) : null;
  const leaves = trouble === "leave" || trouble === "both";
  const cached = random.whole(0, 40);
  return {
    key: random.hex(32),
    endpoint,
    model: route === "own" ? own : route,
    stream: isStreamed && random.chance(0.6),
    asksUsage: random.chance(0.3),
    words: random.whole(1, 30),
    gapMs: leaves || random.chance(0.3) ? random.whole(1, 4) : 0,
    tally: { input: random.whole(41, 4_000), cached_read: cached, reasoning: random.whole(0, 1) },
    acts:
      trouble === "act" || trouble === "both" ? actsOf(random) : [random.chance(0.05) ? "untold" : "whole"],
    cutAt: random.next(),
    leavesAfterMs: leaves ? random.whole(0, 60) : null,
  };
}

function actsOf(random: Random): Act[] {
  const acts: Act[] = [];
  do acts.push(random.pick<Act>(["cut", "reset", "hangup", 400, 429, 500, 503, "untold"]));
  while (random.chance(0.3));
  if (random.chance(0.6)) acts.push("whole");
  return acts;
}

/** Lets the provider play each plan by its key. */
export function perform(provider: Provider, plans: ReadonlyMap<string, Plan>): void {
  const attempts = new Map<string, number>();
  provider.script("*", ((asked: Asked) => {
    const plan = plans.get(asked.key ?? "");
    if (plan === undefined) return answer()(asked);
    const attempt = attempts.get(plan.key) ?? 0;
    attempts.set(plan.key, attempt + 1);
    return scriptOf(plan, plan.acts[Math.min(attempt, plan.acts.length - 1)] ?? "whole", asked);
  }) satisfies Scripted);
}

function scriptOf(plan: Plan, act: Act, asked: Asked): Script {
  if (typeof act === "number") return refuse(act)(asked);
  if (act === "hangup") return { headless: true, steps: [{ cut: "reset" }] };
  const { words, gapMs, tally } = plan;
  const said = { words, tally, gapMs, ...(act === "untold" ? { usage: null } : {}) };
  const script = answer(said)(asked);
  return act === "whole" || act === "untold" ? script : cutOff(script, plan.cutAt, act);
}

/** At a share of its steps; a whole document somewhere inside. */
function cutOff(script: Script, share: number, act: "cut" | "reset"): Script {
  const end = { cut: act === "cut" ? "fin" : "reset" } as const;
  const [first] = script.steps;
  if (script.framing === "length" && typeof first === "string") {
    const head = first.slice(0, 1 + Math.floor(share * (first.length - 1)));
    return { ...script, steps: [head, end], tells: [] };
  }
  return {
    ...script,
    steps: [...script.steps.slice(0, 1 + Math.floor(share * (script.steps.length - 1))), end],
  };
}

/** The request's body, as a client of that endpoint would write it. */
export function bodyOf({ endpoint, model, stream, asksUsage }: Plan): object {
  const messages = [{ role: "user", content: "hello out there" }];
  const streamed = stream ? { stream } : {};
  switch (endpoint) {
    case "chat/completions":
    case "completions": {
      const usage = stream && asksUsage ? { stream_options: { include_usage: true } } : {};
      const prompt = endpoint === "completions" ? { prompt: "hello out there" } : { messages };
      return { model, ...prompt, ...streamed, ...usage };
    }
    case "responses":
    case "embeddings":
      return { model, input: "hello out there", ...streamed };
    case "messages":
      return { model, max_tokens: 500, messages, ...streamed };
    case "messages/count_tokens":
      return { model, messages };
  }
}
