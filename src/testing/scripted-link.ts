/** A way to an upstream MCP server that is no server: it shows, answers and fails as a test says. */
import type { Link, LinkAsking } from "../features/upstreams/link.ts";
import { Failure } from "../platform/failure.ts";
import type { UpstreamAnswer } from "../platform/upstream.ts";

export type ScriptedLink = Link & {
  /** What its next list holds. */
  tools: unknown[];
  isDead: boolean;
  /** A list waits for it. */
  gate: Promise<void>;
  answer: (
    name: string,
    args: Readonly<Record<string, unknown>>,
    asking: LinkAsking,
  ) => UpstreamAnswer | Promise<UpstreamAnswer>;
  /** Own names, in the order of the calls. */
  readonly calls: string[];
  lists: number;
  isClosed: boolean;
  /** Shows this from now on and says that its list has changed. */
  show(...tools: unknown[]): void;
};

export function scriptedLink(...tools: unknown[]): ScriptedLink {
  const listeners: (() => void)[] = [];
  const link: ScriptedLink = {
    tools,
    isDead: false,
    gate: Promise.resolve(),
    answer: (name) => resultOf(name),
    calls: [],
    lists: 0,
    isClosed: false,
    async list() {
      link.lists++;
      await link.gate;
      if (link.isDead) throw dead();
      return structuredClone(link.tools);
    },
    async call(name, args, asking) {
      link.calls.push(name);
      if (link.isDead) throw dead();
      return link.answer(name, args, asking);
    },
    onListChanged: (listener) => void listeners.push(listener),
    status: () => ({
      state: link.isDead ? "down" : "up",
      era: "modern",
      reason: link.isDead ? "It does not answer." : null,
      since: new Date(0),
    }),
    adopt: () => {},
    async retire() {
      link.isClosed = true;
    },
    async close() {
      link.isClosed = true;
    },
    show(...shown) {
      link.tools = shown;
      for (const listener of listeners) listener();
    },
  };
  return link;
}

const dead = () => new Failure("unavailable", "upstream_unavailable", "It does not answer.");

export const resultOf = (text: string): UpstreamAnswer => ({
  kind: "result",
  isError: false,
  result: { content: [{ type: "text", text }] },
});

/** A small definition. */
export const tool = (name: string, more: Record<string, unknown> = {}) => ({
  name,
  description: `Does ${name}.`,
  inputSchema: { type: "object", properties: { query: { type: "string" } } },
  annotations: { readOnlyHint: true },
  ...more,
});
