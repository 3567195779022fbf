import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asc, eq } from "drizzle-orm";
import { connect } from "../../db/connection.ts";
import { audit } from "../../db/schema.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { callTool, rpc } from "../../testing/mcp.ts";
import { newApp } from "../../testing/people.ts";
import { sha256Of } from "../../testing/stores.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import type { Entry } from "./listing.ts";

const gateway = await startGateway();
const { robo, mallory, database } = gateway;
const people = await gateway.people();
const outside = mkdtempSync(join(tmpdir(), "workspace-outside-"));
const root = mkdtempSync(join(tmpdir(), "workspace-"));
const project = robo.projectId;
gateway.parts.gateway().mcp.workspaces[project] = {
  root,
  read: [".md", ".txt", ".ts", ".pem", ".env"],
  write: [".md", ".log", ".env"],
  deny: ["**/.git/**", "private/**", "**/*.Draft.md"],
};
afterAll(async () => {
  await gateway.close();
  for (const dir of [root, outside]) rmSync(dir, { recursive: true });
});

const app = async (person: { id: string }, scope = "mcp:read mcp:write"): Promise<Actor> =>
  gateway.as((await newApp(gateway, person, { scope, aud: `${gateway.url}/mcp` })).token);
const ed = await app(people.ed);
const vera = await app(people.vera);
const olga = await app(people.olga);
const stranger = await app(people.stranger);

type Read = { content: string; sha256: string; size_bytes: number; next_offset_bytes: number | null };
type Written = { sha256: string; size_bytes: number; created: boolean };
const here = (args: Record<string, unknown>) => ({ project_id: project, ...args });
const read = (path: string, more = {}, who: Actor = robo) =>
  promisedAnswer<Read>(who, "workspace_read_file", here({ path, ...more }));
const write = (path: string, content: string, more = {}, who: Actor = robo) =>
  promisedAnswer<Written>(who, "workspace_write_file", here({ path, content, ...more }));
const list = (path: string, more = {}, who: Actor = robo) =>
  promisedAnswer<{ data: Entry[]; next_cursor: string | null }>(
    who,
    "workspace_list",
    here({ path, ...more }),
  );
const unread = (path: string, more = {}, who: Actor = robo) =>
  toolRefusal(who, "workspace_read_file", here({ path, ...more }));
const unwritten = (path: string, more = {}, who: Actor = robo) =>
  toolRefusal(who, "workspace_write_file", here({ path, content: "x", ...more }));
const sha = (text: string) => sha256Of(new TextEncoder().encode(text));
const put = (path: string, content: string | Uint8Array) => writeFileSync(join(root, path), content);
const rows = async (subject: string) =>
  database.db.select().from(audit).where(eq(audit.subject, subject)).orderBy(asc(audit.id));

beforeEach(() => {
  for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true });
  mkdirSync(join(root, "docs"));
  put("docs/plan.md", "# Plan\n");
});

