import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { ArtifactView } from "../features/artifacts/contract.ts";
import type { IterationView, SessionView } from "../features/sessions/contract.ts";
import { startGateway, type TestGateway } from "../testing/gateway.ts";
import { openShell, type Shell, signedInShell } from "../testing/shell.ts";

let gateway: TestGateway;
let robo: Shell;
let session: string;
beforeAll(async () => {
  gateway = await startGateway();
  robo = openShell(gateway.url, gateway.robo.bearer);
  session = await newSession();
  return () => gateway.close();
});

type Rows = { data: ArtifactView[]; next_cursor: null };
const newSession = async (): Promise<string> => (await robo.json<SessionView>("session create Files")).id;
const randomBytes = (size: number): Uint8Array => {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
};
const put = (file: string, ...more: string[]): Promise<ArtifactView> =>
  robo.json<ArtifactView>(["artifact", "put", file, "--session", session, ...more]);
const at = (name: string): string => join(robo.home, name);
const sha256 = (bytes: string | Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

describe("a file", () => {
  test("of 5 MB goes up and comes back the same, byte for byte", async () => {
    const bytes = randomBytes(5_000_000);
    robo.write("build.zip", bytes);
    const { id: iteration } = await robo.json<IterationView>(`iteration start --session ${session}`);
    const made = await put("build.zip", "--kind", "build", "--iteration", iteration);
    expect(made).toMatchObject({
      name: "build.zip",
      kind: "build",
      iteration_id: iteration,
      content_type: "application/zip",
      size_bytes: bytes.length,
      sha256: sha256(bytes),
      status: "complete",
      sha256_verified: true,
      created_by: gateway.robo.id,
    });
    const got = await robo.specgate(`artifact get ${made.id} -o back.zip`);
    expect(got).toEqual({ code: 0, out: "back.zip\n", err: "" });
    expect(readFileSync(at("back.zip")).equals(bytes)).toBe(true);
    const shown = await robo.specgate(`artifact show ${made.id}`);
    expect(shown.out).toMatch(/^status +complete$/m);
    expect(shown.out).toMatch(new RegExp(`^sha256 +${made.sha256}$`, "m"));
  });

  test("is printed for people, and its type is known by its ending or said", async () => {
    robo.write("notes.md", "# Notes\n");
    const said = await robo.specgate(`artifact put notes.md --session ${session}`);
    expect([said.code, said.err]).toEqual([0, ""]);
    expect(said.out).toMatch(/^content_type +text\/markdown; charset=utf-8$/m);
    expect(said.out).toMatch(/^kind +file$/m);
    robo.write("strange.xyz", "?");
    expect(await put("strange.xyz")).toMatchObject({ content_type: "application/octet-stream" });
    expect(await put("strange.xyz", "--name", "x.PDF")).toMatchObject({ content_type: "application/pdf" });
    const typed = await put("strange.xyz", "--content-type", "text/plain", "--name", "of a kind.txt");
    expect(typed).toMatchObject({ content_type: "text/plain", name: "of a kind.txt" });
  });

  test("that the gateway does not keep is refused with what it would keep", async () => {
    robo.write("empty.txt", "");
    robo.write("some.txt", "some");
    for (const [more, words] of [
      [["empty.txt"], "at least one byte"],
      [["some.txt", "--name", "../etc/passwd"], "A name"],
      [["some.txt", "--content-type", "application/x-msdownload"], "This gateway keeps application/json"],
    ] as const) {
      const said = await robo.specgate(["artifact", "put", ...more, "--session", session]);
      expect([more, said.code, said.out]).toEqual([more, 1, ""]);
      expect(said.err).toContain(words);
    }
  });

  test("that is none is a misuse, and nothing is created", async () => {
    mkdirSync(at("folder"));
    const own = await newSession();
    for (const [file, words] of [
      ["nowhere.txt", "nowhere.txt cannot be read: ENOENT"],
      ["folder", "folder is not a file"],
      ["-", "--name is missing: standard input has no name"],
    ] as const) {
      const said = await robo.specgate(["artifact", "put", file, "--session", own]);
      expect([file, said.code, said.out]).toEqual([file, 2, ""]);
      expect(said.err).toContain(words);
    }
    expect((await robo.json<Rows>(`artifact list --session ${own}`)).data).toEqual([]);
  });

  test("comes from standard input and goes to standard output, and no copy stays", async () => {
    const TMPDIR = at("temporary");
    mkdirSync(TMPDIR);
    const bytes = randomBytes(700_000);
    const line = `artifact put - --name raw.bin --session ${session}`;
    const { id } = await robo.json<ArtifactView>(line, { stdin: bytes, env: { TMPDIR } });
    const got = await robo.specgate(`artifact get ${id} -o -`, { env: { TMPDIR } });
    expect([got.code, got.err]).toEqual([0, ""]);
    expect(Buffer.from(got.out, "latin1").equals(bytes)).toBe(true);
    expect(readdirSync(TMPDIR)).toEqual([]);
    const both = await robo.specgate(`artifact get ${id} -o - --json`);
    expect([both.code, both.out]).toEqual([2, ""]);
  });
});

describe("a download", () => {
  test("is called what the artifact is called, and says so", async () => {
    const { id } = await put(robo.write("Résumé of May.txt", "words"));
    const elsewhere = openShell(gateway.url, gateway.robo.bearer);
    const got = await elsewhere.json<ArtifactView & { file: string }>(`artifact get ${id}`);
    expect(got).toMatchObject({ id, file: "Résumé of May.txt", sha256: sha256("words") });
    expect(readdirSync(elsewhere.home)).toEqual(["Résumé of May.txt"]);
  });

  test("replaces nothing without --force, and only a file with it", async () => {
    const { id } = await put(robo.write("new.txt", "new"));
    robo.write("mine.txt", "mine");
    const refused = await robo.specgate(`artifact get ${id} -o mine.txt`);
    expect(refused).toEqual({
      code: 2,
      out: "",
      err: "specgate: mine.txt is there already; --force replaces it\n",
    });
    expect(readFileSync(at("mine.txt"), "utf8")).toBe("mine");
    expect((await robo.specgate(`artifact get ${id} -o mine.txt --force`)).code).toBe(0);
    expect(readFileSync(at("mine.txt"), "utf8")).toBe("new");
    mkdirSync(at("a-folder"));
    symlinkSync("/dev/null", at("device"));
    symlinkSync("no-such-file", at("dangling"));
    for (const [name, code] of [
      ["a-folder", 2],
      ["device", 2],
      ["/dev/null", 2],
    ] as const) {
      const said = await robo.specgate(`artifact get ${id} --force -o ${name}`);
      expect([name, said.code]).toEqual([name, code]);
      expect(said.err).toContain("not a file");
    }
    expect((await robo.specgate(`artifact get ${id} -o dangling`)).code).toBe(2);
    expect(existsSync(at("no-such-file"))).toBe(false);
    expect(readdirSync(robo.home).filter((name) => name.startsWith(".specgate-"))).toEqual([]);
  });

  test("into a directory that is not there says so, and exit 1", async () => {
    const { id } = await put(robo.write("lost.txt", "lost"));
    const said = await robo.specgate(`artifact get ${id} -o nowhere/lost.txt`);
    expect([said.code, said.out]).toEqual([1, ""]);
    expect(said.err).toContain("nowhere/lost.txt cannot be written: ENOENT");
  });

  test("takes no name that hides, reaches out, or is a device; -o gives it another", async () => {
    robo.write("harmless", "!");
    const hostile = [".bashrc", ".ssh", "-rf", "con", "CON.txt", "nul", "Lpt1.log", "a:b", "ends.", "ends "];
    for (const name of hostile) {
      const { id } = await put("harmless", "--name", name);
      const elsewhere = openShell(gateway.url, gateway.robo.bearer);
      const said = await elsewhere.specgate(`artifact get ${id}`);
      expect([name, said.code, said.out]).toEqual([name, 2, ""]);
      expect(said.err).toContain("would be one of yours: -o FILE");
      expect(readdirSync(elsewhere.home)).toEqual([]);
      expect((await elsewhere.specgate(`artifact get ${id} -o mine`)).code).toBe(0);
    }
  });

  test("trusts no gateway with a name, either", async () => {
    for (const name of ["../up", "/etc/cron.d/x", "a\\b", "\u001b[2Jx", "a\nb", ""]) {
      const view = { id: `art_${"0".repeat(32)}`, name, size_bytes: 1, sha256: sha256("!") };
      const there = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json(view) });
      const shell = openShell(`http://127.0.0.1:${there.port}`, "bearer");
      const said = await shell.specgate(`artifact get ${view.id}`);
      expect([name, said.code]).toEqual([name, 2]);
      expect(said.err).toMatch(/^specgate: "[^\p{Cc}]*" is no name to save a file by/u);
      expect(readdirSync(shell.home)).toEqual([]);
      there.stop(true);
    }
  });
});

