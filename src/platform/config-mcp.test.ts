import { afterAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import type { McpConfig } from "./config.ts";
import { loadConfig } from "./config-load.ts";
import { printConfig } from "./config-print.ts";

const project = `prj_${"0".repeat(32)}`;

function load(mcp: string, env: Record<string, string> = {}): { mcp: McpConfig | null; mistakes: string[] } {
  const cwd = mkdtempSync(join(tmpdir(), "config-mcp-"));
  writeFileSync(join(cwd, "specgate.yaml"), `mcp:\n${mcp.replace(/^/gm, "  ")}\n`);
  const loaded = loadConfig({ env, cwd, flags: {}, terminal: false });
  rmSync(cwd, { recursive: true });
  return loaded.ok
    ? { mcp: loaded.config.gateway.mcp, mistakes: [] }
    : { mcp: null, mistakes: loaded.mistakes };
}

/** The one mistake, without the file's name and line. */
function mistake(mcp: string): string {
  const { mistakes } = load(mcp);
  expect([mcp, mistakes.length]).toEqual([mcp, 1]);
  return mistakes[0] ?? "";
}
const workspace = (fields: string) => mistake(`workspaces: { ${project}: { ${fields} } }`);
const upstream = (fields: string, alias = "notes") => mistake(`upstreams: { ${alias}: { ${fields} } }`);

describe("the mcp part of the file", () => {
  test("opens every tool, no file and no other server when it says nothing", () => {
    for (const mcp of ["", "# nothing"]) {
      const { mcp: config } = load(mcp);
      expect(config).toMatchObject({ allow: ["**"], deny: [] });
      expect(Object.keys(config?.workspaces ?? { one: 1 })).toEqual([]);
      expect(Object.keys(config?.upstreams ?? { one: 1 })).toEqual([]);
    }
  });

  test("takes patterns of tools' names, and says what one would be", () => {
    expect(load("allow: [task_*, github__**]\ndeny: ['**__delete_*']").mcp).toMatchObject({
      allow: ["task_*", "github__**"],
      deny: ["**__delete_*"],
    });
    for (const wrong of ["'a b'", "'task/*'", "'{a,b}'", "'a?'", `'${"a".repeat(97)}'`])
      expect(mistake(`allow: [${wrong}]`)).toContain("such as task_*");
    // Everything is closed by it.
    expect(load("allow: []\ndeny: []").mcp).toMatchObject({ allow: [], deny: [] });
    expect(mistake("allows: [a]")).toContain("no such key");
  });
});

describe("a workspace", () => {
  test("is a project, a directory, and the extensions that are open there", () => {
    const { mcp } = load(
      `workspaces: { ${project}: { root: /srv/one/, read: [.MD, .txt], write: [.md], deny: ["**/drafts/**"] } }`,
    );
    expect(mcp?.workspaces[project]).toEqual({
      root: "/srv/one",
      read: [".md", ".txt"],
      write: [".md"],
      deny: ["**/drafts/**"],
    });
  });

  test("takes its directory from the environment", () => {
    const { mcp } = load(`workspaces: { ${project}: { root: "\${ROOT}", read: [.md] } }`, {
      ROOT: "/srv/two",
    });
    expect(mcp?.workspaces[project]?.root).toBe("/srv/two");
  });

  test("is never the whole disk, a relative path, or one with steps back", () => {
    expect(workspace("root: srv/one, read: [.md]")).toContain("not an absolute path");
    expect(workspace("read: [.md]")).toContain("has no root");
    for (const root of [
      "/",
      "//",
      "/proc",
      "/dev/shm",
      "/sys",
      "/etc",
      "/run/secrets",
      "/root",
      "/usr/share",
    ])
      expect(workspace(`root: ${root}, read: [.md]`)).toContain("directory of its own");
    expect(workspace("root: /srv/../etc, read: [.md]")).toContain("/etc");
  });

  test("names extensions, and none that holds secrets", () => {
    expect(workspace("root: /srv/one")).toContain("names no extension");
    for (const wrong of ["md", "'*'", "'.'", ".tar.gz", "'.m d'", "'.mdé'"])
      expect(workspace(`root: /srv/one, read: [${wrong}]`)).toContain("such as .md");
    expect(
      load(`workspaces: { ${project}: { root: /srv/one, read: [.md], deny: ["e\u0301te\u0301/**"] } }`).mcp,
    ).toMatchObject({ workspaces: { [project]: { deny: ["\u00e9t\u00e9/**"] } } });
    for (const secret of [".pem", ".KEY", ".env"])
      expect(workspace(`root: /srv/one, read: [.md, ${secret}]`)).toContain("never open");
  });

  test("denies by patterns that mean what they say", () => {
    for (const wrong of [
      "/abs/**",
      "'!a'",
      "'a{b,c}'",
      "'[ab]'",
      "'a?'",
      "'a\\\\b'",
      "a//b",
      "../a",
      "a/",
      "'a**b'",
    ])
      expect([wrong, workspace(`root: /srv/one, read: [.md], deny: [${wrong}]`)]).toEqual([
        wrong,
        expect.stringContaining("such as **/drafts/**"),
      ]);
  });

  test("belongs to one project", () => {
    expect(mistake("workspaces: { prj_1: { root: /srv/one, read: [.md] } }")).toContain("not a project's id");
    const other = `prj_${"1".repeat(32)}`;
    for (const root of ["/srv/one", "/srv/one/inner", "/srv"])
      expect(
        mistake(
          `workspaces: { ${project}: { root: /srv/one, read: [.md] }, ${other}: { root: ${root}, read: [.md] } }`,
        ),
      ).toContain(project);
    const apart = `workspaces: { ${project}: { root: /srv/one, read: [.md] }, ${other}: { root: /srv/one2, read: [.md] } }`;
    expect(load(apart).mistakes).toEqual([]);
  });
});

describe("a workspace on this machine", () => {
  const nest = realpathSync(mkdtempSync(join(tmpdir(), "grounds-")));
  for (const dir of ["ws/sub", "tools", "data/audit"]) mkdirSync(join(nest, dir), { recursive: true });
  writeFileSync(join(nest, "ws/tool.js"), "");
  for (const [to, name] of [
    ["ws", "link"],
    ["data", "data-link"],
    ["/run", "run-link"],
    ["ws/tool.js", "tools/linked.js"],
  ] as const)
    symlinkSync(to.startsWith("/") ? to : join(nest, to), join(nest, name));
  afterAll(() => rmSync(nest, { recursive: true }));
  const at = (name: string, fields = "write: [.md, .js]") =>
    `workspaces: { ${project}: { root: ${join(nest, name)}, ${fields} } }`;
  const env = { SPECGATE_DATA_DIR: join(nest, "data") };
  const mistakesOf = (mcp: string) => load(mcp, env).mistakes.join(" ");

  test("is one project's alone, and neither the system's nor the gateway's, by whatever link it is reached", () => {
    const other = `prj_${"1".repeat(32)}`;
    const twice = `workspaces: { ${project}: { root: ${nest}/ws, read: [.md] }, ${other}: { root: ${nest}/link, read: [.md] } }`;
    expect(mistakesOf(twice)).toContain(`shares its directory with ${project}`);
    for (const name of ["data", "data/audit", "data-link"])
      expect([name, mistakesOf(at(name))]).toEqual([name, expect.stringContaining("own data dir")]);
    expect(mistakesOf(at("run-link/x"))).toContain("is the system's");
    expect(mistakesOf(at("ws"))).toBe("");
  });

  test("that may be written holds nothing that a command is run from", () => {
    const run = (command: string, more = "") =>
      `upstreams: { notes: { command: [${command}]${more === "" ? "" : `, ${more}`} } }`;
    const ws = join(nest, "ws");
    for (const upstream of [
      run(`${ws}/tool.js`),
      run(`/usr/bin/node, ${ws}/tool.js`),
      run(`/usr/bin/node, ${nest}/link/tool.js`),
      run(`/usr/bin/node, ${nest}/tools/linked.js`),
      run(`/usr/bin/node, "--require=${ws}/tool.js", server.js`),
      run(`/usr/bin/node, "file://${ws}/tool.js"`),
      run(`/usr/bin/node, "../ws/tool.js"`, `cwd: ${nest}/tools`),
      run("/usr/bin/node, tool.js", `cwd: ${ws}`),
      run("/usr/bin/node, tool.js", `cwd: ${nest}`),
      run("/usr/bin/node, tool.js", `cwd: ${nest}/link/sub`),
      run("/usr/bin/tool", `env: { NODE_PATH: "/opt/x:${ws}/lib" }`),
      run("/usr/bin/tool", `env: { NODE_OPTIONS: "--require ${ws}/a.js" }`),
      run("/usr/bin/tool", `env: { LD_PRELOAD: ${ws}/a.so }`),
    ]) {
      expect([upstream, mistakesOf(`${at("ws")}\n${upstream}`)]).toEqual([
        upstream,
        expect.stringMatching(/mcp\.workspaces\.prj_0+: may be written, and mcp\.upstreams\.notes runs/),
      ]);
      // Who may only read plants nothing.
      expect(mistakesOf(`${at("ws", "read: [.md, .js]")}\n${upstream}`)).toBe("");
    }
    for (const upstream of [
      run("/usr/bin/node, server.js, --stdio", `cwd: ${nest}/tools`),
      run(`/usr/bin/tool, ${nest}/ws2`),
      run("/usr/bin/tool", `env: { NOTES_DIR: ${ws} }`),
      run("/usr/bin/tool, stdio", "cwd: /"),
    ])
      expect([upstream, mistakesOf(`${at("ws")}\n${upstream}`)]).toEqual([upstream, ""]);
  });

  test("that may be written does not hold the gateway's own program", () => {
    const root = dirname(process.execPath);
    const given = (fields: string) =>
      load(`workspaces: { ${project}: { root: ${root}, ${fields} } }`).mistakes.join(" ");
    const isTold = process.platform === "linux" ? "own program lies in it" : "";
    expect(given("write: [.js]")).toContain(isTold);
    expect(given("read: [.js]")).not.toContain("own program");
  });

  test("is warned about while its directory is not there", () => {
    const cwd = mkdtempSync(join(tmpdir(), "config-mcp-"));
    writeFileSync(join(cwd, "specgate.yaml"), `mcp:\n  ${at("gone")}\n`);
    const loaded = loadConfig({ env, cwd, flags: {}, terminal: false });
    rmSync(cwd, { recursive: true });
    expect(loaded.ok && loaded.warnings.join(" ")).toContain(`there is no directory ${nest}/gone`);
  });
});

describe("what the documentation and the gateway itself show", () => {
  test("as the defaults is taken, and changes nothing", () => {
    const page = printConfig(null, { defaults: true });
    const block = /^# {3}mcp:\n((?:# {5}.*\n)+)/m.exec(page)?.[1]?.replaceAll(/^# {5}/gm, "") ?? "";
    expect(block).toContain("deny: []");
    const { mcp, mistakes } = load(block);
    expect(mistakes).toEqual([]);
    expect(mcp).toMatchObject({ allow: ["**"], deny: [] });
  });

  test("as an example of `mcp` is taken", () => {
    const readme = readFileSync(join(import.meta.dir, "../../README.md"), "utf8");
    const blocks = [...readme.matchAll(/^```yaml\n(mcp:[\s\S]*?)^```$/gm)].map(([, block]) => block ?? "");
    const examples = blocks.map((block) => block.replaceAll("prj_0123…", project));
    expect(examples.length).toBeGreaterThanOrEqual(2);
    const [, short = ""] = /`mcp: \{ (allow: .*?) \}`/.exec(readme) ?? [];
    expect(load(short.replace(", deny", "\ndeny"))).toMatchObject({
      mistakes: [],
      mcp: { allow: ["**"], deny: [] },
    });
    for (const example of examples) {
      const { mistakes } = load(example.replace(/^mcp:\n?/, "").replaceAll(/^ {2}/gm, ""), {
        GITHUB_MCP_TOKEN: "t0ken",
      });
      expect([example, mistakes]).toEqual([example, []]);
    }
  });

  test("with lists that name nothing closes what they would open", () => {
    const lists = "root: /srv/one, read: [], write: [], deny: []";
    const { mcp } = load(
      `workspaces: { ${project}: { ${lists} } }\nupstreams: { a: { url: https://a.example/mcp, allow: [], deny: [] } }`,
    );
    expect(mcp?.workspaces[project]).toMatchObject({ read: [], write: [], deny: [] });
    expect(mcp?.upstreams.a).toMatchObject({ allow: [], deny: [] });
  });
});

describe("an upstream", () => {
  test("is reached by a URL, or is a command, and asks to be approved unless told", () => {
    const { mcp } = load(
      `upstreams:
  far: { url: "https://mcp.example.com/mcp", bearer: "\${TOKEN}", pin: first_use, timeout_ms: 5000, result_bytes_max: 2048, calls_max: 4, allow: ["get_*"], deny: ["get_secret"] }
  near: { command: [/usr/bin/notes, --stdio], env: { NOTES_KEY: "\${TOKEN}" }, cwd: /srv }`,
      { TOKEN: "t0ken-of-theirs" },
    );
    const { far, near } = mcp?.upstreams ?? {};
    expect(far).toMatchObject({
      kind: "http",
      url: "https://mcp.example.com/mcp",
      pin: "first_use",
      timeoutMs: 5_000,
      resultBytesMax: 2_048,
      callsMax: 4,
      allow: ["get_*"],
      deny: ["get_secret"],
    });
    expect(near).toMatchObject({
      kind: "stdio",
      command: ["/usr/bin/notes", "--stdio"],
      cwd: "/srv",
      pin: "approve",
      resultBytesMax: null,
      allow: ["**"],
    });
    expect(far?.kind === "http" && far.bearer?.reveal()).toBe("t0ken-of-theirs");
    expect(near?.kind === "stdio" && near.env.NOTES_KEY?.reveal()).toBe("t0ken-of-theirs");
    expect(JSON.stringify(mcp)).not.toContain("t0ken-of-theirs");
  });

  test("is one of the two, with nothing that belongs to the other", () => {
    expect(upstream("pin: approve")).toContain("needs either url or command");
    expect(upstream("url: https://a.example/mcp, command: [/bin/a]")).toContain(
      "needs either url or command",
    );
    expect(upstream("url: https://a.example/mcp, cwd: /srv")).toContain("belongs to a command");
    expect(upstream("url: https://a.example/mcp, env: { A: b }")).toContain("belongs to a command");
    expect(upstream("command: [/bin/a], bearer: abc")).toContain("belongs to a url");
    expect(upstream("command: [/bin/a], allow_private_network: true")).toContain("belongs to a url");
  });

  test("lies in a private network only when that is allowed", () => {
    expect(upstream("url: http://10.0.0.1/mcp")).toContain("mcp.upstreams.notes.url");
    expect(
      load("upstreams: { a: { url: http://10.0.0.1/mcp, allow_private_network: true } }").mistakes,
    ).toEqual([]);
    expect(upstream("url: ftp://a.example/mcp")).toContain("mcp.upstreams.notes.url");
    expect(upstream("url: https://u:p@a.example/mcp")).not.toContain("u:p");
  });

  test("runs an absolute path with variables that have names", () => {
    for (const command of ["[notes]", "[./notes]", "[-c]"])
      expect(upstream(`command: ${command}`)).toContain("absolute path");
    expect(upstream("command: []")).toContain("mcp.upstreams.notes.command");
    expect(upstream("command: [/bin/a], env: { 'A=B': c }")).toContain("variable's name");
    expect(upstream("command: [/bin/a], cwd: srv")).toContain("absolute path");
  });

  test("has an alias that is one segment of a tool's name", () => {
    for (const alias of ["a", "a-b", "a_b", "a1", "x".repeat(24)])
      expect(load(`upstreams: { ${alias}: { url: https://a.example/mcp } }`).mistakes).toEqual([]);
    for (const alias of ["a__b", "_a", "a_", "A", "a.b", "-a", "a-", "x".repeat(25), "'a b'", "é"])
      expect(upstream("url: https://a.example/mcp", alias)).toContain("not an upstream's alias");
  });

  test("has numbers within their bounds, and a known way of pinning", () => {
    expect(upstream("url: https://a.example/mcp, timeout_ms: 1")).toContain("100");
    expect(upstream("url: https://a.example/mcp, calls_max: 0")).toContain("calls_max");
    expect(upstream("url: https://a.example/mcp, result_bytes_max: 1")).toContain("result_bytes_max");
    expect(upstream("url: https://a.example/mcp, pin: never")).toContain("first_use or approve");
  });

  test("never has two underscores in its alias, whatever is tried", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9_-]{1,26}$/), (alias) => {
        const { mcp } = load(`upstreams: { "${alias}": { url: https://a.example/mcp } }`);
        if (mcp === null) return;
        expect(alias).not.toContain("__");
        expect(alias).toMatch(/^[a-z0-9].{0,22}[a-z0-9]$|^[a-z0-9]$/);
      }),
      { numRuns: 150 },
    );
  });
});