describe("a workspace's files", () => {
  test("are written, read and listed, and replaced by whoever knows what stands there", async () => {
    const made = await write("docs/notes.md", "one\n");
    expect(made).toEqual({
      path: "docs/notes.md",
      sha256: sha("one\n"),
      size_bytes: 4,
      created: true,
    } as Written);
    expect(await read("docs/notes.md")).toMatchObject({ content: "one\n", sha256: made.sha256 });
    const replaced = await write("docs/notes.md", "two\n", { expected_sha256: made.sha256 });
    expect(replaced).toMatchObject({ created: false, sha256: sha("two\n") });
    expect(readFileSync(join(root, "docs/notes.md"), "utf8")).toBe("two\n");
    const { data, next_cursor } = await list("docs");
    expect(data.map(({ path, size_bytes, writable }) => [path, size_bytes, writable])).toEqual([
      ["docs/notes.md", 4, true],
      ["docs/plan.md", 7, true],
    ]);
    expect(next_cursor).toBeNull();
  });

  test("are not replaced by who does not know what stands there, and are told its hash", async () => {
    for (const expected_sha256 of [null, sha("another"), undefined]) {
      const { result } = await callTool(
        robo,
        "workspace_write_file",
        here({
          path: "docs/plan.md",
          content: "x",
          ...(expected_sha256 === undefined ? {} : { expected_sha256 }),
        }),
      );
      expect(result?.isError).toBe(true);
      expect(result?.content[0]?.text).toContain("hash_mismatch");
      expect(result?.content[0]?.text).toContain(sha("# Plan\n"));
    }
    expect(await unwritten("docs/none.md", { expected_sha256: sha("x") })).toBe("200 hash_mismatch");
    expect(readFileSync(join(root, "docs/plan.md"), "utf8")).toBe("# Plan\n");
    expect(existsSync(join(root, "docs/none.md"))).toBe(false);
  });

  test("that may be written but not read do not tell their hash", async () => {
    put("run.log", "1234");
    const { result } = await callTool(robo, "workspace_write_file", here({ path: "run.log", content: "x" }));
    expect(result?.content[0]?.text).toContain("hash_mismatch");
    expect(JSON.stringify(result)).not.toContain(sha("1234"));
    expect(await unread("run.log")).toBe("200 path_refused");
    expect(await write("run.log", "5", { expected_sha256: sha("1234") })).toMatchObject({ created: false });
  });

  test("are read in pieces that end between characters and give the whole together", async () => {
    const text = `\ufeff${"aé漢🙂\r\n".repeat(50)}`;
    put("docs/long.txt", text);
    let whole = "";
    let offset: number | null = 0;
    while (offset !== null) {
      const piece: Read = await read("docs/long.txt", {
        offset_bytes: offset,
        length_bytes: 5 + (offset % 7),
      });
      expect(piece.sha256).toBe(sha(text));
      whole += piece.content;
      offset = piece.next_offset_bytes;
    }
    expect(whole).toBe(text);
    expect(await unread("docs/long.txt", { offset_bytes: 1 })).toBe("200 invalid_offset");
    expect(await unread("docs/long.txt", { offset_bytes: 10_000 })).toBe("200 invalid_offset");
  });

  test("are read whole however much of them one answer can carry", async () => {
    for (const line of ["plain words\n", '\u0001"\\', "漢字🙂\n"]) {
      const text = line.repeat(Math.floor(1_048_576 / Buffer.byteLength(line)));
      put("docs/big.txt", text);
      for (const length of [262_144, 1_048_576]) {
        let whole = "";
        for (let offset: number | null = 0; offset !== null; ) {
          const piece: Read & { truncated?: unknown } = await read("docs/big.txt", {
            offset_bytes: offset,
            length_bytes: length,
          });
          expect(piece.truncated).toBeUndefined();
          whole += piece.content;
          offset = piece.next_offset_bytes;
        }
        expect(whole === text).toBe(true);
      }
    }
  });

  test("are text up to 1 MiB, and nothing else", async () => {
    put("docs/max.md", "a".repeat(1_048_576));
    expect(await read("docs/max.md", { length_bytes: 4 })).toMatchObject({ size_bytes: 1_048_576 });
    put("docs/more.md", "a".repeat(1_048_577));
    put("docs/latin.md", new Uint8Array([0x61, 0xe9, 0x62]));
    put("docs/nul.md", "a\0b");
    expect(await unread("docs/more.md")).toBe("200 file_too_large");
    expect(await unread("docs/latin.md")).toBe("200 not_text");
    expect(await unread("docs/nul.md")).toBe("200 not_text");
    expect(await unwritten("docs/new.md", { content: "a\0b" })).toBe("200 not_text");
    expect(await unwritten("docs/new.md", { content: "\ud800" })).toBe("200 not_text");
    expect(existsSync(join(root, "docs/new.md"))).toBe(false);
  });

  test("are written below new directories only when asked for", async () => {
    expect(await unwritten("a/b/c.md")).toBe("200 not_found");
    expect(existsSync(join(root, "a"))).toBe(false);
    expect(await write("a/b/c.md", "deep", { create_directories: true })).toMatchObject({ created: true });
    expect(await write("a/b/d.md", "deep", { create_directories: true })).toMatchObject({ created: true });
    expect((await list("a")).data).toMatchObject([{ path: "a/b", type: "directory", size_bytes: null }]);
  });

  test("keep their mode when replaced, but no bit that lends rights", async () => {
    for (const [before, after] of [
      [0o640, 0o640],
      [0o6755, 0o755],
    ] as const) {
      chmodSync(join(root, "docs/plan.md"), before);
      const { sha256 } = await read("docs/plan.md");
      await write("docs/plan.md", `${before}`, { expected_sha256: sha256 });
      expect(statSync(join(root, "docs/plan.md")).mode & 0o7777).toBe(after);
    }
  });

  test("are listed in pages without what is not open", async () => {
    for (let n = 0; n < 25; n++) put(`docs/n${String(n).padStart(2, "0")}.md`, "");
    for (const name of [
      ".env",
      ".hidden.md",
      "Makefile",
      "x.exe",
      "server.pem",
      "a.draft.MD",
      "bad\nname.md",
    ])
      put(`docs/${name}`, "secret");
    for (const name of ["docs/.git", "private", "docs/sub"]) mkdirSync(join(root, name));
    symlinkSync(outside, join(root, "docs/link"));
    symlinkSync("/etc/hostname", join(root, "docs/link.md"));
    const found: string[] = [];
    let cursor: string | null | undefined;
    while (cursor !== null) {
      const page: { data: Entry[]; next_cursor: string | null } = await list("docs", {
        limit: 10,
        ...(cursor === undefined ? {} : { cursor }),
      });
      expect(page.data.length).toBeLessThanOrEqual(10);
      found.push(...page.data.map(({ path }) => path));
      cursor = page.next_cursor;
    }
    const expected = Array.from({ length: 25 }, (_, n) => `docs/n${String(n).padStart(2, "0")}.md`);
    expect(found).toEqual([...expected, "docs/plan.md", "docs/sub"]);
    expect((await list("")).data.map(({ path }) => path)).toEqual(["docs"]);
    expect(await toolRefusal(robo, "workspace_list", here({ path: "private" }))).toBe("200 path_refused");
    expect(await toolRefusal(robo, "workspace_list", here({ path: "docs", cursor: "x" }))).toBe(
      "200 invalid_request",
    );
  });
});

