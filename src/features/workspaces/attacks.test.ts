import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSecretFile } from "../../platform/secret-files.ts";
import { type Actor, startGateway } from "../../testing/gateway.ts";
import { callTool } from "../../testing/mcp.ts";
import { newApp } from "../../testing/people.ts";
import { sha256Of } from "../../testing/stores.ts";
import { promisedAnswer, toolRefusal } from "../../testing/tool-answers.ts";
import { ok } from "../../testing/wire.ts";
import { Directory } from "./beneath.ts";
import { descriptorsHere } from "./ground.ts";
import type { Entry } from "./listing.ts";

const secretFile = join(mkdtempSync(join(tmpdir(), "workspace-secret-")), "jwt.txt");
writeFileSync(secretFile, "s3cret-of-forty-characters-or-somewhat-more");
const gateway = await startGateway();
const { robo } = gateway;
const people = await gateway.people();
const project = robo.projectId;
const root = realpathSync(mkdtempSync(join(tmpdir(), "workspace-attacks-")));
const mcp = gateway.parts.gateway().mcp;
const lists = { read: [".md", ".txt", ".json", ".jsonl"], write: [".md", ".js", ".jsonl"], deny: [] };
afterAll(async () => {
  await gateway.close();
  for (const dir of [root, join(secretFile, "..")]) rmSync(dir, { recursive: true });
});
beforeEach(() => {
  mcp.workspaces[project] = { root, ...lists };
  for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true });
});

const here = (args: Record<string, unknown>) => ({ project_id: project, ...args });
type Read = { content: string; sha256: string; next_offset_bytes: number | null; truncated?: unknown };
const read = (path: string, more = {}, who: Pick<Actor, "fetch"> = robo) =>
  promisedAnswer<Read>(who, "workspace_read_file", here({ path, ...more }));
const write = (path: string, content: string, more = {}) =>
  promisedAnswer<{ created: boolean }>(robo, "workspace_write_file", here({ path, content, ...more }));
const list = (path: string, more = {}) =>
  promisedAnswer<{ data: Entry[]; next_cursor: string | null }>(
    robo,
    "workspace_list",
    here({ path, ...more }),
  );
const unread = (path: string) => toolRefusal(robo, "workspace_read_file", here({ path }));
const unwritten = (path: string, more = {}) =>
  toolRefusal(robo, "workspace_write_file", here({ path, content: "x", ...more }));
const sha = (text: string) => sha256Of(new TextEncoder().encode(text));
const put = (path: string, content: string) => writeFileSync(join(root, path), content);

describe("a policy that bounds results", () => {
  test("makes the pieces of a file smaller, and loses none of it", async () => {
    const app = await newApp(gateway, people.ed, { scope: "mcp:read mcp:write", aud: `${gateway.url}/mcp` });
    const who = gateway.as(app.token);
    const bound = async (bytes: number) => {
      const rules = [{ effect: "allow", tool: "**", result_bytes_max: bytes }];
      await ok(people.ada, "PUT", `/mcp/policies/${people.ed.id}`, { rules });
    };
    for (const [line, bytesMax] of [
      ["plain words, a whole line of them\n", 20_000],
      ['\u0001"\\ 漢字🙂\n', 3_000],
      ["a b ", 2_048],
    ] as const) {
      const text = line.repeat(Math.floor(65_536 / Buffer.byteLength(line)));
      put("big.md", text);
      await bound(bytesMax);
      let whole = "";
      for (let offset: number | null = 0; offset !== null; ) {
        const { result }: Awaited<ReturnType<typeof callTool>> = await callTool(
          who,
          "workspace_read_file",
          here({ path: "big.md", offset_bytes: offset }),
        );
        expect(JSON.stringify(result).length).toBeLessThanOrEqual(bytesMax);
        const piece = result?.structuredContent as Read;
        expect(piece.truncated).toBeUndefined();
        whole += piece.content;
        offset = piece.next_offset_bytes;
      }
      expect(whole === text).toBe(true);
    }
    await bound(1_024);
    const { result } = await callTool(who, "workspace_read_file", here({ path: "big.md" }));
    // Either a piece that says where to go on, or nothing at all.
    if (result?.isError !== true)
      expect(result?.structuredContent).toMatchObject({ next_offset_bytes: expect.any(Number) });
  });
});

describe("a request that is too large for a file", () => {
  test("is told which setting bounds it", async () => {
    const answer = await robo.fetch("/mcp", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ params: { content: "x".repeat(1_048_576) } }),
    });
    expect(answer.status).toBe(413);
    expect(await answer.text()).toContain("limits.mcp.body_bytes_max");
  });
});

