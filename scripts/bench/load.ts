/**
 * The load: keep-alive connections on bare sockets, so that the machine's two cores are spent on what is measured.
 *
 * Takes a `Load` as JSON in its one argument; prints `go` when the warm-up is over, then a `Result` as JSON.
 */
import { connect } from "node:net";

export type Load = {
  url: string;
  token: string;
  body: string;
  /** Beside the usual ones, or instead of them. */
  headers?: Record<string, string>;
  connections: number;
  warmupSeconds: number;
  seconds: number;
  /** The last bytes of each answer's body must hold this. */
  ending: string;
};
export type Spread = { p50: number; p99: number };
export type Result = {
  requests: number;
  errors: number;
  seconds: number;
  /** Milliseconds from the request's last byte to the answer's first body byte, and to its end. */
  first: Spread;
  last: Spread;
  /** The first thing that went wrong. */
  complaint: string | null;
};

const load = JSON.parse(process.argv[2] ?? "{}") as Load;
const target = new URL(load.url);
const headers = Object.entries({
  host: target.host,
  authorization: `Bearer ${load.token}`,
  "content-type": "application/json",
  accept: "*/*",
  "content-length": Buffer.byteLength(load.body),
  ...load.headers,
});
const request = Buffer.from(
  `POST ${target.pathname} HTTP/1.1\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${load.body}`,
);

let measuring = false;
let over = false;
let requests = 0;
let errors = 0;
let complaint: string | null = null;
const firsts: number[] = [];
const lasts: number[] = [];

for (let n = 0; n < load.connections; n++) setTimeout(converse, (n * 997) % 500);
await Bun.sleep(load.warmupSeconds * 1_000);
measuring = true;
const from = performance.now();
console.log("go");
await Bun.sleep(load.seconds * 1_000);
over = true;
const seconds = (performance.now() - from) / 1_000;
const result: Result = { requests, errors, seconds, first: spread(firsts), last: spread(lasts), complaint };
console.log(JSON.stringify(result));
process.exit(0);

/** One connection: ask, read the answer to its end, ask again. */
function converse(): void {
  const socket = connect({ port: Number(target.port), host: target.hostname, noDelay: true });
  let sentAt = 0;
  let answer = newAnswer();
  const ask = (): void => {
    answer = newAnswer();
    sentAt = performance.now();
    socket.write(request);
  };
  socket.on("connect", ask);
  socket.on("data", (bytes: Buffer) => {
    const now = performance.now();
    const had = answer.bodyBytes > 0;
    const whole = take(answer, bytes);
    if (measuring && !had && answer.bodyBytes > 0) firsts.push(now - sentAt);
    if (!whole) return;
    note(answer, now - sentAt);
    if (!over) ask();
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    if (over) return;
    fault("the connection was closed");
    setTimeout(converse, 20);
  });
}

type Answer = { head: string | null; seen: Buffer; length: number | null; bodyBytes: number; tail: string };

function newAnswer(): Answer {
  return {
    head: null,
    seen: Buffer.alloc(0),
    length: null,
    bodyBytes: 0,
    tail: "",
  };
}

/** True when the answer is whole. */
function take(answer: Answer, bytes: Buffer): boolean {
  let body = bytes;
  if (answer.head === null) {
    answer.seen = answer.seen.length === 0 ? bytes : Buffer.concat([answer.seen, bytes]);
    const end = answer.seen.indexOf("\r\n\r\n");
    if (end < 0) return false;
    answer.head = answer.seen.toString("latin1", 0, end).toLowerCase();
    const length = /\r\ncontent-length: *(\d+)/.exec(answer.head)?.[1];
    answer.length = length === undefined ? null : Number(length);
    body = answer.seen.subarray(end + 4);
  }
  answer.bodyBytes += body.length;
  answer.tail = (answer.tail + body.toString("latin1", Math.max(0, body.length - 64))).slice(-64);
  return answer.length === null ? answer.tail.endsWith("\r\n0\r\n\r\n") : answer.bodyBytes >= answer.length;
}

function note(answer: Answer, milliseconds: number): void {
  if (!answer.head?.startsWith("http/1.1 200")) fault(`${answer.head?.split("\r\n")[0]} … ${answer.tail}`);
  else if (!answer.tail.includes(load.ending)) fault(`an answer ended in ${JSON.stringify(answer.tail)}`);
  else if (measuring && !over) {
    requests++;
    lasts.push(milliseconds);
  }
}

function fault(words: string): void {
  complaint ??= words;
  errors++;
}

function spread(values: number[]): Spread {
  values.sort((a, b) => a - b);
  const at = (share: number): number => values[Math.floor(values.length * share)] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}