describe("never opened, whatever the lists say,", () => {
  test("is what holds secrets by custom", async () => {
    const names = [
      ".env",
      ".ENV",
      "prod.env",
      "prod.ENV.md",
      ".env.local",
      "a.PEM",
      "a.pem.txt",
      "server.key.md",
    ];
    names.push(
      "id_rsa",
      "ID_RSA.md",
      "id_ed25519.txt",
      "Makefile",
      "noextension",
      "docs/.npmrc",
      ".git/config.md",
    );
    for (const name of names) {
      mkdirSync(join(root, ".git"), { recursive: true });
      put(name, "secret");
      expect([name, (await unread(name)).replace("invalid_path", "path_refused")]).toEqual([
        name,
        "200 path_refused",
      ]);
      expect([name, (await unwritten(name)).replace("invalid_path", "path_refused")]).toEqual([
        name,
        "200 path_refused",
      ]);
      expect(readFileSync(join(root, name), "utf8")).toBe("secret");
    }
  });

  test("is the gateway's own: its data, its configuration file, by any name and from above or within", async () => {
    const config = gateway.parts.gateway().mcp.workspaces;
    const { [project]: kept } = config;
    const lists = { read: [".md", ".yaml"], write: [".md", ".yaml"], deny: [] };
    const { path } = gateway.dir;
    const name = path.slice(path.lastIndexOf("/") + 1);
    mkdirSync(join(path, "sub"), { recursive: true });
    writeFileSync(join(path, "sub/x.md"), "x");
    for (const [from, file] of [
      [path, "sub/x.md"],
      [join(path, "sub"), "x.md"],
      [join(path, ".."), `${name}/sub/x.md`],
      [join(path, ".."), `${name}/specgate.yaml`],
    ] as const) {
      config[project] = { root: from, ...lists };
      expect(await unread(file)).toMatch(
        /^200 (?:workspace_unavailable|not_openable|path_refused|invalid_path)$/,
      );
      expect(await unwritten(file)).toMatch(
        /^200 (?:workspace_unavailable|not_openable|path_refused|invalid_path)$/,
      );
    }
    if (kept !== undefined) config[project] = kept;
    expect(await unwritten("specgate.yaml")).toBe("200 path_refused");
  });

  test("is what the lists do not name, by extension and by pattern", async () => {
    mkdirSync(join(root, "private/deep"), { recursive: true });
    for (const name of ["a.exe", "private/x.md", "private/deep/x.md", "docs/x.draft.md", "a.md.exe"]) {
      put(name, "x");
      expect([name, await unread(name)]).toEqual([name, "200 path_refused"]);
    }
    put("a.ts", "x");
    expect((await read("a.ts")).content).toBe("x");
    expect(await unwritten("a.ts", { expected_sha256: sha("x") })).toBe("200 path_refused");
    expect(await unwritten("PRIVATE/x.md", { create_directories: true })).toBe("200 path_refused");
  });

  test("is a link, inside or outside, or what lies behind one", async () => {
    writeFileSync(join(outside, "secret.md"), "outside");
    symlinkSync(join(outside, "secret.md"), join(root, "link.md"));
    symlinkSync(outside, join(root, "out"));
    symlinkSync("docs", join(root, "in"));
    symlinkSync("docs/plan.md", join(root, "inner.md"));
    symlinkSync("nowhere.md", join(root, "dangling.md"));
    for (const path of ["link.md", "out/secret.md", "in/plan.md", "inner.md", "dangling.md"]) {
      expect([path, await unread(path)]).toEqual([path, "200 not_found"]);
      expect([path, await unwritten(path)]).toEqual([path, "200 not_found"]);
      expect([path, await unwritten(path, { create_directories: true })]).toEqual([path, "200 not_found"]);
    }
    expect(await toolRefusal(robo, "workspace_list", here({ path: "out" }))).toBe("200 not_found");
    expect(readdirSync(outside)).toEqual(["secret.md"]);
    expect(readFileSync(join(outside, "secret.md"), "utf8")).toBe("outside");
  });

  test("is a hard link, a pipe, a directory with an extension", async () => {
    writeFileSync(join(outside, "second.md"), "outside");
    linkSync(join(outside, "second.md"), join(root, "second.md"));
    Bun.spawnSync(["mkfifo", join(root, "pipe.md")]);
    mkdirSync(join(root, "dir.md"));
    for (const path of ["second.md", "pipe.md", "dir.md"]) {
      expect([path, await unread(path)]).toEqual([path, "200 not_openable"]);
      expect([path, await unwritten(path)]).toEqual([path, "200 not_openable"]);
    }
    expect(readFileSync(join(outside, "second.md"), "utf8")).toBe("outside");
  });
});

