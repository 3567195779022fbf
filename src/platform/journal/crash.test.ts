import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { silentLog } from "../log.ts";
import { bytesOf, type Frame, frameType, jsonIn, keyIn, paddedLength, readFrame, seedOf } from "./frame.ts";
import { openJournal } from "./journal.ts";
import { recoverJournal } from "./recovery.ts";
import { listSegments, segmentHeadBytes } from "./segment.ts";

const instance = "3f0e8a52-7b0c-4d49-8f0f-6f4f0f1f2f3a";
const segmentBytes = 48 * 1024;

type Step = { what: "start" | "end" | "note"; key: number; bytes: number; wait: boolean };
type Harm = { at: number; kind: "cut" | "flip" | "zero" | "litter"; length: number };
type Placed = {
  file: string;
  at: number;
  type: number;
  lsn: number;
  durable: number;
  key: string;
  json: string;
  size: number;
};

const step = fc.record({
  what: fc.constantFrom("start", "start", "end", "note"),
  key: fc.nat(30),
  bytes: fc.nat(1800),
  wait: fc.boolean(),
}) as fc.Arbitrary<Step>;
const harm = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  kind: fc.constantFrom("cut", "flip", "zero", "litter"),
  length: fc.integer({ min: 1, max: 3000 }),
}) as fc.Arbitrary<Harm>;

test("whatever is damaged, recovery invents no record and loses none that is sound", async () => {
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 1, maxLength: 150 }),
    fc.array(harm, { minLength: 8, maxLength: 16 }),
    async (steps, harms) => {
      const dir = mkdtempSync(join(tmpdir(), "journal-crash-"));
      try {
        await write(dir, steps);
        for (const one of harms) await checkHarmed(dir, one);
      } finally {
        rmSync(dir, { recursive: true });
      }
    },
  );
  await fc.assert(property, { numRuns: 25, seed: 20_261_101 });
}, 20_000);

async function write(dir: string, steps: Step[]): Promise<void> {
  const journal = await openJournal({
    dir,
    instance,
    epoch: 1,
    bootId: "boot",
    log: silentLog,
    segmentBytes,
  });
  const open = new Set<string>();
  let count = 0;
  for (const { what, key: number, bytes, wait } of steps) {
    const key = `key-${number}/1`;
    while (journal.status().freeBytes < 2 * segmentBytes) await Bun.sleep(1);
    const json = JSON.stringify({
      count: count++,
      text: "✓".repeat(Math.floor(bytes / (what === "end" ? 6 : 3))),
    });
    const ticket =
      what === "note" || (what === "start" && open.has(key))
        ? journal.note(json)
        : what === "start"
          ? journal.start(key, json)
          : journal.end(key, json);
    if (what === "start") open.add(key);
    if (what === "end") open.delete(key);
    if (wait) await ticket.durable;
  }
  await journal.close();
}

/** Damages one file, compares what is recovered with every frame that was not touched, and mends the file. */
async function checkHarmed(dir: string, { at: share, kind, length }: Harm): Promise<void> {
  const placed = listSegments(dir).flatMap(({ file, n }) => framesOf(dir, file, n));
  const files = [...new Set(placed.map((frame) => frame.file))];
  const file = files[Math.floor(share * files.length)] ?? "";
  const path = join(dir, file);
  const whole = readFileSync(path);
  const used = Math.max(...placed.filter((one) => one.file === file).map((one) => one.at + one.size));
  // Mostly among the frames, sometimes in the head or the zeros behind.
  const at = Math.floor(((share * 7919) % 1) * Math.min(whole.length, used + 2048));
  const [from, to] = damage(path, whole, at, kind, length);
  const sound = placed.filter((one) => one.file !== file || one.at + one.size <= from || one.at >= to);
  const recovered = await recoverJournal(dir, instance);
  const records = sound.filter((one) => one.type !== frameType.checkpoint);
  expect((await recovered.read(1, 0, 10_000)).records).toEqual(records.map((one) => one.json));
  expect(new Map(recovered.open.map((one) => [one.key, one.json]))).toEqual(openAfter(sound));
  const durable = Math.max(0, ...sound.map((one) => one.durable));
  const lost = placed.filter((one) => !sound.includes(one));
  if (lost.some((one) => one.lsn <= durable))
    expect(recovered.corrupt.map((one) => one.kind)).toContain("hole");
  if (from > segmentHeadBytes && lost.every((one) => one.lsn > durable))
    expect(recovered.corrupt.map((one) => one.kind)).not.toContain("hole");
  writeFileSync(path, whole);
  rmSync(`${path}.corrupt`, { force: true });
}

