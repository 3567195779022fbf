/** What holds for every file: what was written is read, what is read can be sent, and nothing takes long. */
import { describe, expect, test } from "bun:test";
import { cpuUsage } from "node:process";
import fc from "fast-check";
import { batchForm } from "../features/tasks/contract.ts";
import { type FileTask, readTaskFile, type TaskFile } from "./task-file.ts";
import { Misuse } from "./world.ts";

type Plain = Omit<FileTask, "line">;

const words = fc.constantFrom(
  ..."Sign in page request limit per account ลงชื่อเข้าใช้ น้ำแข็ง ผู้ใหญ่ บทเรียน กำหนดเวลา ๒๔ `POST /login` C++ C# A/B — & (both) 100% iPhone รุ่นใหม่ e\u0301 ﬁ".split(
    " ",
  ),
);
const sentence = fc.array(words, { minLength: 2, maxLength: 8 }).map((parts) => `Do ${parts.join(" ")}`);
const path = fc
  .array(fc.constantFrom("src", "app", "หน้า", "login", "a-b", "x_y"), { minLength: 1, maxLength: 4 })
  .map((parts) => `${parts.join("/")}.ts`);
const paths = fc.uniqueArray(path, { maxLength: 3 });
const status = fc.constantFrom<FileTask["status"]>("planned", "doing", "blocked", "done", "cancelled");
const lines = fc.option(fc.array(sentence, { minLength: 1, maxLength: 3 }), { nil: null });

const task = fc.record({
  number: fc.integer({ min: 1, max: 9_999 }),
  priority: fc.option(fc.integer({ min: 0, max: 3 }), { nil: null }),
  title: sentence,
  criteria: lines,
  files: paths,
  tests: paths,
  status,
  notes: lines,
});
const list = fc.uniqueArray(task, { selector: ({ number }) => number, maxLength: 12 });
type Generated = typeof list extends fc.Arbitrary<infer T> ? T : never;

const emoji: Record<FileTask["status"], string> = {
  planned: "⬜",
  doing: "🚧",
  blocked: "⛔",
  done: "✅",
  cancelled: "❌",
};
const refOf = (number: number): string => `SSP-WEB-003-TASK-${String(number).padStart(3, "0")}`;

