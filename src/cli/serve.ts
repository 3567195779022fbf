/**
 * `specgate serve`: opens everything, answers, and on SIGTERM lets what is open finish before it closes in reverse order.
 */
import { existsSync } from "node:fs";
import { createApp } from "../app.ts";
import { locateDatabase, migrateDatabase, openForBoot } from "../db/locate.ts";
import type { Addresses } from "../features/tokens/audiences.ts";
import { systemClock } from "../platform/clock.ts";
import type { Config } from "../platform/config.ts";
import { type ConfigFlags, loadConfig } from "../platform/config-load.ts";
import { bootId, openDataDir } from "../platform/data-dir.ts";
import { findHolder, lockDataDir } from "../platform/data-dir-lock.ts";
import { failureResponse } from "../platform/dialects.ts";
import { fleetingDisk } from "../platform/disk.ts";
import { createEdge } from "../platform/edge.ts";
import { asFailure, Failure } from "../platform/failure.ts";
import { newId } from "../platform/ids.ts";
import { createLog, type Log } from "../platform/log.ts";
import { type Parts, wire } from "../wiring.ts";
import { welcomeFirst } from "./first-run.ts";
import { noteConfigFile } from "./noted-config.ts";
import { notePublicUrl } from "./public-url.ts";
import { createReload } from "./reload.ts";
import { type ExitCode, Misuse, type World } from "./world.ts";

const drainMs = 30_000;
const lastBytesMs = 2_000;
/** A local command may hold the data dir for a moment; another gateway holds it for good. */
const lockWaitMs = 10_000;

export async function serve(world: World, flags: ConfigFlags): Promise<ExitCode> {
  const startedAt = performance.now();
  const source = { env: world.env, cwd: world.cwd, flags, terminal: world.isTerminal };
  const loaded = loadConfig(source);
  if (!loaded.ok) throw new Misuse(loaded.mistakes);
  const log = createLog(loaded.config.log);
  for (const warning of loaded.warnings) log.warn(warning);

  const closing: (() => void | Promise<void>)[] = [];
  const close = async () => {
    for (const step of closing.reverse()) await step();
  };
  try {
    const running = await open({ world, flags, config: loaded.config, log, closing });
    log.info("ready", {
      url: running.url,
      version: world.version,
      ms: Math.round(performance.now() - startedAt),
    });
    const code = await untilStopped(running, log);
    await close();
    return code;
  } catch (error) {
    await close().catch((reason: unknown) => log.error("closing failed too", { error: reason }));
    throw error;
  }
}

type Opening = {
  world: World;
  flags: ConfigFlags;
  config: Config;
  log: Log;
  closing: (() => void | Promise<void>)[];
};
type Running = {
  url: string;
  parts: Parts;
  server: Bun.Server<unknown>;
  /** Resolves when somebody asks the gateway to stop. */
  stopped: Promise<void>;
};

async function open({ world, flags, config, log, closing }: Opening): Promise<Running> {
  // Who cannot listen leaves no new data dir behind.
  if (!existsSync(config.dataDir)) await tryPort(config);
  const dir = openDataDir(config.dataDir, { create: true });
  const waitMs = findHolder(dir)?.command === "serve" ? 0 : lockWaitMs;
  const lock = await lockDataDir(dir, { pid: world.host.pid, command: "serve", waitMs });
  closing.push(() => lock.release());

  // Before anything is written: it refuses a data dir of somebody else's.
  const located = await locateDatabase(config, dir, world.host, log);
  closing.push(() => located.stop());
  const boot = { ...dir.nextEpoch(), instance: dir.instance, bootId: bootId(world.host.platform) };
  for (const step of await migrateDatabase(located)) log.info("schema brought up", { step });
  const database = await openForBoot(located, boot);
  closing.push(() => database.close());

  let reconfigured = () => {};
  const reload = createReload(
    config,
    { env: world.env, cwd: world.cwd, flags, terminal: world.isTerminal },
    log,
    (file) => {
      noteConfigFile(dir, file);
      reconfigured();
    },
  );
  closing.push(() => reload.close());
  const addresses = addressesOf(config);
  const parts = await wire({
    config,
    gateway: reload.gateway,
    dir,
    database,
    boot,
    addresses,
    clock: systemClock(),
    log,
    version: world.version,
    residentBytes: world.residentBytes,
    fetchesMax: world.fetchesMax,
    ...(world.mcpExtras === undefined ? {} : { mcpExtras: world.mcpExtras }),
    warnings: () => [...reload.warnings(), ...fetchWarnings(world, config), ...diskWarnings(config)],
  });
  closing.push(() => parts.close());
  reconfigured = () => parts.completions.reconfigured();
  // Before the first call comes: a gateway that is stopped in the middle of its start owes those its drain, too.
  const stopped = Promise.withResolvers<void>();
  const forget = world.onSignal((signal) => (signal === "SIGHUP" ? reload.now() : stopped.resolve()));
  closing.push(forget);
  const server = listen(parts, log);
  closing.push(() => server.stop(true));
  // For commands beside the gateway.
  notePublicUrl(dir, addresses().publicUrl);
  noteConfigFile(dir, config.file);
  const firstRun = await welcomeFirst(world, config, parts, dir);
  closing.push(() => firstRun.stop());
  return { url: addresses().publicUrl, parts, server, stopped: stopped.promise };
}

