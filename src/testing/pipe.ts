/** `specgate connect` at work, with an app at the other end of its pipe. */
import { expect } from "bun:test";
import type { Person } from "./gateway.ts";
import type { Said, Terminal } from "./terminal.ts";

export type PipeMessage = {
  jsonrpc?: string;
  id?: number | string | null;
  method?: string;
  result?: {
    tools?: { name: string }[];
    content?: { text: string }[];
    isError?: boolean;
    [key: string]: unknown;
  };
  error?: { code: number; message: string };
  params?: Record<string, unknown>;
};

/** `sleep` stands for the waits between two polls. */
export function openPipe(
  terminal: Terminal,
  env: Record<string, string> = {},
  sleep?: () => Promise<void>,
  command = "connect",
) {
  const input = new TransformStream<Uint8Array, Uint8Array>();
  const writer = input.writable.getWriter();
  const lines: string[] = [];
  const messages: PipeMessage[] = [];
  const waiting: { wants: (message: PipeMessage) => boolean; done: (message: PipeMessage) => void }[] = [];
  let rest = "";
  const stdout = (text: string | Uint8Array) => {
    rest += typeof text === "string" ? text : new TextDecoder().decode(text);
    const whole = rest.split("\n");
    rest = whole.pop() ?? "";
    for (const line of whole) {
      const message = JSON.parse(line) as PipeMessage;
      lines.push(line);
      messages.push(message);
      for (const { wants, done } of waiting) if (wants(message)) done(message);
    }
  };
  let signal: (name: string) => void = () => undefined;
  const ended: Promise<Said> = terminal.specgate(command, {
    env,
    stdinBytes: () => input.readable,
    stdout,
    onSignal(listener) {
      signal = listener;
      return () => undefined;
    },
    ...(sleep ? { sleep } : {}),
  });
  const until = (wants: (message: PipeMessage) => boolean): Promise<PipeMessage> => {
    const found = messages.find(wants);
    if (found !== undefined) return Promise.resolve(found);
    const { promise, resolve } = Promise.withResolvers<PipeMessage>();
    waiting.push({ wants, done: resolve });
    return promise;
  };
  const write = (bytes: Uint8Array) => writer.write(bytes);
  const send = (message: object | string) =>
    write(new TextEncoder().encode(`${typeof message === "string" ? message : JSON.stringify(message)}\n`));
  let id = 0;
  return {
    /** As they were written, and what they say. */
    lines,
    messages,
    write,
    send,
    until,
    async ask(method: string, params: object = {}): Promise<PipeMessage> {
      id += 1;
      const mine = id;
      await send({ jsonrpc: "2.0", id: mine, method, params });
      return until((message) => message.id === mine && message.method === undefined);
    },
    /** The app closes its end. */
    async end(): Promise<Said> {
      await writer.close();
      return ended;
    },
    /** The app wants it gone, its end still open. */
    terminate(): Promise<Said> {
      signal("SIGTERM");
      return ended;
    },
  };
}

export const toolNames = ({ result }: PipeMessage): string[] => (result?.tools ?? []).map(({ name }) => name);

const textOf = ({ result }: PipeMessage): string => result?.content?.[0]?.text ?? "";

/** Where the tool `sign_in` sends somebody. */
export const linkIn = (message: PipeMessage): string => /https?:\S+/.exec(textOf(message))?.[0] ?? "";

export const legacyHello = {
  protocolVersion: "2025-11-25",
  capabilities: {},
  clientInfo: { name: "app", version: "1" },
};
export const modernMeta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "app", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

/** Polls as fast as it may without holding up the test. */
export const briefly = () => Bun.sleep(20);

/** Somebody opens the link, and lets the app do this much. */
export async function enterCode(person: Person, link: string, scopes: readonly string[]): Promise<void> {
  const userCode = new URL(link).searchParams.get("user_code") ?? "";
  const page = await (
    await person.fetch("/device", { method: "POST", body: new URLSearchParams({ user_code: userCode }) })
  ).text();
  const ticket = /name="ticket" value="([^"]+)"/.exec(page)?.[1] ?? "";
  const body = new URLSearchParams({ ticket, decision: "allow" });
  for (const scope of scopes) body.append("scope", scope);
  expect((await person.fetch("/device", { method: "POST", body })).status).toBe(200);
}
