import { beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ArtifactView } from "../features/artifacts/contract.ts";
import type { SessionView } from "../features/sessions/contract.ts";
import { type People, startGateway, type TestGateway } from "../testing/gateway.ts";
import { openShell, type Shell } from "../testing/shell.ts";
import { openLine } from "../testing/store-line.ts";

type Line = Awaited<ReturnType<typeof openLine>>;
let gateway: TestGateway;
let people: People;
let line: Line;
let robo: Shell;
let session: string;
beforeAll(async () => {
  gateway = await startGateway();
  people = await gateway.people();
  return () => gateway.close();
});
beforeEach(async () => {
  line = await openLine(gateway.url);
  robo = openShell(line.url, gateway.robo.bearer);
  ({ id: session } = await robo.json<SessionView>("session create Lines"));
  return () => line.close();
});

type Rows = { data: ArtifactView[] };
const put = (file = "big.bin"): string => `artifact put ${file} --session ${session}`;
const all = async (): Promise<ArtifactView[]> =>
  (await robo.json<Rows>(`artifact list --session ${session}`)).data;
const methods = (): string[] => line.transfers.map(({ method }) => method);
const sizeBytes = 3_000_000;
const big = Buffer.alloc(sizeBytes, "0123456789abcdef:");
const problem = (status: number, code: string, headers: Record<string, string> = {}): Response =>
  Response.json(
    { title: "No", status, code, detail: "Not now." },
    { status, headers: { "content-type": "application/problem+json", ...headers } },
  );