describe("the gateway's own", () => {
  const mount = (from: string, to: string) => Bun.spawnSync(["mount", "--bind", from, to]).exitCode === 0;
  const canMount = (() => {
    const [from, to] = [join(root, "from"), join(root, "to")];
    for (const dir of [from, to]) mkdirSync(dir);
    const mounted = mount(from, to);
    if (mounted) Bun.spawnSync(["umount", to]);
    return mounted;
  })();

  test.skipIf(!canMount)(
    "is not the root of a workspace, nor is a part of it, by a second mount",
    async () => {
      const data = gateway.dir.path;
      mkdirSync(join(data, "audit"), { recursive: true });
      const point = join(root, "point");
      for (const part of ["", "audit"]) {
        mkdirSync(point);
        expect(mount(join(data, part), point)).toBe(true);
        try {
          mcp.workspaces[project] = { root: point, ...lists };
          expect(await toolRefusal(robo, "workspace_list", here({}))).toBe("200 workspace_unavailable");
          expect(await unread("x.jsonl")).toBe("200 workspace_unavailable");
          expect(await unwritten("x.jsonl")).toBe("200 workspace_unavailable");
        } finally {
          Bun.spawnSync(["umount", point]);
          rmSync(point, { recursive: true });
        }
      }
    },
  );

  test("are the files that its secrets come from, wherever they lie", async () => {
    const own = [secretFile];
    await using directory = await Directory.openRoot(join(secretFile, ".."), {
      descriptors: descriptorsHere(),
      own,
    });
    await expect(directory.openFile("jwt.txt")).rejects.toThrow("gateway's own");
    // And the configuration knows which they are.
    const { loadConfig } = await import("../../platform/config-load.ts");
    const env = { SPECGATE_JWT_SECRET_FILE: secretFile };
    const loaded = loadConfig({ env, cwd: root, flags: {}, terminal: false });
    expect(loaded.ok && loaded.config.secretFiles).toEqual([secretFile]);
  });
});

describe("a file that somebody else makes at the same moment", () => {
  test("is never lost to a write that was to make it", async () => {
    let met = 0;
    for (let n = 0; n < 30; n++) {
      const name = `n${n}.md`;
      const writing = callTool(robo, "workspace_write_file", here({ path: name, content: "gateway" }));
      const making = (async () => {
        for (let tries = 0; tries < 4_000; tries++) {
          if (readdirSync(root).some((other) => other.startsWith(".specgate-"))) break;
          await Bun.sleep(0);
        }
        try {
          writeFileSync(join(root, name), "mine", { flag: "wx" });
          return true;
        } catch {
          return false;
        }
      })();
      const [{ result }, made] = await Promise.all([writing, making]);
      expect(readFileSync(join(root, name), "utf8")).toBe(made ? "mine" : "gateway");
      expect(result?.isError === true).toBe(made);
      if (made) {
        met++;
        expect(result?.content[0]?.text).toContain("hash_mismatch");
      }
    }
    expect(met).toBeGreaterThan(0);
    expect(readdirSync(root).filter((name) => name.startsWith("."))).toEqual([]);
  }, 60_000);

  test("and one whose writer was killed between its two names can be read and replaced like the rest", async () => {
    await write("a.md", "1");
    const partial = join(root, `.specgate-${sha("a.md").slice(0, 16)}-ffffffff.partial`);
    linkSync(join(root, "a.md"), partial);
    expect(await read("a.md")).toMatchObject({ content: "1" });
    expect(await write("a.md", "2", { expected_sha256: sha("1") })).toMatchObject({ created: false });
    // A second name of another kind may lie anywhere.
    unlinkSync(partial);
    linkSync(join(root, "a.md"), join(root, ".specgate-0000.partial"));
    expect(await unread("a.md")).toBe("200 not_openable");
  });
});

describe("a file that its operator made read-only", () => {
  test("stays as it is, and the list says so", async () => {
    put("ro.md", "a");
    chmodSync(join(root, "ro.md"), 0o444);
    expect(await unwritten("ro.md", { expected_sha256: sha("a") })).toBe("200 not_permitted");
    expect(readFileSync(join(root, "ro.md"), "utf8")).toBe("a");
    expect((await list("")).data).toMatchObject([{ path: "ro.md", readable: true, writable: false }]);
  });
});

