/**
 * What the gateway costs on the LLM plane, held against yardsticks of the same run: a bare passthrough of the same
 * runtime and, where it is installed, nginx. Absolute times of one machine mean nothing on another; the ratios do.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIfChanged } from "../build.ts";
import { type Gateway, run, serve, tokenOf } from "../gateway.ts";
import { atMost, type Figure } from "./figures.ts";
import type { Load, Result } from "./load.ts";

const connections = 64;

type Target = { name: string; url: string; pid: number; token: string };
type Measured = Result & { cpuMicros: number };

export async function llm(seconds: number, say: (words: string) => void): Promise<Figure[]> {
  await buildIfChanged();
  const dir = mkdtempSync(join(tmpdir(), "specgate-bench-"));
  const started: { kill(signal?: NodeJS.Signals): void }[] = [];
  let gateway: Gateway | undefined;
  try {
    const upstream = await startScript("upstream.ts", [], started);
    const bare = await startScript("bare.ts", [`http://127.0.0.1:${upstream.port}`], started);
    const opened = await openGateway(dir, upstream.port, say);
    gateway = opened.gateway;
    const targets: Target[] = [
      { name: "bare", url: `http://127.0.0.1:${bare.port}`, pid: bare.pid, token: "none" },
      { name: "gateway", url: gateway.url, pid: gateway.pid, token: opened.token },
    ];
    const nginx = await startNginx(dir, upstream.port, started);
    if (nginx !== null) targets.push({ name: "nginx", ...nginx, token: "none" });
    const direct = {
      name: "direct",
      url: `http://127.0.0.1:${upstream.port}`,
      pid: upstream.pid,
      token: "none",
    };

    const figures = [...opened.figures, ...memoryFigures("idle", gateway.pid)];
    // First, while no earlier load is still on its way into the database.
    say("paced streams");
    figures.push(...(await latency(direct, targets, seconds)));
    say("non-stream chat");
    figures.push(
      ...(await throughput("non-stream chat", "bench-json", '"total_tokens"', 2.0, targets, seconds)),
    );
    say("32-chunk streams");
    figures.push(...(await throughput("32-chunk stream", "bench-stream", "[DONE]", 2.5, targets, seconds)));
    figures.push(...memoryFigures("after", gateway.pid));
    return figures;
  } finally {
    await gateway?.stop("SIGTERM");
    for (const child of started) child.kill();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** First and second start, and a client's token. */
async function openGateway(
  dir: string,
  upstreamPort: number,
  say: (words: string) => void,
): Promise<{ gateway: Gateway; token: string; figures: Figure[] }> {
  const dataDir = join(dir, "specgate-data");
  writeFileSync(join(dir, "specgate.yaml"), limitless);
  const env = {
    OPENAI_API_KEY: "sk-bench",
    OPENAI_BASE_URL: `http://127.0.0.1:${upstreamPort}/v1`,
    SPECGATE_LOG_LEVEL: "warn",
  };
  const surroundings = { cwd: dir, env };
  say("first start");
  const first = await serve(["--data-dir", dataDir], surroundings);
  const words = ["client", "create", "--name", "bench", "--kind", "service", "--scope", "llm:chat"];
  const created = await run([...words, "--json", "--data-dir", dataDir], surroundings);
  if (created.code !== 0) throw new Error(`client create: ${created.stdout}${created.stderr}`);
  await first.stop();
  say("second start");
  const gateway = await serve(["--data-dir", dataDir], surroundings);
  const client = JSON.parse(created.stdout) as { client_id: string; client_secret: string };
  const token = await tokenOf(gateway, client, { ttl_seconds: "3600" });
  const figures = [
    atMost("first start to ready", first.readyMs, 3_000, "ms"),
    atMost("second start to ready", gateway.readyMs, 600, "ms"),
  ];
  return { gateway, token, figures };
}

const limitless = `limits:
  llm: { requests_per_minute: 100000000, streams_per_token: 100000, streams_max: 100000 }
`;

async function throughput(
  work: string,
  model: string,
  ending: string,
  ratioMax: number,
  targets: Target[],
  seconds: number,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  let floor = 0;
  for (const target of targets) {
    const measured = await press(target, loadOf(target, model, ending, seconds));
    if (target.name === "bare") floor = measured.cpuMicros;
    const name = `${work}, ${target.name}`;
    figures.push({ name: `${name}: rate`, value: measured.requests / measured.seconds, unit: "/s" });
    figures.push({ name: `${name}: CPU each`, value: measured.cpuMicros, unit: "µs" });
    if (target.name !== "gateway") continue;
    figures.push(atMost(`${name}: CPU over bare`, measured.cpuMicros / floor, ratioMax, "×"));
    figures.push(atMost(`${name}: errors`, measured.errors, 0, "", measured.complaint));
  }
  return figures;
}