describe("an upload", () => {
  beforeEach(() => void robo.write("big.bin", big));

  test("that breaks in the middle is sent again, and told at a terminal alone", async () => {
    line.next(/^PUT /, { cutAfterBytes: 1_000_000 });
    const quiet = await robo.json<ArtifactView>(put());
    expect([quiet.status, methods()]).toEqual(["complete", ["PUT", "PUT"]]);
    line.next(/^PUT /, { cutAfterBytes: 1_000_000 });
    const said = await robo.specgate(`${put()} --name twice.bin`, { isTerminal: true });
    expect(said.code).toBe(0);
    expect(said.err).toMatch(
      /^127\.0\.0\.1:\d+ cannot be reached \(ECONNRESET\); trying again \(2 of 5\)\n$/,
    );
  });

  test("carries no bearer, and as much as was announced", async () => {
    await robo.json(put());
    expect(line.transfers[0]?.headers).toMatchObject({
      "content-length": String(sizeBytes),
      "content-type": "application/octet-stream",
      "if-none-match": "*",
    });
    expect(JSON.stringify(line.transfers)).not.toContain(gateway.robo.bearer);
    expect(line.transfers[0]?.headers).not.toHaveProperty("authorization");
    expect(line.transfers[0]?.headers).not.toHaveProperty("transfer-encoding");
  });

  test("whose answer is lost is not sent again", async () => {
    line.next(/^PUT /, { loseAnswer: true });
    expect(await robo.json<ArtifactView>(put())).toMatchObject({ status: "complete" });
    expect(methods()).toEqual(["PUT"]);
  });

  test("is given up after five tries with ever longer pauses, and goes on when it is run again", async () => {
    const cut = { cutAfterBytes: 1 } as const;
    line.next(/^PUT /, cut, cut, cut, cut, cut);
    const waits: number[] = [];
    const failed = await robo.specgate(put(), { sleep: async (ms) => void waits.push(ms) });
    expect([failed.code, failed.out, methods().length]).toEqual([1, "", 5]);
    expect(failed.err).toMatch(/^specgate: 127\.0\.0\.1:\d+ cannot be reached \(ECONNRESET\)\n$/);
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000]);
    const [pending] = await all();
    expect(pending).toMatchObject({ status: "pending" });
    expect(await robo.json<ArtifactView>(put())).toMatchObject({ id: pending?.id, status: "complete" });
  });

  test("waits as long as a store in trouble asks for", async () => {
    line.next(/^PUT /, { answer: problem(503, "storage_unavailable", { "retry-after": "7" }) });
    const waits: number[] = [];
    const said = await robo.specgate(put(), { sleep: async (ms) => void waits.push(ms) });
    expect([said.code, waits]).toEqual([0, [7_000]]);
  });

  test("that the store refuses is not sent again, and says why", async () => {
    const xml = `<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code><Message>Not \u001b[2J yours</Message></Error>`;
    const to = { location: "https://elsewhere.example/" };
    for (const [answer, words] of [
      [problem(507, "no_room"), "answered 507: no_room: Not now."],
      [problem(403, "signature_mismatch"), "answered 403: signature_mismatch: Not now."],
      [problem(409, "upload_superseded"), "answered 409: upload_superseded: Not now."],
      [new Response(xml, { status: 403 }), "answered 403: SignatureDoesNotMatch: Not ?[2J yours"],
      [new Response("<html>", { status: 404 }), "answered 404 without saying why"],
      [new Response(null, { status: 307, headers: to }), "answered 307: a redirect, which is not followed"],
    ] as const) {
      const before = line.transfers.length;
      line.next(/^PUT /, { answer });
      const said = await robo.specgate(put());
      expect([words, said.code, said.out, line.transfers.length - before]).toEqual([words, 1, "", 1]);
      expect(said.err.trimEnd()).toEndWith(words);
      expect(said.err).not.toContain("sig=");
    }
  });

  test("that finds its bytes there already is completed, and the gateway has the last word", async () => {
    line.next(/^PUT /, { answer: problem(412, "already_uploaded") });
    const said = await robo.specgate(put());
    expect([said.code, said.out, methods()]).toEqual([1, "", ["PUT"]]);
    expect(said.err).toContain("The store has no object for this artifact yet");
    expect(await robo.json<ArtifactView>(put())).toMatchObject({ status: "complete" });
  });

  test("of an old URL that no store says more of is tried once with another", async () => {
    const denied = () => new Response("<Error><Code>AccessDenied</Code></Error>", { status: 403 });
    line.next(/^PUT /, { answer: denied() });
    expect((await robo.specgate(put())).code).toBe(0);
    robo.write("other.bin", "other");
    line.next(/^PUT /, { answer: denied() }, { answer: denied() });
    const said = await robo.specgate(put("other.bin"));
    expect([said.code, methods().length]).toEqual([1, 4]);
    expect(said.err).toContain("answered 403: AccessDenied");
  });

  test("whose file changes meanwhile never becomes something else", async () => {
    const path = join(robo.home, "big.bin");
    line.next(/^POST .*artifacts$/, { waitMs: 700 });
    const putting = robo.specgate(put());
    await Bun.sleep(350);
    writeFileSync(path, Buffer.alloc(sizeBytes, "x"));
    const said = await putting;
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toBe("specgate: The file changed while it was uploaded; put it again\n");
    line.next(/^POST .*artifacts$/, { waitMs: 700 });
    const shrinking = robo.specgate(put());
    await Bun.sleep(350);
    writeFileSync(path, "short");
    expect((await shrinking).err).toContain("The file changed while it was uploaded");
    expect((await all()).map(({ status }) => status)).toEqual(["pending", "pending"]);
  });

  test("run again is there already; when it was deleted it is made anew", async () => {
    const first = await robo.json<ArtifactView>(put());
    const again = await robo.specgate(`${put()} --json`);
    expect([again.code, again.err]).toEqual([0, `already there: 3.0 MB in ${first.id}\n`]);
    expect(JSON.parse(again.out)).toEqual(first);
    await robo.json(`session cancel ${session}`);
    expect(await robo.specgate(`${put()} --json`)).toEqual(again);
    const { ed } = people;
    const reopening = { method: "PATCH", body: '{"status":"open"}' };
    await ed.fetch(`/api/v1/sessions/${session}`, {
      ...reopening,
      headers: { "content-type": "application/json" },
    });
    expect(methods()).toEqual(["PUT"]);
    await robo.json(`artifact rm ${first.id}`);
    const anew = await robo.json<ArtifactView>(put());
    expect([anew.status, anew.id === first.id]).toEqual(["complete", false]);
    robo.write("big.bin", "changed");
    expect((await robo.json<ArtifactView>(put())).id).not.toBe(anew.id);
  });

  test("that was refused once is asked for again when there is room", async () => {
    await robo.json(`session cancel ${session}`);
    const refused = await robo.specgate(put());
    expect([refused.code, refused.out]).toEqual([1, ""]);
    const { olga } = people;
    const path = `/api/v1/sessions/${session}`;
    const headers = { "content-type": "application/json" };
    const reopened = await olga.fetch(path, { method: "PATCH", headers, body: '{"status":"open"}' });
    expect(reopened.status).toBe(200);
    expect(await robo.json<ArtifactView>(put())).toMatchObject({ status: "complete" });
  });
});