function planeOf(path: string): "blobs" | "llm" | "mcp" | "control" {
  if (path.startsWith("/blobs/")) return "blobs";
  if (path.startsWith("/v1/")) return "llm";
  return path === "/mcp" ? "mcp" : "control";
}

/** Puts the app behind the edge and both on the network. Port 0 takes any free one. */
export function listen(parts: Parts, log: Log): Bun.Server<unknown> {
  const { config, gateway, addresses } = parts;
  const app = createApp(parts);
  const bodyBytesMax = (path: string): number => {
    const { llm, mcp, control } = gateway().limits;
    const of = { llm: llm.bodyBytesMax, mcp: mcp.bodyBytesMax, control: control.bodyBytesMax };
    const plane = planeOf(path);
    return plane === "blobs" ? gateway().artifacts.sizeBytesMax : of[plane];
  };
  const edge = createEdge(
    {
      allowedHosts: () => [new URL(addresses().publicUrl).host, ...config.allowedHosts],
      publicUrl: () => addresses().publicUrl,
      corsOrigins: config.corsOrigins,
      trustedProxies: config.trustedProxies,
      bodyBytesMax,
      bodyBytesKey: (path) => {
        const plane = planeOf(path);
        return plane === "blobs" ? "artifacts.size_bytes_max" : `limits.${plane}.body_bytes_max`;
      },
      log,
    },
    app.answer,
  );
  return bind({
    hostname: config.host,
    port: config.port,
    idleTimeout: 30,
    // The edge and the readers of bodies keep the caps; Bun's own would answer without a request id, in no dialect.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    development: false,
    // Outside of development Bun would share the port with another gateway, and each would get half of the calls.
    reusePort: false,
    fetch: edge,
    error: lastWord(log),
  });
}

/** Answers for what breaks after the edge has answered, such as a body that cannot be read. Bun's own words have no id. */
export const lastWord =
  (log: Log) =>
  (cause: Error): Response => {
    const id = newId("req");
    log.error("an answer could not be sent", { request_id: id, error: cause });
    return failureResponse(asFailure(cause), "problem", id);
  };

async function tryPort({ host: hostname, port }: Config): Promise<void> {
  await bind({ hostname, port, reusePort: false, fetch: () => new Response() }).stop(true);
}

function bind(options: Bun.Serve.Options<unknown> & { hostname: string; port: number }): Bun.Server<unknown> {
  try {
    return Bun.serve(options);
  } catch (cause) {
    const place = `${options.hostname}:${options.port}`;
    const code = (cause as { code?: unknown }).code;
    if (code === "EADDRINUSE")
      throw notBound("port_in_use", `${place} is already in use. Choose another with --port.`);
    if (code === "EADDRNOTAVAIL")
      throw notBound(
        "host_not_here",
        `${options.hostname} is no address of this machine. Choose one with --host.`,
      );
    if (code === "EACCES")
      throw notBound(
        "port_refused",
        `${place} is refused to this user. Choose a port above 1023 with --port.`,
      );
    throw cause;
  }

  function notBound(code: string, message: string): Failure {
    return new Failure("conflict", code, message);
  }
}

async function untilStopped({ parts, server, stopped }: Running, log: Log): Promise<ExitCode> {
  const fenced = await Promise.race([stopped.then(() => null), parts.fenced]);
  if (fenced !== null) log.error("this gateway stops", { error: fenced.message });
  else log.info("shutting down");
  parts.health.drain();
  // Who listens comes back, elsewhere if there is an elsewhere.
  parts.events.close();
  parts.control.approvals.endWaits();
  const drains = [parts.completions.drain(drainMs), parts.mcp.drain(drainMs), parts.disk?.drain(drainMs)];
  await Promise.all(drains);
  // A call is over for the books a moment before its last byte is out.
  const deadline = performance.now() + lastBytesMs;
  while (server.pendingRequests > 0 && performance.now() < deadline) await Bun.sleep(10);
  return fenced === null ? 0 : 1;
}

function addressesOf(config: Config): () => Addresses {
  const publicUrl = config.publicUrl ?? `http://127.0.0.1:${config.port}`;
  const scheme = new URL(publicUrl).protocol;
  const addresses = { publicUrl, aliases: config.allowedHosts.map((host) => `${scheme}//${host}`) };
  return () => addresses;
}

function diskWarnings({ dataDir, journal }: Config): string[] {
  const kind = journal === "disk" ? fleetingDisk(dataDir) : null;
  if (kind === null) return [];
  return [`the journal is on ${kind}: mount a volume, or set SPECGATE_JOURNAL=database`];
}

function fetchWarnings(world: World, config: Config): string[] {
  const { streamsMax } = config.gateway.limits.llm;
  if (world.fetchesMax > streamsMax) return [];
  return [
    `${world.fetchesMax} provider connections are possible at once, fewer than limits.llm.streams_max (${streamsMax})`,
  ];
}