describe("a list", () => {
  test("does not promise what is refused", async () => {
    put("one.md", "x");
    linkSync(join(root, "one.md"), join(root, "two.md"));
    put("big.md", "x".repeat(1_048_577));
    put("max.md", "x".repeat(1_048_576));
    const { data } = await list("");
    expect(data.map(({ path, readable, writable }) => [path, readable, writable])).toEqual([
      ["big.md", false, false],
      ["max.md", true, true],
      ["one.md", false, false],
      ["two.md", false, false],
    ]);
  });

  test.skipIf(!existsSync("/dev/shm"))(
    "has a time for every file, also for one whose time no date can hold",
    async () => {
      const shm = mkdtempSync("/dev/shm/workspace-");
      for (const name of ["odd.md", "ok.md"]) writeFileSync(join(shm, name), "x");
      Bun.spawnSync(["touch", "-d", "@9000000000000000", join(shm, "odd.md")]);
      mcp.workspaces[project] = { root: shm, ...lists };
      const { data } = await list("");
      rmSync(shm, { recursive: true });
      expect(data.map(({ path }) => path)).toEqual(["odd.md", "ok.md"]);
      for (const { modified_at } of data) expect(modified_at).toMatch(/^\d{4}-\d\d-\d\dT/);
    },
  );

  test("of thousands holds up nobody for long, gives each once, and refuses more by name", async () => {
    for (let n = 0; n < 20_000; n++)
      put(`${n % 4 === 0 ? "f" : "g"}${String(n).padStart(5, "0")}.${n % 2 ? "exe" : "md"}`, "");
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 1);
    const found: string[] = [];
    let cursor: string | null | undefined;
    for (let page = 0; page < 3; page++) {
      const answer: Awaited<ReturnType<typeof list>> = await list("", {
        limit: 200,
        ...(cursor ? { cursor } : {}),
      });
      found.push(...answer.data.map(({ path }) => path));
      cursor = answer.next_cursor;
    }
    clearInterval(timer);
    expect(found).toEqual(Array.from({ length: 600 }, (_, n) => `f${String(n * 4).padStart(5, "0")}.md`));
    expect(longest).toBeLessThan(400);
    put("one-more.md", "");
    const { result } = await callTool(robo, "workspace_list", here({}));
    expect(result?.content[0]?.text).toContain("directory_too_large");
    expect(await read("one-more.md")).toMatchObject({ content: "" });
  }, 60_000);
});

describe("a name of secrets", () => {
  test("is known in the spellings that programs give it, and no text is taken for one", async () => {
    for (const name of [
      "secrets.txt",
      "credentials.csv",
      "client_secret.json",
      "client_secret_123-abc.apps.googleusercontent.com.json",
      "clientSecret.json",
      "secrets.prod.yaml",
      "app-secrets.yaml",
      "kubeconfig.yaml",
      "service-account-key.json",
      "passwords.txt",
      "token.json",
      "api-token.txt",
      "private_key.json",
      "specgate.prod.yaml",
      "specgate.yaml.txt",
      "specgate-staging.yml",
      "\u017fecrets.json",
      "to\u212aen.json",
      "ID_RSA.txt",
    ])
      expect([name, isSecretFile(name)]).toEqual([name, true]);
    for (const name of [
      "secrets-management.md",
      "password-reset.md",
      "token.ts",
      "design-tokens.json",
      "tokens.json",
      "secretary.json",
      "specgate.md",
      "keyboard.json",
      "notes.txt",
      "package.json",
    ])
      expect([name, isSecretFile(name)]).toEqual([name, false]);
    put("client_secret.json", "{}");
    expect(await unread("client_secret.json")).toBe("200 path_refused");
    mcp.workspaces[project] = { root, ...lists, deny: ["secret/**"] };
    mkdirSync(join(root, "\u017fecret"));
    put("\u017fecret/a.md", "x");
    expect(await unread("\u017fecret/a.md")).toBe("200 path_refused");
  });
});

describe("a command that a link leads into a workspace after the configuration was read", () => {
  test("closes the workspace to writes", async () => {
    const tools = mkdtempSync(join(tmpdir(), "workspace-tools-"));
    put("tool.js", "");
    const base = {
      allow: ["**"],
      deny: [],
      pin: "approve",
      timeoutMs: 1_000,
      resultBytesMax: null,
      callsMax: 1,
    } as const;
    const command = ["/usr/bin/true", join(tools, "tool.js")];
    mcp.upstreams.planted = { ...base, allow: ["**"], deny: [], kind: "stdio", command, env: {}, cwd: null };
    expect(await unwritten("tool.js", { expected_sha256: sha("") }).catch(String)).toContain(
      "was not refused",
    );
    symlinkSync(join(root, "tool.js"), join(tools, "tool.js"));
    expect(await unwritten("tool.js", { expected_sha256: sha("x") })).toBe("200 workspace_unavailable");
    delete mcp.upstreams.planted;
    rmSync(tools, { recursive: true });
    expect(await write("tool.js", "y", { expected_sha256: sha("x") })).toMatchObject({ created: false });
  });
});
