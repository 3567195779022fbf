import { expect, test } from "bun:test";
import fc from "fast-check";
import { compileToolGlobs } from "./tool-glob.ts";

const is = (glob: string, name: string) => compileToolGlobs([glob])(name);

test("a star stays within a segment, two cross", () => {
  const rows: [string, string, boolean][] = [
    ["*", "whoami", true],
    ["*", "task_list", true],
    ["*", "github__issues", false],
    ["**", "whoami", true],
    ["**", "github__issues__list", true],
    ["task_*", "task_list", true],
    ["task_*", "task_", true],
    ["task_*", "tasks", false],
    ["task*", "task", true],
    ["github__*", "github__issues", true],
    ["github__*", "github__", true],
    ["github__*", "github", false],
    ["github__*", "github__issues__list", false],
    ["github__**", "github__issues__list", true],
    ["**__list", "github__issues__list", true],
    ["**__list", "list", false],
    ["*__list", "github__issues__list", false],
    ["git*__*_list", "github__issue_list", true],
    // A separator is never cut in half.
    ["git_*", "git__clone", false],
    ["*_clone", "git__clone", false],
    ["git_**", "git__clone", false],
    ["git***", "git__clone", true],
    ["a___b", "a___b", true],
    ["a__*", "a___b", true],
    ["a_*", "a___b", false],
    // Byte by byte.
    ["Task_list", "task_list", false],
    ["task.list", "task_list", false],
    ["task_list", "task_list ", false],
    ["", "", true],
    ["*", "", true],
  ];
  expect(rows.map(([glob, name]) => [glob, name, is(glob, name)])).toEqual(rows);
  expect(compileToolGlobs([])("whoami")).toBe(false);
  expect(compileToolGlobs(["x", "task_*", "b"])("task_list")).toBe(true);
});

const piece = fc.constantFrom("a", "b", "_", "__", "A", ".", "-");
const names = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
const globs = fc
  .array(fc.oneof(piece, fc.constantFrom("*", "**")), { maxLength: 12 })
  .map((pieces) => pieces.join(""));

/** As regular expressions say it, over names whose separators are one character. */
function oracle(glob: string, name: string): boolean {
  const one = (text: string) => text.replaceAll("__", "/");
  const form = glob
    .split(/(\*+)/)
    .map((part) => {
      if (part === "*") return "[^/]*";
      return part.startsWith("*") ? "[^]*" : one(part).replaceAll(/[.\-/]/g, "\\$&");
    })
    .join("");
  return new RegExp(`^${form}$`).test(one(name));
}

test("it says what regular expressions say", () => {
  fc.assert(
    fc.property(globs, names, (glob, name) => {
      expect(is(glob, name)).toBe(oracle(glob, name));
    }),
    { numRuns: 5_000 },
  );
});

test("no pattern is slow", () => {
  for (const glob of ["*a".repeat(48), "**a".repeat(32), `${"*_".repeat(47)}x`, "a*".repeat(48)]) {
    const matches = compileToolGlobs([glob]);
    const from = performance.now();
    for (let time = 0; time < 20; time++) matches(`${"a_".repeat(64)}b`);
    expect((performance.now() - from) / 20).toBeLessThan(5);
  }
});