describe("artifacts", () => {
  test("are listed newest first, by kind, iteration and state", async () => {
    const own = await newSession();
    const { id: iteration } = await robo.json<IterationView>(`iteration start --session ${own}`);
    const add = (file: string, more = "") =>
      robo.json<ArtifactView>(`artifact put ${file} --session ${own}${more}`);
    robo.write("one.txt", "one");
    robo.write("two.json", "{}");
    const one = await add("one.txt", " --kind report");
    const two = await add("two.json", ` --iteration ${iteration}`);
    const listed = await robo.specgate(`artifact list --session ${own}`);
    expect(listed.out).toMatch(
      /^ID +KIND +STATUS +SIZE_BYTES +CREATED_AT +NAME\nart_\w+ +file +complete +2 .* two\.json\nart_\w+ +report +complete +3 .* one\.txt\n$/,
    );
    const only = async (more: string) =>
      (await robo.json<Rows>(`artifact list --session ${own} ${more}`)).data.map(({ id }) => id);
    expect(await only("--kind report")).toEqual([one.id]);
    expect(await only(`--iteration ${iteration}`)).toEqual([two.id]);
    expect(await only("--status pending")).toEqual([]);
    expect((await robo.specgate(`artifact list --session ${own} --status done`)).code).toBe(2);
  });

  test("are deleted one by one; one that is not there does not keep the others", async () => {
    const one = await put(robo.write("first.txt", "first"));
    const two = await put(robo.write("second.txt", "second"));
    const unknown = `art_${"0".repeat(32)}`;
    const said = await robo.specgate(`artifact rm ${one.id} ${unknown} ${two.id}`);
    expect(said.code).toBe(1);
    expect(said.err).toMatch(new RegExp(`^specgate: ${unknown}: .*\n$`));
    expect(said.out).toMatch(new RegExp(`\n${one.id} .* first\\.txt\n${two.id} .* second\\.txt\n$`));
    const again = await robo.json<Rows>(`artifact rm ${one.id} ${one.id}`);
    expect(again.data.map(({ id }) => id)).toEqual([one.id]);
    expect(["deleted", "purged"]).toContain(again.data[0]?.status ?? "");
    const gone = await robo.specgate(`artifact get ${one.id} -o gone.txt`);
    expect([gone.code, gone.out]).toEqual([1, ""]);
    expect(gone.err).toContain("not kept any more");
    expect((await robo.specgate("artifact rm art_1")).code).toBe(2);
  });

  test("of others are not there, and whoever only looks on uploads nothing", async () => {
    const { id } = await put(robo.write("ours.txt", "ours"));
    const mallory = openShell(gateway.url, gateway.mallory.bearer);
    for (const line of [`artifact get ${id}`, `artifact show ${id}`, `artifact rm ${id}`]) {
      const said = await mallory.specgate(line);
      expect([line, said.code]).toEqual([line, 1]);
    }
    const { vera } = await gateway.people();
    const viewer = await signedInShell(gateway.url, vera, ["artifacts:read"]);
    expect((await viewer.specgate(`artifact get ${id}`)).code).toBe(0);
    viewer.write("theirs.txt", "theirs");
    const said = await viewer.specgate(`artifact put theirs.txt --session ${session}`);
    expect([said.code, said.out]).toEqual([1, ""]);
  });
});
