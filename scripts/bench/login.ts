/**
 * Whether the time that a refused sign-in takes tells who exists: 2,000 of them against the compiled binary, half for a
 * person who is there and half for nobody, in a random order, two under way at any time. Each comes from an address of
 * its own, so that no limit on attempts is met.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIfChanged } from "../build.ts";
import { type Gateway, serve } from "../gateway.ts";
import { atMost, type Figure } from "./figures.ts";

const each = 1_000;
const concurrency = 2;
const email = "known@example.com";

type Kind = "known" | "unknown";
type Times = Record<Kind, number[]>;

/** As many as it takes, however many seconds that is: minutes, for each costs a core for an argon2id hash. */
export async function login(_seconds: number, say: (words: string) => void): Promise<Figure[]> {
  await buildIfChanged();
  const dir = mkdtempSync(join(tmpdir(), "specgate-bench-"));
  let gateway: Gateway | undefined;
  try {
    const passwordFile = join(dir, "password");
    writeFileSync(passwordFile, crypto.randomUUID());
    const env = {
      SPECGATE_ADMIN_EMAIL: email,
      SPECGATE_ADMIN_PASSWORD_FILE: passwordFile,
      SPECGATE_TRUSTED_PROXIES: "127.0.0.1/32",
      SPECGATE_LOG_LEVEL: "warn",
    };
    gateway = await serve(["--data-dir", join(dir, "specgate-data")], { cwd: dir, env });
    // The first sign-in of all also makes the hash that a stranger's password is compared with.
    await attempt(gateway.url, "unknown", 0);
    return figuresOf(await measure(gateway.url, say));
  } finally {
    await gateway?.stop("SIGTERM");
    rmSync(dir, { recursive: true, force: true });
  }
}

async function measure(url: string, say: (words: string) => void): Promise<Times> {
  const order = shuffled([...Array<Kind>(each).fill("known"), ...Array<Kind>(each).fill("unknown")]);
  const times: Times = { known: [], unknown: [] };
  let next = 0;
  const work = async () => {
    while (next < order.length) {
      const number = next++;
      const kind = order[number] as Kind;
      times[kind].push(await attempt(url, kind, number + 1));
      if ((number + 1) % 500 === 0) say(`${number + 1} sign-ins`);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return times;
}

/** Milliseconds until the refusal was read. */
async function attempt(url: string, kind: Kind, number: number): Promise<number> {
  const body = JSON.stringify({
    // As long as the other, so that the bodies are too.
    email: kind === "known" ? email : `n${String(number).padStart(4, "0")}@example.com`,
    password: "a wrong password",
  });
  const address = `198.18.${number >> 8}.${number & 255}`;
  const headers = { "content-type": "application/json", "x-forwarded-for": address };
  const from = performance.now();
  const response = await fetch(`${url}/api/v1/auth/login`, { method: "POST", headers, body });
  const text = await response.text();
  const took = performance.now() - from;
  if (response.status !== 401) throw new Error(`a sign-in was answered ${response.status}: ${text}`);
  return took;
}

function figuresOf({ known, unknown }: Times): Figure[] {
  const [there, nowhere] = [quantile(known, 0.5), quantile(unknown, 0.5)];
  const off = Math.abs(there / nowhere - 1) * 100;
  const z = Math.abs(mannWhitney(known, unknown));
  const note = `p = ${pOf(z).toFixed(3)}, two-sided`;
  const spread = (name: string, values: number[]): Figure[] =>
    [0.05, 0.5, 0.95].map((share) => ({
      name: `refused sign-in, ${name} e-mail: p${share * 100}`,
      value: quantile(values, share),
      unit: "ms",
    }));
  return [
    ...spread("known", known),
    ...spread("unknown", unknown),
    atMost("medians apart", off, 2, "%"),
    // Beyond it chance alone comes once in a thousand runs.
    atMost("Mann-Whitney, |z|", z, 3.29, "", note),
  ];
}

/** The statistic in standard deviations: 0 when neither kind tends to take longer. Ties are too rare to matter. */
function mannWhitney(one: number[], other: number[]): number {
  const all = [
    ...one.map((value) => ({ value, isOne: true })),
    ...other.map((value) => ({ value, isOne: false })),
  ];
  all.sort((a, b) => a.value - b.value);
  const rankSum = all.reduce((sum, { isOne }, index) => (isOne ? sum + index + 1 : sum), 0);
  const [n, m] = [one.length, other.length];
  const u = rankSum - (n * (n + 1)) / 2;
  return (u - (n * m) / 2) / Math.sqrt((n * m * (n + m + 1)) / 12);
}

/** How often chance alone is at least as far off: the normal distribution's tails (Abramowitz and Stegun 26.2.17). */
function pOf(z: number): number {
  const t = 1 / (1 + 0.2316419 * z);
  const powers = [0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429];
  const tail = powers.reduce((sum, factor, index) => sum + factor * t ** (index + 1), 0);
  return Math.min(1, (2 * tail * Math.exp(-(z ** 2) / 2)) / Math.sqrt(2 * Math.PI));
}

function quantile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * share)] ?? 0;
}

function shuffled<Item>(items: Item[]): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other] as Item, items[last] as Item];
  }
  return items;
}