describe("a workspace", () => {
  const tools = ["workspace_list", "workspace_read_file", "workspace_write_file"];

  test("is read by viewers, written by editors, and not there for anybody else", async () => {
    expect(await read("docs/plan.md", {}, vera)).toMatchObject({ content: "# Plan\n" });
    expect(await unwritten("docs/new.md", {}, vera)).toContain("insufficient_");
    expect(await write("docs/new.md", "x", {}, ed)).toMatchObject({ created: true });
    expect(await unwritten("docs/no.md", {}, await app(people.ed, "mcp:read"))).toBe(
      "403 insufficient_scope",
    );
    for (const who of [mallory, stranger])
      expect(await unread("docs/plan.md", {}, who)).not.toContain("path_refused");
    expect(existsSync(join(root, "docs/no.md"))).toBe(false);
  });

  test("that no configuration names offers its tools to nobody, and says no more than of a tool that is none", async () => {
    const unknown = await toolRefusal(robo, "workspace_nothing", {});
    for (const who of [mallory, stranger]) {
      const { result } = await rpc(who, "tools/list");
      expect(result?.tools.map(({ name }) => name).filter((name) => tools.includes(name))).toEqual([]);
      for (const tool of tools)
        expect(await toolRefusal(who, tool, { project_id: mallory.projectId, path: "a.md" })).toBe(unknown);
    }
    const { result } = await rpc(vera, "tools/list");
    expect(result?.tools.map(({ name }) => name)).toEqual(expect.arrayContaining(["workspace_read_file"]));
  });

  test("whose directory has gone is unavailable, not empty", async () => {
    const config = gateway.parts.gateway().mcp.workspaces;
    const { [project]: kept } = config;
    config[project] = { root: join(root, "gone"), read: [".md"], write: [".md"], deny: [] };
    expect(await unread("a.md")).toBe("200 workspace_unavailable");
    expect(await unwritten("a.md", { create_directories: true })).toBe("200 workspace_unavailable");
    if (kept !== undefined) config[project] = kept;
    expect(existsSync(join(root, "gone"))).toBe(false);
  });
});

