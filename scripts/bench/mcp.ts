/**
 * The MCP door under load: calls of the gateway's own tools and of other servers' behind it, and the memory that many of
 * them leave behind.
 *
 * The compiled binary with its embedded PostgreSQL, its journal on the disk and no limits; 32 keep-alive connections that
 * speak 2026-07-28. The bar for own tools stands at `whoami`, which asks no table: what `task_get` takes beside it is the
 * database's, which shares the machine with all of this.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIfChanged } from "../build.ts";
import { type Gateway, run, type Surroundings, serve, tokenOf } from "../gateway.ts";
import { atLeast, atMost, type Figure } from "./figures.ts";
import type { Load, Result } from "./load.ts";

type Say = (words: string) => void;
type Answer = {
  error?: unknown;
  result?: { isError?: boolean; structuredContent?: Record<string, unknown> };
};

const connections = 32;
const ownMin = 3_000;
const federatedMin = 1_500;
const memoryMb = 150;
/** As many calls as the bar on memory speaks of, at the usual length. */
const callsPerSecond = 25_000;
const callsMax = 200_000;
/** For the collector, which does not come while every millisecond is asked for. */
const restMs = 15_000;

const version = "2026-07-28";
const envelope = {
  "io.modelcontextprotocol/protocolVersion": version,
  "io.modelcontextprotocol/clientInfo": { name: "bench", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

export async function mcp(seconds: number, say: Say): Promise<Figure[]> {
  await buildIfChanged();
  const dir = mkdtempSync(join(tmpdir(), "specgate-bench-"));
  // PostgreSQL runs under another uid when this is root, and has to pass through.
  chmodSync(dir, 0o755);
  const upstream = Bun.spawn([process.execPath, join(import.meta.dir, "mcp-upstream.ts")], {
    stdout: "pipe",
    stderr: "inherit",
  });
  let gateway: Gateway | undefined;
  try {
    const { value: port } = await upstream.stdout.getReader().read();
    const beyond = `http://127.0.0.1:${new TextDecoder().decode(port).trim()}`;
    writeFileSync(join(dir, "specgate.yaml"), yamlOf(beyond));
    const surroundings = { cwd: dir, env: { SPECGATE_LOG_LEVEL: "warn" } };
    gateway = await serve([], surroundings);
    const door = await Door.open(gateway, surroundings);
    return [await yardstick(beyond, seconds, say), ...(await door.measure(seconds, say))];
  } finally {
    await gateway?.stop("SIGTERM");
    upstream.kill();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What this machine does in the same minutes when nothing stands between: rates of one machine mean little on another. */
async function yardstick(beyond: string, seconds: number, say: Say): Promise<Figure> {
  say("the server behind, asked directly");
  const load = { ...loadOf("echo", { text: "hello" }, seconds), url: `${beyond}/modern`, token: "none" };
  const { requests, seconds: took } = await press({ ...load, ending: "}}" });
  const name = `the server behind, asked directly, ${connections} connections`;
  return { name, value: requests / took, unit: "/s" };
}

const yamlOf = (beyond: string): string => `
limits: { mcp: { requests_per_minute: null } }
mcp:
  upstreams:
    new: { url: "${beyond}/modern", allow_private_network: true, pin: first_use, calls_max: 64 }
    old: { url: "${beyond}/legacy", allow_private_network: true, pin: first_use, calls_max: 64 }
`;

class Door {
  #calls = 0;

  private constructor(
    private readonly gateway: Gateway,
    private readonly token: string,
    private readonly taskId: string,
  ) {}

  static async open(gateway: Gateway, surroundings: Surroundings): Promise<Door> {
    const local = async (...args: string[]) =>
      JSON.parse((await run([...args, "--json"], surroundings)).stdout);
    const project = await local("project", "create", "Bench");
    const kind = ["--kind", "runner", "--project", project.id, "--scope", "mcp:read mcp:write"];
    const client = await local("client", "create", "--name", "bench", ...kind);
    const token = await tokenOf(gateway, client, { ttl_seconds: "3600" });
    const opening = new Door(gateway, token, "");
    const session = await opening.#ask("session_start", { project_id: project.id, title: "bench" });
    const tasks = [{ title: "Validate the card payment form", originating_spec: "SSP-BENCH-001" }];
    const { data } = await opening.#ask("task_upsert", { session_id: session.id, tasks });
    const [task] = data as { id: string }[];
    return new Door(gateway, token, task?.id ?? "");
  }

  async measure(seconds: number, say: Say): Promise<Figure[]> {
    const figures: Figure[] = [{ name: "memory at first: RSS", value: this.#rssMb(), unit: "MB" }];
    figures.push(...(await this.#press("whoami", {}, ownMin, seconds, say)));
    figures.push(...(await this.#press("task_get", { task_id: this.taskId }, null, seconds, say)));
    for (const tool of ["new__echo", "old__echo"]) {
      if (await this.#isThere(tool))
        figures.push(...(await this.#press(tool, { text: "hello" }, federatedMin, seconds, say)));
      else figures.push(atMost(`tools/call ${tool}: not offered`, 1, 0, ""));
    }
    const wanted = Math.min(callsMax, callsPerSecond * seconds);
    while (this.#calls < wanted) {
      say(`${this.#calls} of ${wanted} calls, ${this.#rssMb().toFixed(0)} MB`);
      await this.#load("whoami", {}, Math.min(seconds, 10));
    }
    const name = `memory after ${this.#calls} calls`;
    figures.push({ name: `${name}, at once: RSS`, value: this.#rssMb(), unit: "MB" });
    await Bun.sleep(restMs);
    const note = "of the gateway alone, PostgreSQL not counted";
    const rested = `${name}, ${restMs / 1_000} s later: RSS`;
    return [...figures, atMost(rested, this.#rssMb(), memoryMb, "MB", note)];
  }

  async #press(
    tool: string,
    args: Record<string, unknown>,
    perSecondMin: number | null,
    seconds: number,
    say: Say,
  ): Promise<Figure[]> {
    say(tool);
    const before = cpuMicros(this.gateway.pid);
    const { requests, errors, complaint, seconds: took, last } = await this.#load(tool, args, seconds);
    const cpu = (cpuMicros(this.gateway.pid) - before) / Math.max(1, requests);
    const name = `tools/call ${tool}, ${connections} connections`;
    const rate = requests / took;
    const note = `p50 ${last.p50.toFixed(1)} ms, p99 ${last.p99.toFixed(1)} ms, CPU ${cpu.toFixed(0)} µs each with the warm-up`;
    return [
      perSecondMin === null
        ? { name, value: rate, unit: "/s", note }
        : atLeast(name, rate, perSecondMin, "/s", note),
      atMost(`${name}: errors`, errors, 0, "", complaint),
    ];
  }

  /** An answer ends as the first one did, which was no refusal. */
  async #load(tool: string, args: Record<string, unknown>, seconds: number): Promise<Result> {
    const text = await this.#send(tool, args);
    const load = loadOf(tool, args, seconds);
    const { url } = this.gateway;
    const result = await press({ ...load, url: `${url}/mcp`, token: this.token, ending: text.slice(-24) });
    // What the warm-up asked is not told.
    this.#calls += Math.round(result.requests * (1 + load.warmupSeconds / seconds));
    await this.#send(tool, args);
    return result;
  }

  async #isThere(tool: string): Promise<boolean> {
    for (let tries = 0; tries < 20; tries++) {
      const sent = await this.#send(tool, {}).catch(() => null);
      if (sent !== null) return true;
      await Bun.sleep(250);
    }
    return false;
  }

  async #ask(tool: string, args: Record<string, unknown>): Promise<Record<string, unknown>> {
    return (JSON.parse(await this.#send(tool, args)) as Answer).result?.structuredContent ?? {};
  }

  /** The answer's text; throws when it is a refusal of any kind. */
  async #send(tool: string, args: Record<string, unknown>): Promise<string> {
    const { headers, body } = messageOf(tool, args);
    const response = await fetch(`${this.gateway.url}/mcp`, {
      method: "POST",
      headers: { ...headers, authorization: `Bearer ${this.token}`, "content-type": "application/json" },
      body,
    });
    const text = await response.text();
    const { error, result } = JSON.parse(text) as Answer;
    if (response.ok && error === undefined && result?.isError !== true) return text;
    throw new Error(`${tool} answered ${response.status}: ${text.slice(0, 500)}`);
  }

  #rssMb(): number {
    const text = readFileSync(`/proc/${this.gateway.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1]) / 1024;
  }
}

const loadOf = (tool: string, args: Record<string, unknown>, seconds: number) => ({
  ...messageOf(tool, args),
  connections,
  warmupSeconds: Math.max(1, seconds / 4),
  seconds,
});

async function press(load: Load): Promise<Result> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "load.ts"), JSON.stringify(load)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  return JSON.parse((await child.stdout.text()).slice("go\n".length)) as Result;
}

function messageOf(tool: string, args: Record<string, unknown>) {
  const params = { name: tool, arguments: args, _meta: envelope };
  return {
    headers: {
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": version,
      "mcp-method": "tools/call",
      "mcp-name": tool,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params }),
  };
}

/** Of the process with all its threads, not of PostgreSQL. */
function cpuMicros(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name in parentheses may hold spaces; utime and stime are the 14th and 15th field of all.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}