function damage(
  path: string,
  whole: Buffer,
  at: number,
  kind: Harm["kind"],
  length: number,
): [number, number] {
  if (kind === "cut") {
    writeFileSync(path, whole.subarray(0, at));
    return [at, whole.length];
  }
  const harmed = Buffer.from(whole);
  const to = Math.min(whole.length, at + (kind === "flip" ? 1 : length));
  if (kind === "flip") harmed[at] = (harmed[at] ?? 0) ^ (1 << (length % 8));
  else for (let i = at; i < to; i++) harmed[i] = kind === "zero" ? 0 : (i * 2_654_435_761) >>> 13;
  writeFileSync(path, harmed);
  return [at, to];
}

function framesOf(dir: string, file: string, n: number): Placed[] {
  const bytes = bytesOf(readFileSync(join(dir, file)));
  const seed = seedOf(instance, 1, n);
  const frames: Placed[] = [];
  for (let at = segmentHeadBytes, frame: Frame | undefined; ; at = paddedLength(frame.end)) {
    frame = readFrame(bytes, at, seed);
    if (frame === undefined) return frames;
    const { type, lsn, durable } = frame;
    const [key, json] = [keyIn(bytes.buffer, frame), jsonIn(bytes.buffer, frame)];
    // Without its padding, which nothing depends on.
    frames.push({ file, at, type, lsn, durable, key, json, size: frame.end - at });
  }
}

function openAfter(frames: Placed[]): Map<string, string> {
  const open = new Map<string, string>();
  for (const { type, key, json } of frames) {
    if (type === frameType.end) open.delete(key);
    if (type === frameType.start || type === frameType.checkpoint) open.set(key, json);
  }
  return open;
}

test("a gateway killed in mid-write loses nothing that was written, and finds its open keys", async () => {
  const dir = mkdtempSync(join(tmpdir(), "journal-kill-"));
  const random = seeded(7);
  try {
    for (let epoch = 1; epoch <= 15; epoch++) {
      const acknowledged = await runAndKill(dir, epoch, 5 + Math.floor(random() * 120));
      const recovered = await recoverJournal(dir, instance);
      expect(recovered.corrupt.filter((one) => one.kind === "hole")).toEqual([]);
      const { records } = await recovered.read(epoch, 0, 1_000_000);
      const there = new Set(records.map((json) => (JSON.parse(json) as { id: string }).id));
      expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
      const ended = new Set([...there].filter((id) => id.endsWith("e")).map((id) => id.slice(0, -1)));
      const open = [...there].filter((id) => id.endsWith("s") && !ended.has(id.slice(0, -1)));
      const found = recovered.open.filter((one) => one.epoch === epoch);
      expect(found.map((one) => (JSON.parse(one.json) as { id: string }).id).sort()).toEqual(open.sort());
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
}, 30_000);

/** Says each record's id as soon as it is written or durable; killed some time after its first word. */
const victim = (dir: string, epoch: number) => `
  import { writeSync } from "node:fs";
  import { openJournal } from ${JSON.stringify(join(import.meta.dir, "journal.ts"))};
  import { silentLog } from ${JSON.stringify(join(import.meta.dir, "../log.ts"))};
  const journal = await openJournal({ dir: ${JSON.stringify(dir)}, instance: "${instance}", epoch: ${epoch},
    bootId: "boot", log: { ...silentLog, error: (event) => console.error(event) }, segmentBytes: 256 * 1024 });
  const put = (id, ticket) => ticket[id.length % 2 ? "written" : "durable"].then(() => { writeSync(1, id + "\\n"); });
  const text = "x".repeat(900);
  for (let caller = 0; caller < 24; caller++)
    (async () => {
      for (let i = 0; ; i++) {
        const id = caller + "." + i;
        try {
          await put(id + "s", journal.start(id, JSON.stringify({ id: id + "s", text: text.slice(i % 800) })));
          await put(id + "e", journal.end(id, JSON.stringify({ id: id + "e" })));
        } catch { await Bun.sleep(1); }
      }
    })();
`;

async function runAndKill(dir: string, epoch: number, afterMs: number): Promise<string[]> {
  const child = Bun.spawn([process.execPath, "-e", victim(dir, epoch)], {
    stdout: "pipe",
    stderr: "pipe",
  });
  let said = "";
  let due = false;
  for await (const bytes of child.stdout) {
    said += new TextDecoder().decode(bytes);
    if (!due) setTimeout(() => child.kill("SIGKILL"), afterMs);
    due = true;
  }
  await child.exited;
  expect(await child.stderr.text()).toBe("");
  return said.split("\n").slice(0, -1);
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
