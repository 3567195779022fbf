import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { McpConfig } from "./config.ts";
import { loadConfig } from "./config-load.ts";

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
    expect(mistake("allow: []")).toContain("empty list");
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
    for (const root of ["/", "//", "/proc", "/dev/shm", "/sys", "/etc"])
      expect(workspace(`root: ${root}, read: [.md]`)).toContain("directory of its own");
    expect(workspace("root: /srv/../etc, read: [.md]")).toContain("/etc");
  });

  test("names extensions, and none that holds secrets", () => {
    expect(workspace("root: /srv/one")).toContain("names no extension");
    for (const wrong of ["md", "'*'", "'.'", ".tar.gz", "'.m d'", "'.mdé'"])
      expect(workspace(`root: /srv/one, read: [${wrong}]`)).toContain("such as .md");
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
