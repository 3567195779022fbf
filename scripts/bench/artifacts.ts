/**
 * Artifacts: how many URLs are signed in a second, by the stores alone and over HTTP with everything that belongs to it;
 * how fast 100 MB go in and out of the local store, and what the gateway's memory makes of them; and what a gateway costs
 * that does nothing, with each store.
 *
 * Signing needs no server, so S3's is measured with credentials of nobody; the gateway's own start with S3 is measured
 * where Ceph is installed.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDisk } from "../../src/features/artifacts/disk.ts";
import type { ObjectStore } from "../../src/features/artifacts/object-store.ts";
import { createS3Store } from "../../src/features/artifacts/s3.ts";
import { Secret } from "../../src/platform/secret.ts";
import { buildIfChanged } from "../build.ts";
import { type Gateway, serve } from "../gateway.ts";
import { openStores, Shelf, type Store, send } from "../smoke/artifacts-shelf.ts";
import { startChecks } from "../smoke/checks.ts";
import { atMost, type Figure } from "./figures.ts";

type Say = (words: string) => void;

const large = 100_000_000;
/** As many callers wait for an answer at any moment. */
const callers = 16;
/** 3,000 a second. */
const signMicrosecondsMax = 1_000_000 / 3_000;

export async function artifacts(seconds: number, say: Say): Promise<Figure[]> {
  await buildIfChanged();
  const figures = await alone(seconds, say);
  const stores = await openStores(startChecks().check);
  try {
    for (const store of stores) figures.push(...(await withGateway(store, seconds, say)));
  } finally {
    for (const { bucket } of stores) await bucket?.server.close();
  }
  return figures;
}

async function alone(seconds: number, say: Say): Promise<Figure[]> {
  const nobody = {
    accessKeyId: new Secret("AKIA0000000000000000"),
    secretAccessKey: new Secret("x".repeat(40)),
  };
  const bucket = { endpoint: "https://s3.example.com", bucket: "bench", region: "auto", ...nobody };
  const publicUrl = () => "https://specgate.example.com";
  const stores: [string, ObjectStore][] = [
    [
      "local",
      createDisk({ place: "local", root: join(tmpdir(), "nothing"), key: new Uint8Array(32), publicUrl }),
    ],
    ["s3", createS3Store(bucket)],
  ];
  const figures: Figure[] = [];
  for (const [name, store] of stores) {
    const put = await signing(seconds, (key) =>
      store.presignPut({
        key,
        contentType: "application/zip",
        sizeBytes: 1_000,
        sha256: "ab".repeat(32),
        ttlSeconds: 600,
      }),
    );
    const get = await signing(seconds, (key) =>
      store.presignGet({ key, contentType: "application/zip", name: "รายงาน.zip", ttlSeconds: 300 }),
    );
    figures.push(rate(`sign a PUT, ${name} alone`, put), rate(`sign a GET, ${name} alone`, get));
    await store.close();
    say(`${name} signs alone`);
  }
  return figures;
}

/** Microseconds for one. */
async function signing(seconds: number, sign: (key: string) => Promise<unknown>): Promise<number> {
  for (let at = 0; at < 200; at++) await sign(keyOf(at));
  const from = performance.now();
  let signed = 0;
  for (; performance.now() - from < seconds * 1_000; signed++) await sign(keyOf(signed));
  return ((performance.now() - from) * 1_000) / signed;
}

const keyOf = (at: number): string => `projects/prj_0/sessions/ses_0/iterations/0/art_${at}/build.zip`;

const rate = (name: string, microseconds: number): Figure =>
  atMost(name, microseconds, signMicrosecondsMax, "µs", `${Math.round(1_000_000 / microseconds)} a second`);