async function latency(direct: Target, targets: Target[], seconds: number): Promise<Figure[]> {
  const base = await press(direct, loadOf(direct, "bench-paced", "[DONE]", seconds));
  const figures: Figure[] = [];
  for (const target of targets) {
    const measured = await press(target, loadOf(target, "bench-paced", "[DONE]", seconds));
    const name = `${connections} paced streams, ${target.name}`;
    const bar = target.name === "gateway";
    const added: [string, number, number][] = [
      ["first byte added, p50", measured.first.p50 - base.first.p50, 0.5],
      ["first byte added, p99", measured.first.p99 - base.first.p99, 5],
      ["last byte added, p99", measured.last.p99 - base.last.p99, 5],
    ];
    for (const [what, value, max] of added) {
      const words = `${name}: ${what}`;
      figures.push(bar ? atMost(words, value, max, "ms") : { name: words, value, unit: "ms" });
    }
    if (bar) figures.push(atMost(`${name}: errors`, measured.errors, 0, "", measured.complaint));
  }
  return figures;
}

function loadOf(target: Target, model: string, ending: string, seconds: number): Load {
  // Asked for by everyone, or the gateway alone would get a chunk more, 10 ms after the others' last one.
  const stream = model === "bench-json" ? {} : { stream: true, stream_options: { include_usage: true } };
  const messages = [{ role: "user", content: "Say thirty-two words about gateways, please." }];
  return {
    url: `${target.url}/v1/chat/completions`,
    token: target.token,
    body: JSON.stringify({ model: `openai/${model}`, messages, ...stream }),
    connections,
    warmupSeconds: Math.max(2, seconds / 4),
    seconds,
    ending,
  };
}

/** CPU is that of the target's own process with all its threads, not of its children. */
async function press(target: Target, load: Load): Promise<Measured> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "load.ts"), JSON.stringify(load)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  let before = 0;
  let text = "";
  for await (const bytes of child.stdout) {
    text += new TextDecoder().decode(bytes);
    if (before === 0 && text.startsWith("go\n")) before = cpuMicros(target.pid);
  }
  const spent = cpuMicros(target.pid) - before;
  const result = JSON.parse(text.slice("go\n".length)) as Result;
  return { ...result, cpuMicros: spent / Math.max(1, result.requests) };
}

function cpuMicros(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name in parentheses may hold spaces; utime and stime are the 14th and 15th field of all.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function memoryFigures(when: string, pid: number): Figure[] {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mb = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]) / 1024;
  const rss = `gateway memory, ${when}: RSS`;
  return [
    when === "idle" ? atMost(rss, mb("Rss"), 120, "MB") : { name: rss, value: mb("Rss"), unit: "MB" },
    { name: `gateway memory, ${when}: PSS`, value: mb("Pss"), unit: "MB" },
  ];
}

type Started = { port: number; pid: number };

async function startScript(name: string, args: string[], started: { kill(): void }[]): Promise<Started> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, name), ...args], {
    stdout: "pipe",
    stderr: "inherit",
  });
  started.push(child);
  const { value } = await child.stdout.getReader().read();
  return { port: Number(new TextDecoder().decode(value)), pid: child.pid };
}

/** One worker, so that its CPU is that of one process too. */
async function startNginx(
  dir: string,
  upstreamPort: number,
  started: { kill(signal?: NodeJS.Signals): void }[],
): Promise<{ url: string; pid: number } | null> {
  const nginx = Bun.which("nginx", { PATH: `${process.env.PATH}:/usr/sbin` });
  if (nginx === null) return null;
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  mkdirSync(join(dir, "nginx"));
  const conf = join(dir, "nginx", "nginx.conf");
  writeFileSync(conf, nginxConf(dir, port, upstreamPort));
  const child = Bun.spawn([nginx, "-c", conf, "-p", join(dir, "nginx")], {
    stdout: "ignore",
    stderr: "ignore",
  });
  started.push(child);
  await Bun.sleep(300);
  return { url: `http://127.0.0.1:${port}`, pid: child.pid };
}

const nginxConf = (dir: string, port: number, upstreamPort: number): string => `daemon off;
master_process off;
pid ${dir}/nginx/pid;
error_log /dev/null;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${dir}/nginx/body;
  upstream provider { server 127.0.0.1:${upstreamPort}; keepalive 128; }
  server {
    listen 127.0.0.1:${port};
    keepalive_requests 1000000;
    location / {
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
`;