describe("a download", () => {
  let id: string;
  beforeEach(async () => {
    robo.write("big.bin", big);
    ({ id } = await robo.json<ArtifactView>(put()));
    line.transfers.length = 0;
  });
  const got = (): Buffer => readFileSync(join(robo.home, "back.bin"));

  test("that breaks goes on where it broke, as often as it gets further", async () => {
    const cuts = Array.from({ length: 7 }, () => ({ cutAfterBytes: 400_000 }) as const);
    line.next(/^GET \/blobs/, ...cuts);
    const said = await robo.specgate(`artifact get ${id} -o back.bin`);
    expect([said.code, said.err]).toEqual([0, ""]);
    expect(got().equals(big)).toBe(true);
    expect(line.transfers[0]?.headers).toMatchObject({ "accept-encoding": "identity" });
    expect(line.transfers).toHaveLength(8);
    expect(line.transfers.slice(1).map(({ headers }) => headers.range)).toEqual([
      "bytes=400000-",
      "bytes=800000-",
      "bytes=1200000-",
      "bytes=1600000-",
      "bytes=2000000-",
      "bytes=2400000-",
      "bytes=2800000-",
    ]);
    expect(String(line.transfers[1]?.headers["if-range"])).toMatch(/^".+"$/);
    expect(JSON.stringify(line.transfers)).not.toContain(gateway.robo.bearer);
  });

  test("starts over where the store knows no ranges, and ends when it gets no further", async () => {
    const whole = () => new Response(big);
    line.next(/^GET \/blobs/, { cutAfterBytes: 400_000 }, { answer: whole() });
    expect((await robo.specgate(`artifact get ${id} -o back.bin`)).code).toBe(0);
    expect(got().equals(big)).toBe(true);
    const cut = { cutAfterBytes: 0 } as const;
    line.next(/^GET \/blobs/, cut, cut, cut, cut, cut);
    const said = await robo.specgate(`artifact get ${id} -o none.bin`);
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toMatch(/^specgate: 127\.0\.0\.1:\d+ (broke off|cannot be reached.*)\n$/);
    expect(readdirSync(robo.home).sort()).toEqual(["back.bin", "big.bin"]);
  });

  test("of other bytes is thrown away, whatever their number", async () => {
    const wrong = Buffer.from(big);
    wrong[sizeBytes - 1] = 0;
    for (const [answer, words] of [
      [new Response(wrong), "SHA-256"],
      [new Response(Buffer.concat([big, Buffer.from("!")])), "more than 3000000 bytes"],
    ] as const) {
      line.next(/^GET \/blobs/, { answer });
      const said = await robo.specgate(`artifact get ${id} -o back.bin`);
      expect([words, said.code, said.out]).toEqual([words, 1, ""]);
      expect(said.err).toContain(words);
    }
    line.next(/^GET \/blobs/, { answer: new Response(wrong) });
    const printed = await robo.specgate(`artifact get ${id} -o -`);
    expect([printed.code, printed.out]).toEqual([1, ""]);
    expect(readdirSync(robo.home)).toEqual(["big.bin"]);
  });

  test("takes no part that it did not ask for", async () => {
    const headers = { "content-range": `bytes 5-${sizeBytes - 1}/${sizeBytes}` };
    line.next(
      /^GET \/blobs/,
      { cutAfterBytes: 400_000 },
      { answer: new Response(big.subarray(5), { status: 206, headers }) },
    );
    const said = await robo.specgate(`artifact get ${id} -o back.bin`);
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toContain("another part than was asked for");
  });
});

describe("a URL whose time is over", () => {
  test("is replaced by another one, for an upload and for a download", async () => {
    const brief = await startGateway({ yaml: "artifacts: { put_ttl_seconds: 1, get_ttl_seconds: 1 }\n" });
    const way = await openLine(brief.url);
    const shell = openShell(way.url, brief.robo.bearer);
    const { id: own } = await shell.json<SessionView>("session create Brief");
    shell.write("late.txt", "late");
    way.next(/^PUT /, { waitMs: 2_100 });
    const said = await shell.specgate(`artifact put late.txt --session ${own} --json`, { isTerminal: true });
    expect(said.code).toBe(0);
    expect(said.err).toContain("answered 403: url_expired: The time of this URL is over.");
    const { id } = JSON.parse(said.out) as ArtifactView;
    way.next(/^GET \/blobs/, { waitMs: 2_100 });
    expect((await shell.specgate(`artifact get ${id} -o back.txt`)).code).toBe(0);
    expect(readFileSync(join(shell.home, "back.txt"), "utf8")).toBe("late");
    expect(way.transfers.map(({ method }) => method)).toEqual(["PUT", "PUT", "GET", "GET"]);
    way.close();
    await brief.close();
  });
});