describe("each write", () => {
  test("has its rows: what began and how it ended, with hashes and without content", async () => {
    const { sha256 } = await write("docs/told.md", "the words themselves");
    const found = await rows("docs/told.md");
    expect(found.map(({ action, outcome }) => [action, outcome])).toEqual([
      ["workspace.write_begun", "ok"],
      ["workspace.file_written", "ok"],
    ]);
    for (const row of found) {
      expect(row).toMatchObject({ actor: robo.id, projectId: project });
      expect(row.details).toMatchObject({ bytes: 20, sha256, replaced_sha256: null });
      expect(JSON.stringify(row.details)).not.toContain("themselves");
    }
    await unwritten("docs/told.md");
    expect(await rows("docs/told.md")).toHaveLength(2);
  });

  test("that cannot be recorded does not happen, and leaves nothing", async () => {
    const own = connect(gateway.owner, {
      applicationName: "test",
      prepare: false,
      connectionsMax: 1,
      statementTimeoutMs: null,
    });
    const refuse = async (action: string) => {
      await own.unsafe(`create or replace function no_row() returns trigger language plpgsql as $$
        begin if new.action = '${action}' and new.outcome = 'ok' then raise exception 'no'; end if; return new; end $$`);
    };
    await refuse("workspace.write_begun");
    await own.unsafe("create trigger no_row before insert on audit for each row execute function no_row()");
    try {
      expect(await unwritten("docs/lost.md", { create_directories: true })).toContain("unavailable");
      await refuse("workspace.file_written");
      expect(await unwritten("docs/half.md", { create_directories: true })).toContain("unavailable");
    } finally {
      await own.unsafe("drop trigger no_row on audit; drop function no_row()");
      await own.end();
    }
    expect(readdirSync(join(root, "docs"))).toEqual(["plan.md"]);
    expect(await rows("docs/lost.md")).toEqual([]);
    const half = await rows("docs/half.md");
    expect(half.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual([
      "workspace.write_begun ok",
      "workspace.file_written failed",
    ]);
  });

  test("happens once when many write the same file at the same moment", async () => {
    for (let round = 0; round < 3; round++) {
      const { sha256 } = await read("docs/plan.md");
      // Long enough to take its time on the disk.
      const contents = Array.from({ length: 12 }, (_, n) => `${round} ${n}`.padEnd(300_000, "."));
      const ends = await Promise.all(
        contents.map((content, n) =>
          callTool(
            n % 2 ? robo : olga,
            "workspace_write_file",
            here({ path: "docs/plan.md", content, expected_sha256: sha256 }),
          ),
        ),
      );
      const winners = ends.flatMap(({ result }, n) => (result?.isError === true ? [] : [n]));
      expect(winners).toHaveLength(1);
      expect(readFileSync(join(root, "docs/plan.md"), "utf8") === contents[winners[0] ?? -1]).toBe(true);
      expect(readdirSync(join(root, "docs"))).toEqual(["plan.md"]);
    }
  });

  test("clears away what a killed one left under the file's own partial name", async () => {
    await write("docs/again.md", "1");
    const mark = sha(gateway.dir.instance).slice(0, 8);
    const partial = `docs/.specgate-${sha("again.md").slice(0, 16)}-${mark}.partial`;
    put(partial, "half");
    await write("docs/again.md", "2", { expected_sha256: sha("1") });
    expect(existsSync(join(root, partial))).toBe(false);
  });
});
