import { afterAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { startGateway } from "../../testing/gateway.ts";
import { callTool } from "../../testing/mcp.ts";
import { isSpeakable, parsePath } from "./path.ts";
import { Rules } from "./rules.ts";

/** `S` stands for a file that is there and open, `O` for a secret outside. */
const forms = hostileForms();

describe("300 hostile paths", () => {
  const nest = mkdtempSync(join(tmpdir(), "workspace-nest-"));
  const root = join(nest, "root");
  mkdirSync(join(root, "a/b"), { recursive: true });
  mkdirSync(join(nest, "root-beside"));
  for (const path of ["secret.md", "root-beside/secret.md"]) writeFileSync(join(nest, path), "OUTSIDE");
  for (const path of ["open.md", "a/open.md", "a/b/open.md"]) writeFileSync(join(root, path), "open");
  symlinkSync("..", join(root, "up"));
  symlinkSync("/", join(root, "top"));
  symlinkSync("../secret.md", join(root, "away.md"));
  const before = treeOf(nest);

  test("reach nothing outside the root, and leave what is there as it is", async () => {
    expect(forms.length).toBeGreaterThanOrEqual(300);
    const gateway = await startGateway();
    const { robo } = gateway;
    const lists = { read: [".md", ".txt", ".json"], write: [".md", ".txt", ".json"], deny: [] };
    gateway.parts.gateway().mcp.workspaces[robo.projectId] = { root, ...lists };
    let refused = 0;
    const ask = async (tool: string, args: Record<string, unknown>) => {
      const { result, error } = await callTool(robo, tool, { project_id: robo.projectId, ...args });
      const text = JSON.stringify(result ?? error);
      expect(text).not.toContain("OUTSIDE");
      expect(text).not.toContain("internal:");
      if (error !== undefined || result?.isError === true) refused++;
      // What is odd and harmless is a name like any other, and is then found and made below the root.
      else expect(() => parsePath(String(args.path))).not.toThrow();
    };
    for (const path of forms) {
      await ask("workspace_read_file", { path });
      await ask("workspace_write_file", { path, content: "PLANTED", create_directories: true });
      await ask("workspace_list", { path: path.slice(0, path.lastIndexOf("/")) || "up" });
    }
    await gateway.close();
    expect(refused).toBeGreaterThan(2 * forms.length);
    const after = treeOf(nest);
    expect(after).toEqual(expect.arrayContaining(before));
    const planted = after.filter(([path]) => !before.some(([old]) => old === path));
    expect(planted.filter(([path]) => !path.startsWith(`${root}/`))).toEqual([]);
  });

  afterAll(() => rmSync(nest, { recursive: true }));
});

describe("a path", () => {
  const segment = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 });

  test("that is taken is one spelling of a place below the root", () => {
    const piece = fc.oneof(
      segment,
      fc.constantFrom(".", "..", "", ".git", "a", "b.md", " ", "a\\b", "\0", "é", "e\u0301"),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const path = pieces.join("/");
        let segments: string[];
        try {
          segments = parsePath(path);
        } catch {
          return;
        }
        expect(segments.join("/")).toBe(path);
        expect(join("/root", path)).toBe(`/root/${path}`);
        expect(Buffer.from(path).toString()).toBe(path);
        for (const one of segments) expect(isSpeakable(one)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });

  test("of plain names is taken", () => {
    const name = fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9 ._-]{0,20}[A-Za-z0-9_-]$/);
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 5 }), (segments) => {
        expect(parsePath(segments.join("/"))).toEqual(segments);
      }),
    );
  });
});