describe("a command that is killed", () => {
  const main = join(import.meta.dir, "../main.ts");
  const start = (args: string) =>
    Bun.spawn([process.execPath, main, ...args.split(" ")], {
      cwd: robo.home,
      env: { ...process.env, SPECGATE_URL: line.url, SPECGATE_TOKEN: gateway.robo.bearer },
      stdout: "pipe",
      stderr: "pipe",
    });
  async function until(is: () => boolean): Promise<void> {
    for (let tries = 0; !is(); tries += 1) {
      if (tries > 400) throw new Error("it never came so far");
      await Bun.sleep(25);
    }
  }
  const hang = { waitMs: 30_000 } as const;

  test("while it uploads goes on with the same artifact when it is run again", async () => {
    robo.write("big.bin", big);
    line.next(/^PUT /, hang);
    const first = start(put());
    await until(() => line.transfers.length === 1);
    first.kill("SIGKILL");
    await first.exited;
    const [pending] = await all();
    expect(pending).toMatchObject({ status: "pending" });
    const again = await robo.json<ArtifactView>(put());
    expect([again.id, again.status]).toEqual([pending?.id ?? "", "complete"]);
    expect(await all()).toHaveLength(1);
  });

  test("before it was completed is completed without its bytes once more", async () => {
    robo.write("big.bin", big);
    let isAsked = false;
    line.next(/^POST .*completion$/, hang);
    const first = start(put());
    await until(() => {
      isAsked ||= line.transfers.length === 1;
      return isAsked;
    });
    await Bun.sleep(500);
    first.kill("SIGKILL");
    await first.exited;
    const again = await robo.specgate(put());
    expect(again.code).toBe(0);
    expect(again.err).toStartWith("already there: 3.0 MB in art_");
    expect(methods()).toEqual(["PUT"]);
    expect((await all()).map(({ status }) => status)).toEqual(["complete"]);
  });

  test("while it downloads leaves nothing behind, and exit 1", async () => {
    robo.write("big.bin", big);
    const { id } = await robo.json<ArtifactView>(put());
    line.next(/^GET \/blobs/, hang);
    const getting = start(`artifact get ${id} -o back.bin`);
    await until(() => readdirSync(robo.home).length === 2);
    expect(readdirSync(robo.home).some((name) => name.endsWith(".part"))).toBe(true);
    getting.kill("SIGINT");
    expect(await getting.exited).toBe(1);
    expect(readdirSync(robo.home)).toEqual(["big.bin"]);
  });

  test("prints bytes whole into a pipe that is slow", async () => {
    robo.write("big.bin", big);
    const { id } = await robo.json<ArtifactView>(put());
    const getting = start(`artifact get ${id} -o -`);
    await Bun.sleep(1_500);
    expect(Buffer.from(await new Response(getting.stdout).arrayBuffer()).equals(big)).toBe(true);
    expect(await getting.exited).toBe(0);
  });
});

describe("whoever waits", () => {
  const bar = /sending {2}\[[#-]{24}\] +\d+% {2}[\d.]+ [kM]?B of 3\.0 MB {2}[\d.]+ [kM]?B\/s/;

  test("sees how far it is at a terminal, and nothing of it afterwards or elsewhere", async () => {
    robo.write("big.bin", big);
    line.next(/^PUT /, { waitMs: 1_600 });
    const seen = await robo.specgate(put(), { isTerminal: true });
    expect(seen.code).toBe(0);
    expect(seen.err).toMatch(bar);
    expect(seen.err).toEndWith("\r\u001b[K");
    expect(seen.out).not.toContain("\u001b");
    for (const shown of seen.err.split("\r\u001b[K")) expect(shown.length).toBeLessThan(80);
    robo.write("other.bin", big);
    line.next(/^PUT /, { waitMs: 1_600 });
    expect(await robo.specgate(put("other.bin"))).toMatchObject({ code: 0, err: "" });
    robo.write("quick.bin", "quick");
    expect(await robo.specgate(put("quick.bin"), { isTerminal: true })).toMatchObject({ code: 0, err: "" });
  });
});