async function withGateway(store: Store, seconds: number, say: Say): Promise<Figure[]> {
  const { name } = store;
  const cwd = mkdtempSync(join(tmpdir(), "specgate-bench-"));
  // PostgreSQL runs under another uid when this is root, and has to pass through.
  chmodSync(cwd, 0o755);
  writeFileSync(join(cwd, "specgate.yaml"), "limits: { control: { requests_per_minute: null } }\n");
  const surroundings = { cwd, env: { ...store.env, SPECGATE_LOG_LEVEL: "error" } };
  let gateway: Gateway | undefined;
  try {
    await (await serve([], surroundings)).stop();
    gateway = await serve([], surroundings);
    await Bun.sleep(2_000);
    const idle = [
      { name: `second start, ${name}`, value: gateway.readyMs, unit: "ms" },
      { name: `memory of an idle gateway, ${name}`, value: residentMb(gateway), unit: "MB" },
    ];
    const shelf = await Shelf.open(gateway, surroundings);
    const first = await firstSignature(shelf, name);
    const figures = [...idle, first, ...(await overHttp(shelf, name, seconds))];
    say(`${name} signs over HTTP`);
    return store.bucket === null ? [...figures, ...(await throughDisk(shelf, say))] : figures;
  } finally {
    await gateway?.stop();
    rmSync(cwd, { recursive: true, force: true });
  }
}

/** With S3, whoever comes first waits for what is loaded for it. */
async function firstSignature(shelf: Shelf, store: string): Promise<Figure> {
  const from = performance.now();
  await shelf.announced({ name: "first.bin", type, bytes: new Uint8Array(1) });
  return { name: `the first announcement, ${store}`, value: performance.now() - from, unit: "ms" };
}

async function overHttp(shelf: Shelf, name: string, seconds: number): Promise<Figure[]> {
  const kept = await shelf.kept({ name: "small.bin", type, bytes: new Uint8Array(1_000) });
  const bytes = new Uint8Array(1_000);
  const announce = await asked(
    seconds,
    async () => void (await shelf.announced({ name: "a.bin", type, bytes })),
  );
  const download = await asked(seconds, () => must(shelf.ask("GET", `/artifacts/${kept.id}/download`)));
  const list = await asked(seconds, () =>
    must(shelf.ask("GET", `/sessions/${shelf.sessionId}/artifacts?limit=50`)),
  );
  const note = ({ perSecond, p99 }: Asked) =>
    `p99 ${p99.toFixed(1)} ms with ${callers} callers; ${perSecond} a second`;
  return [
    { name: `POST artifacts, ${name}`, value: announce.perSecond, unit: "/s", note: note(announce) },
    { name: `GET download, ${name}`, value: download.perSecond, unit: "/s", note: note(download) },
    { name: `GET a page of 50, ${name}`, value: list.perSecond, unit: "/s", note: note(list) },
  ];
}

type Asked = { perSecond: number; p99: number };

async function asked(seconds: number, ask: () => Promise<void>): Promise<Asked> {
  const times: number[] = [];
  const from = performance.now();
  const caller = async () => {
    while (performance.now() - from < seconds * 1_000) {
      const at = performance.now();
      await ask();
      times.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const took = (performance.now() - from) / 1_000;
  const p99 = times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Number.NaN;
  return { perSecond: Math.round(times.length / took), p99 };
}

async function must(answer: Promise<{ status: number }>): Promise<void> {
  const { status } = await answer;
  if (status !== 200) throw new Error(`answered ${status}`);
}

/** Three times each, the best of them; memory is the most that was seen above what it was before. */
async function throughDisk(shelf: Shelf, say: Say): Promise<Figure[]> {
  const bytes = new Uint8Array(large).fill(7);
  const before = residentMb(shelf.gateway);
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, residentMb(shelf.gateway));
  }, 20);
  const [up, down]: [number[], number[]] = [[], []];
  try {
    for (let round = 0; round < 3; round++) {
      const { artifact, upload } = await shelf.announced({ name: "large.bin", type, bytes });
      up.push(await timed(async () => void (await send(upload, bytes))));
      await shelf.complete(artifact.id);
      down.push(await timed(async () => void (await shelf.fetched(artifact.id))));
    }
  } finally {
    clearInterval(watch);
  }
  say("100 MB went in and out three times");
  const speed = (times: number[]): number => large / 1_000 / Math.min(...times);
  return [
    { name: "upload of 100 MB, local", value: speed(up), unit: "MB/s" },
    { name: "download of 100 MB, local", value: speed(down), unit: "MB/s" },
    atMost("memory above idle meanwhile, local", most - before, 64, "MB", `${before.toFixed(0)} MB before`),
  ];
}

async function timed(work: () => Promise<void>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

/** Of the gateway itself; PostgreSQL's is its own. */
function residentMb({ pid }: Gateway): number {
  const [, kilobytes = "0"] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) / 1_024;
}

const type = "application/octet-stream";