describe("a pattern", () => {
  const matches = (pattern: string, path: string) =>
    !new Rules({ read: [".md"], write: [], deny: [pattern] }).mayEnter(path.split("/"));

  test("keeps its star inside a segment, crosses with two, and covers what lies below", () => {
    for (const [pattern, path, isCovered] of [
      ["private", "private/a/b.md", true],
      ["private/**", "private", true],
      ["private/**", "public/private", false],
      ["**/private/**", "public/PRIVATE/x.md", true],
      ["*/x.md", "a/x.md", true],
      ["*/x.md", "a/b/x.md", false],
      ["**/*.draft.md", "a/b/c.draft.md", true],
      ["**/*.draft.md", "c.draft.md", true],
      ["*.md", "a/b.md", false],
      ["a*c*e.md", "abcde.md", true],
      ["a*c*e.md", "abde.md", false],
      ["**", "x", true],
    ] as const)
      expect([pattern, path, matches(pattern, path)]).toEqual([pattern, path, isCovered]);
  });

  test("decides as a plain regular expression would", () => {
    const segment = fc.stringMatching(/^[ab]{1,4}$/);
    const glob = fc.oneof(fc.constant("**"), fc.stringMatching(/^[ab*]{1,4}$/));
    fc.assert(
      fc.property(
        fc.array(glob, { minLength: 1, maxLength: 4 }),
        fc.array(segment, { minLength: 1, maxLength: 5 }),
        (pattern, path) => {
          const source = pattern.map((part) =>
            part === "**" ? "(?:[^/]+/)*" : `${part.replaceAll(/\*+/g, "[^/]*")}/`,
          );
          const form = new RegExp(`^${source.join("")}$`);
          const isCovered = path.some((_, at) => form.test(`${path.slice(0, at + 1).join("/")}/`));
          expect(matches(pattern.join("/"), path.join("/"))).toBe(isCovered);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("takes no longer for a path that is made to be slow", () => {
    const rules = new Rules({ read: [".md"], write: [], deny: ["**/*a*a*a*a*a*a*b", "**/**/**/**/x"] });
    const startedAt = performance.now();
    for (let n = 0; n < 20; n++) rules.mayEnter(["a".repeat(250), ...Array<string>(380).fill("a")]);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});

/** Links are noted and not followed. */
function treeOf(dir: string): [string, string][] {
  return readdirSync(dir, { withFileTypes: true })
    .flatMap((entry): [string, string][] => {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) return [[path, "directory"], ...treeOf(path)];
      return [[path, entry.isFile() ? readFileSync(path, "utf8") : "link"]];
    })
    .sort();
}

function hostileForms(): string[] {
  const ups = [
    "..",
    "...",
    ". .",
    ".. ",
    " ..",
    "..\u200b",
    "．．",
    "‥",
    "%2e%2e",
    "%252e%252e",
    "..%00",
    "..;",
    "..\0",
  ];
  const slashes = ["/", "//", "\\", "/./", "%2f", "%5c", "\u2215", "\u2044", "/\\", "\u29f8", "/\t/", "／"];
  const starts = ["", "a/", "./", "a/b/", "up/", "top/"];
  const crossed = starts.flatMap((start) =>
    ups.flatMap((up) => slashes.map((slash) => `${start}${up}${slash}secret.md`)),
  );
  const spelled = ["open.md", "a/open.md"].flatMap((good) => [
    `./${good}`,
    `/${good}`,
    `//${good}`,
    `${good}/`,
    `${good}/.`,
    `${good}.`,
    `${good} `,
    `${good}\0`,
    `${good}\0.txt`,
    `${good}%00.md`,
    `${good}::$DATA`,
    `${good}:stream.md`,
    ` ${good}`,
    `\ufeff${good}`,
    `\u202e${good}`,
    `~/${good}`,
    `a/../${good}`,
    `a/./${good}`,
    `a//${good}`,
    `file://${good}`,
    good.replace("open", "ope\u0301n"),
    good.replace(".md", ".md\n"),
    good.replace(".md", "\u2024md"),
    good.replace(".", "．"),
    good.toUpperCase().replace("OPEN", "\u212aPEN").replace(".MD", ".PEM"),
  ]);
  const famous = [
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/stdin",
    "etc/passwd",
    "up/secret.md",
    "up/root-beside/secret.md",
    "top/etc/hostname",
    "top/etc/passwd.md",
    "away.md",
    "up/root/open.md",
    "C:\\secret.md",
    "C:/secret.md",
    "\\\\host\\share\\secret.md",
    "\\\\?\\C:\\secret.md",
    "/proc/self/fd/3/secret.md",
    "-rf",
    "$HOME/secret.md\n",
    ".",
    "..",
    "/",
    "",
    "~",
    "\ud800.md",
    "a/".repeat(600),
    `${"x".repeat(300)}.md`,
    `${"é".repeat(600)}.md`,
    ".git/config",
    "a/.ssh/id_rsa",
    "id_rsa",
    ".env",
    "open.md.pem",
  ];
  return [...new Set([...spelled, ...famous, ...crossed])].slice(0, 420);
}