/** The plain SmartSpec form. */
function rendered(tasks: Generated): string {
  const blocks = tasks.map(({ number, priority, title, criteria, files, tests, status, notes }) => [
    `- ${emoji[status]} **${refOf(number)}${priority === null ? "" : ` [P${priority}]`}**: ${title}`,
    ...(criteria === null ? [] : ["  - Acceptance criteria:", ...criteria.map((text) => `    - ${text}`)]),
    ...(files.length === 0 ? [] : [`  - Files: ${files.map((name) => `\`${name}\``).join(", ")}`]),
    ...(tests.length === 0 ? [] : [`  - Tests: ${tests.map((name) => `\`${name}\``).join(", ")}`]),
    ...(notes ?? []).map((text) => `  - ${text}`),
  ]);
  return ["# SSP-WEB-003: Web", "", ...blocks.flat(), ""].join("\n");
}

const meant = (tasks: Generated): Plain[] =>
  tasks.map(({ number, priority, title, criteria, files, tests, status, notes }) => {
    const noted = [
      ...(priority === null ? [] : [`priority: P${priority}`]),
      ...(notes ?? []).map((it) => `- ${it}`),
    ];
    return {
      task_ref: refOf(number),
      title,
      originating_spec: "SSP-WEB-003",
      acceptance_criteria: criteria === null ? null : criteria.join("\n"),
      mapped_files: files,
      mapped_tests: tests,
      status,
      notes: noted.length === 0 ? null : noted.join("\n"),
    };
  });

const sent = ({ tasks }: TaskFile): Plain[] => tasks.map(({ line: _, ...fields }) => fields);

describe("a list of tasks", () => {
  test("is read as it was written, in SmartSpec's form", () => {
    fc.assert(
      fc.property(list, fc.constantFrom("\n", "\r\n"), (tasks, lineEnd) => {
        const file = readTaskFile("tasks.md", rendered(tasks).replaceAll("\n", lineEnd));
        expect(sent(file)).toEqual(meant(tasks));
      }),
      { numRuns: 300 },
    );
  });

  test("says in JSON what it says in Markdown", () => {
    fc.assert(
      fc.property(list, (tasks) => {
        const json = readTaskFile("tasks.json", JSON.stringify({ tasks: meant(tasks) }));
        expect(sent(json)).toEqual(sent(readTaskFile("tasks.md", rendered(tasks))));
      }),
      { numRuns: 100 },
    );
  });

  test("keeps its titles letter by letter, in every script", () => {
    const letter = fc.string({ unit: "grapheme-composite", minLength: 1, maxLength: 20 });
    // Marks around a title and white space are the form's, not the title's.
    const title = letter.filter((text) => /^\p{L}[\p{L}\p{M}\p{N} ]*$/u.test(text) && text === text.trim());
    const thai = fc
      .string({
        unit: fc.integer({ min: 0x0e01, max: 0x0e5b }).map((code) => String.fromCodePoint(code)),
        minLength: 1,
      })
      .map((text) => `ก${text}`);
    fc.assert(
      fc.property(fc.oneof(title, thai), (text) => {
        const [task] = readTaskFile("tasks.md", `- [ ] **TASK-1**: ${text}\n`).tasks;
        expect(task?.title).toBe(text.trim());
      }),
      { numRuns: 500 },
    );
  });
});

/** Pieces that mean something to the reader, and some that do not. */
const pieces = [
  ..."\n \t - * + 1. # | : [ ] ( ) ` ~ _ < > ! x X / \\ é ก ำ ็".split(" "),
  ..."[ ]|[x]|[-]|[?]|- [ ] |  - [x] |    - |\t- |```|~~~|<!--|-->|---|***|===|# |### |> |✅|🚧|\ufe0f|👩‍💻".split(
    "|",
  ),
  ..."TASK-1|TASK-|SSP-WEB-003-TASK-007|T001|1.2|1.|Task 3|งาน 3|**|__|~~|`|[P0]|(P1)|[P]|[US1]|](|[a](b)|*(a)*".split(
    "|",
  ),
  ..."Files:|Tests:|AC:|Acceptance criteria:|เกณฑ์การยอมรับ:|Status: done|Spec: a|Given |When |evidence: code path=".split(
    "|",
  ),
  "| ID | Task | Status |\n|---|---|---|\n",
  "| TASK-1 | a | ✅ |\n",
  "\n\n",
  "\n- [ ] TASK-1: a\n",
  "\r\n",
  "\0",
  "\u0007",
  "\ud800",
  "\ufffd",
  "\ufeff",
  "a".repeat(510),
];
const pieced = fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map((parts) => parts.join(""));

/** Every task can be sent, and every line is one of the file's. Throws what is no Misuse. */
function isSound(name: string, text: string): void {
  let file: TaskFile;
  try {
    file = readTaskFile(name, text);
  } catch (error) {
    if (!(error instanceof Misuse)) throw error;
    expect(error.mistakes.length).toBeGreaterThan(0);
    for (const mistake of error.mistakes) expect(mistake).toMatch(/^tasks\.\w+:|^and \d+ more/);
    return;
  }
  const { error } = batchForm.safeParse({ tasks: sent(file), mode: "replace" });
  expect(error?.issues ?? []).toEqual([]);
  const count = text.split(/\r\n|\n|\r/).length;
  for (const { line } of [...file.tasks, ...file.warnings]) {
    expect(line).toBeGreaterThanOrEqual(1);
    if (name.endsWith(".md")) expect(line).toBeLessThanOrEqual(count);
  }
  expect(file.tasks.map(({ line }) => line)).toEqual(
    file.tasks.map(({ line }) => line).sort((a, b) => a - b),
  );
}

describe("any text", () => {
  test("is read as Markdown, or refused in words", () => {
    const text = fc.oneof(pieced, fc.string({ unit: "binary", maxLength: 200 }));
    fc.assert(
      fc.property(text, (markdown) => isSound("tasks.md", markdown)),
      { numRuns: 5_000 },
    );
  });

  test("is read as JSON, or refused in words", () => {
    const name = fc.constantFrom(
      "title",
      "id",
      "taskRef",
      "status",
      "notes",
      "mapped_files",
      "acceptanceCriteria",
      "xyz",
    );
    const value = fc.oneof(fc.jsonValue(), pieced, fc.constantFrom("done", "todo"), fc.array(pieced));
    const json = fc.array(fc.dictionary(name, value)).map((tasks) => JSON.stringify({ tasks }));
    fc.assert(
      fc.property(fc.oneof(json, fc.json(), fc.string(), pieced), (text) => isSound("tasks.json", text)),
      { numRuns: 2_000 },
    );
  });
});

/** Of this process; what else the machine is doing does not count. */
function cpuSeconds(work: () => void): number {
  const start = cpuUsage();
  work();
  const { user, system } = cpuUsage(start);
  return (user + system) / 1e6;
}

const repeated = (text: string, size: number): string =>
  text.repeat(Math.ceil(size / text.length)).slice(0, size);

/** That it ends, and how: what comes out of so much is not looked at. */
const reads = (name: string, text: string) => () => {
  try {
    readTaskFile(name, text);
  } catch (error) {
    if (!(error instanceof Misuse)) throw error;
  }
};

describe("a large file", () => {
  test("of 5 MB is read within two seconds", () => {
    const block = (index: number) =>
      `- ✅ **SSP-WEB-003-TASK-${index} [P0]**: ระบบลงชื่อเข้าใช้ข้อที่ ${index} with \`POST /login\`\n` +
      "  - เกณฑ์การยอมรับ:\n    - [x] ใช้งานได้จริงทุกอุปกรณ์\n    - Works on every device\n" +
      `  - Files: \`src/${index}.ts\`, \`src/login.ts\`\n  - Tests: \`src/${index}.test.ts\`\n` +
      "  - A note of some length, as people write them between two meetings\n\n";
    let text = "# SSP-WEB-003: Web\n\n";
    let count = 0;
    for (; Buffer.byteLength(text) < 5_000_000; count += 100)
      text += Array.from({ length: 100 }, (_, index) => block(count + index)).join("");
    let file: TaskFile | undefined;
    const seconds = cpuSeconds(() => {
      file = readTaskFile("tasks.md", text);
    });
    expect(file?.tasks).toHaveLength(count);
    expect(seconds).toBeLessThan(2);
  });

  const size = 500_000;
  const nested = (): string => {
    const lines: string[] = [];
    for (let depth = 0, length = 0; length < size; depth++, length += depth + 8)
      lines.push(`${" ".repeat(depth)}- [ ] a`);
    return lines.join("\n");
  };
  const runsOfTicks = (): string => {
    const runs: string[] = [];
    for (let length = 1, sum = 0; sum < size; length++, sum += length) runs.push("`".repeat(length));
    return runs.join(" ");
  };
  const shapes: [string, string][] = [
    ["one line of white space", `- [ ] a${repeated(" ", size)}b`],
    ["one line of a title", `- [ ] ${repeated("ก", 2 * size)}`],
    ["one line of brackets", `- [ ] ${repeated("[", size)}`],
    ["one line of links", `- [ ] ${repeated("](a(", size)}`],
    ["one line of boxes", repeated("- [ ] ", size)],
    ["one line of paths", `- [ ] a\n  Files: ${repeated("a,", size)}`],
    ["one line of code spans", `- [ ] a <!-- b ${runsOfTicks()}`],
    ["comments between code spans", repeated("<!--`--> ` `` ", size)],
    ["comments in code spans", repeated("`<!--`", size)],
    ["a heading of signs", `# a ${repeated("# ", size)}`],
    ["a heading of white space", `# a${repeated(" ", size)}#`],
    ["a rule that is none", `${repeated("- ", size)}x`],
    ["a table of one row", `| ID | Task | Status |\n|-|-|-|\n${repeated("|a", size)}`],
    ["a table of escaped bars", `a|b\n-|-\n${repeated("\\|", size)}`],
    ["front matter", `---\n${repeated("spec: a\n", size)}---\n`],
    ["a hundred thousand lines", repeated("ab c\n", size)],
    ["a hundred thousand tasks", repeated("- [ ] abc\n", 2 * size)],
    ["lists in lists", nested()],
    ["quotes in quotes", repeated("> ", size)],
    ["titles of links", repeated(`- [ ] ${repeated("[a](b", 9_900)}\n`, size)],
    ["titles of stars", repeated(`- [ ] ${repeated("*_", 9_900)}\n`, size)],
    ["titles of tags", repeated(`- [ ] a ${repeated("[P0] ", 9_900)}\n`, size)],
    ["titles of remarks", repeated(`- [ ] a ${repeated("*(b)* ", 9_900)}\n`, size)],
    ["refs of dashes", repeated(`- [ ] ${repeated("TASK-", 290)}x\n`, size)],
    ["refs of numbers", repeated(`- [ ] ${repeated("T1.", 290)}x\n`, size)],
    ["refs of dots", repeated(`- [ ] a${repeated("._/-", 290)}!\n`, size)],
    ["a title of many lines", `- [ ] a\n${repeated("  b\n", size)}`],
    ["many parts of one long title", `- [ ] ${repeated("a", 9_000)}\n${repeated("  - [ ] b\n", size)}`],
    ["many parts of one heading", `## Task 1: a\n${repeated("- [ ] b\n", size)}`],
    ["many files of one task", `- [ ] a\n${repeated("  - Files: a, b\n", size)}`],
    ["many requirements of one task", `- [ ] a\n${repeated("  _Requirements: 1.1, 1.2_\n", size)}`],
    ["many scenarios of one task", `- [ ] a\n${repeated("  - Given b\n", size)}`],
    ["headings that turn out to be sections", repeated("# ✅ a\n## ✅ b\n### ✅ c\n", size)],
    ["the same ref again and again", repeated("- [ ] TASK-1: a\n", size)],
    ["fences", repeated("```\n~~~\n", size)],
  ];
  test.each(shapes)("of %s is read within two seconds", (_, text) => {
    expect(cpuSeconds(reads("tasks.md", text))).toBeLessThan(2);
  });

  test.each([
    ["deep lists", repeated("[", size)],
    ["deep lists that end", `${repeated("[", size / 2)}${repeated("]", size / 2)}`],
    ["deep objects", repeated('{"tasks":', size)],
    ["one text", `["${repeated("\\\\", size)}`],
    ["empty tasks", `[${repeated("{},", size)}{}]`],
    ["one member with a long name", `[{"${repeated("a", size)}":1}]`],
    ["many members", `[{${Array.from({ length: 50_000 }, (_, index) => `"k${index}":1`).join(",")}}]`],
    ["one status", `[{"title":"a","status":"${repeated("a ", size)}"}]`],
  ])("of JSON with %s is read within two seconds", (_, text) => {
    expect(cpuSeconds(reads("tasks.json", text))).toBeLessThan(2);
  });
});
