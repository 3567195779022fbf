/** The forms of Markdown, one by one. */
import { describe, expect, test } from "bun:test";
import { type FileTask, readTaskFile } from "./task-file.ts";
import { Misuse } from "./world.ts";

const read = (...lines: string[]) => readTaskFile("tasks.md", lines.join("\n"));

/** The one task that these lines hold. */
function one(...lines: string[]): FileTask {
  const { tasks } = read(...lines);
  expect(tasks).toHaveLength(1);
  return tasks[0] as FileTask;
}

/** What is wrong with these lines. */
function wrong(...lines: string[]): readonly string[] {
  try {
    read(...lines);
  } catch (error) {
    if (error instanceof Misuse) return error.mistakes;
    throw error;
  }
  throw new Error("these lines were taken");
}

const warned = (...lines: string[]): [number, string][] =>
  read(...lines).warnings.map(({ line, message }) => [line, message]);

describe("a mark", () => {
  const marks: [string, FileTask["status"]][] = [
    ["[ ]", "planned"],
    ["[]", "planned"],
    ["[x]", "done"],
    ["[X]", "done"],
    ["[ x ]", "done"],
    ["[✅]", "done"],
    ["[/]", "doing"],
    ["[>]", "doing"],
    ["[~]", "doing"],
    ["[!]", "blocked"],
    ["[-]", "cancelled"],
    ["✅", "done"],
    ["☑", "done"],
    ["☑️", "done"],
    ["✔", "done"],
    ["✔️", "done"],
    ["⬜", "planned"],
    ["⬜️", "planned"],
    ["☐", "planned"],
    ["🔲", "planned"],
    ["🔄", "doing"],
    ["🚧", "doing"],
    ["⏳", "doing"],
    ["⛔", "blocked"],
    ["⛔️", "blocked"],
    ["⏸️", "blocked"],
    ["❌", "cancelled"],
    ["🚫", "cancelled"],
    ["[ ] 🚧", "doing"],
    ["[ ] ⬜", "planned"],
    ["[x] ✅", "done"],
  ];
  test.each(marks)("%s is %s", (mark, status) => {
    expect(one(`- ${mark} ลงชื่อเข้าใช้ Sign in`)).toMatchObject({ title: "ลงชื่อเข้าใช้ Sign in", status });
  });

  test.each(["-", "*", "+", "•", "1.", "12)", "\t-", "   *", "-  ", "-\t"])("stands behind %j", (bullet) => {
    expect(one(`${bullet} [x] Sign in`)).toMatchObject({ title: "Sign in", status: "done" });
  });

  test.each([
    "- Sign in",
    "- [x](https://example.com)",
    "- [x]Sign in",
    "- [link] Sign in",
    "> - [ ] Sign in",
    "✅ All went well",
    "-[ ] Sign in",
    "    ",
    "| - [ ] | Sign in |",
  ])("makes a task of no more than that: %j", (line) => {
    expect(read(line).tasks).toEqual([]);
  });

  test("that is not known is doubted, and so are two that contradict each other", () => {
    expect(warned("- [ ] a", "- [?] b")).toEqual([
      [2, "[?] is no known mark; read as planned. Known are [ ] [x] [/] [~] [>] [!] [-]"],
    ]);
    expect(warned("- [x] ⛔ a")).toEqual([[1, "one mark says done, another blocked; read as done"]]);
    expect(warned("- [ ] ✅ a")).toEqual([[1, "one mark says planned, another done; read as done"]]);
    expect(warned("- [ ] ⛔ a", "- [x] ⬜ b")).toEqual([]);
  });

  test("without a text is no task", () => {
    expect(warned("- [ ]", "- [x] [P0]", "- [ ] a")).toEqual([
      [1, "a task has no title here; it was left out"],
      [2, "a task has no title here; it was left out"],
    ]);
  });

  test("is not needed before what is struck out to cancel it", () => {
    expect(one("- [ ] ~~Sign in~~")).toMatchObject({ title: "Sign in", status: "cancelled" });
    expect(one("- [x] ~~Sign in~~")).toMatchObject({ title: "Sign in", status: "done" });
  });
});

describe("a ref", () => {
  const refs: [string, string | null, string][] = [
    ["**SSP-WEB-003-TASK-007 [P0]**: Sign in", "SSP-WEB-003-TASK-007", "Sign in"],
    ["**TASK-007**: Sign in", "TASK-007", "Sign in"],
    ["**TASK-007:** Sign in", "TASK-007", "Sign in"],
    ["**TASK-007: Sign in**", "TASK-007", "Sign in"],
    ["__TASK-007__ Sign in", "TASK-007", "Sign in"],
    ["TASK-007: Sign in", "TASK-007", "Sign in"],
    ["TASK-007：Sign in", "TASK-007", "Sign in"],
    ["TASK-007 Sign in", "TASK-007", "Sign in"],
    ["TASK-007 — Sign in", "TASK-007", "Sign in"],
    ["TASK-007 - Sign in", "TASK-007", "Sign in"],
    ["TASK-007. Sign in", "TASK-007", "Sign in"],
    ["TASK_007: Sign in", "TASK_007", "Sign in"],
    ["TASK-007a: Sign in", "TASK-007a", "Sign in"],
    ["`TASK-007`: Sign in", "TASK-007", "Sign in"],
    ["[TASK-007] Sign in", "TASK-007", "Sign in"],
    ["[TASK-007](tasks/007.md): Sign in", "TASK-007", "Sign in"],
    ["(TASK-007) Sign in", "TASK-007", "Sign in"],
    ["TSK-AUTH-032 Sign in", "TSK-AUTH-032", "Sign in"],
    ["task-7: Sign in", "task-7", "Sign in"],
    ["Task 3: Sign in", "Task 3", "Sign in"],
    ["**Task 2.1: Sign in**", "Task 2.1", "Sign in"],
    ["งาน 3: ลงชื่อ", "งาน 3", "ลงชื่อ"],
    ["งาน-003: ลงชื่อ", "งาน-003", "ลงชื่อ"],
    ["T001 [P] [US1] Sign in", "T001", "Sign in"],
    ["T1.2 Sign in", "T1.2", "Sign in"],
    ["T3: Sign in", "T3", "Sign in"],
    ["1. Sign in", "1", "Sign in"],
    ["1.2 Sign in", "1.2", "Sign in"],
    ["1.2.3 Sign in", "1.2.3", "Sign in"],
    ["1.2. Sign in", "1.2", "Sign in"],
    ["**AUTH-12**: Sign in", "AUTH-12", "Sign in"],
    ["AUTH-12: Sign in", "AUTH-12", "Sign in"],
    ["TASK-007", "TASK-007", "TASK-007"],
    ["UTF-8 in titles", null, "UTF-8 in titles"],
    ["3 keys", null, "3 keys"],
    ["42", null, "42"],
    ["404: not found", null, "404: not found"],
    ["2026-11-02: Sign in", null, "2026-11-02: Sign in"],
    ["T3 instances", null, "T3 instances"],
    ["Task list of the day", null, "Task list of the day"],
    ["task-list-2: foo", null, "task-list-2: foo"],
    ["**Core**: Sign in", null, "**Core**: Sign in"],
    ["C++ and C#: both", null, "C++ and C#: both"],
    ["`npm test` passes", null, "`npm test` passes"],
    ["https://example.com/a: moved", null, "https://example.com/a: moved"],
  ];
  test.each(refs)("in %j is %p", (text, task_ref, title) => {
    expect(one(`- [ ] ${text}`)).toMatchObject({ task_ref, title });
  });

  test("needs a colon where no mark stands before it", () => {
    expect(one("TASK-007: Sign in")).toMatchObject({ task_ref: "TASK-007", status: "planned" });
    expect(one("- **SSP-WEB-003-TASK-007 [P0]**: Sign in")).toMatchObject({ notes: "priority: P0" });
    expect(one("✅ TASK-007 Sign in")).toMatchObject({ status: "done" });
    expect(read("TASK-007 is late", "- TASK-007", "Sign in comes first, TASK-007: later").tasks).toEqual([]);
  });

  test("names its spec when nothing above it does", () => {
    const specOf = (...lines: string[]) => one(...lines).originating_spec;
    expect(specOf("- [ ] SSP-WEB-003-TASK-007: a")).toBe("SSP-WEB-003");
    expect(specOf("- [ ] TSK-AUTH-032 a")).toBe("AUTH");
    expect(specOf("- [ ] TASK-007: a")).toBeNull();
    expect(specOf("- [ ] T001 a")).toBeNull();
    expect(specOf("# SSP-APP-001: App", "- [ ] SSP-WEB-003-TASK-007: a")).toBe("SSP-APP-001");
  });

  test("stands once for a spec: both lines are named", () => {
    expect(wrong("- [ ] TASK-1: a", "", "- [x] task-1: b", "- [ ] TASK-2: c", "- [ ] **TASK-2** d")).toEqual([
      "tasks.md:3: task-1 again, after line 1; would stand once",
      "tasks.md:5: TASK-2 again, after line 4; would stand once",
    ]);
    const { tasks } = read("# AAA-001: a", "- [ ] TASK-1: a", "# BBB-002: b", "- [ ] TASK-1: b");
    expect(tasks.map(({ originating_spec }) => originating_spec)).toEqual(["AAA-001", "BBB-002"]);
  });

  test("is what tasks of one text need", () => {
    expect(warned("- [ ] Commit", "- [ ] Test", "- [ ]  commit")).toEqual([
      [3, "the same as line 1, by title and criteria; kept apart by their order, where a ref would be surer"],
    ]);
  });
});

describe("tags", () => {
  const tags: [string, string, string | null][] = [
    ["T001 [P] [US2] Sign in", "Sign in", "parallel\nstory: US2"],
    ["[P0] Sign in", "Sign in", "priority: P0"],
    ["(P1) Sign in", "Sign in", "priority: P1"],
    ["TASK-1: [p2] Sign in", "Sign in", "priority: P2"],
    ["Sign in [P3]", "Sign in", "priority: P3"],
    ["Sign in (P1) [US1]", "Sign in", "priority: P1\nstory: US1"],
    ["**Sign in (P1)**", "Sign in", "priority: P1"],
    ["Sign in (priority: high)", "Sign in", "priority: high"],
    ["Sign in (ความสำคัญ: สูง)", "Sign in", "priority: สูง"],
    ["Sign in [WIP] (now)", "Sign in [WIP] (now)", null],
    ["Sign in *(waits for the mail)*", "Sign in", "waits for the mail"],
    ["Sign in _(รอ)_ [P0]", "Sign in", "priority: P0\nรอ"],
    ["Sign in (P)", "Sign in (P)", null],
  ];
  test.each(tags)("of %j", (text, title, notes) => {
    expect(one(`- [ ] ${text}`)).toMatchObject({ title, notes });
  });

  test("may be lines below the task", () => {
    expect(one("- [ ] a", "  - Priority: high", "  - _Requirements: 1.1, 2.3_").notes).toBe(
      "priority: high\nrequirements: 1.1, 2.3",
    );
    expect(one("- [ ]* 1.2 a")).toMatchObject({ task_ref: "1.2", notes: "optional" });
  });
});

describe("a title", () => {
  const titles: [string, string][] = [
    ["**Sign in**", "Sign in"],
    ["*Sign in*", "Sign in"],
    ["_Sign in_", "Sign in"],
    ["***Sign in***", "Sign in"],
    ["`npm test`", "npm test"],
    ["**`npm test`**", "npm test"],
    ["**Sign** in **now**", "**Sign** in **now**"],
    ["`a` and `b`", "`a` and `b`"],
    ["snake_case and _more_", "snake_case and _more_"],
    ["See [the spec](specs/login.md) first", "See the spec first"],
    ["[Login](https://en.wikipedia.org/wiki/Login_(computing)) page", "Login page"],
    ['[Login](login.md "the page") page', "Login page"],
    ["![logo](logo.png) on the page", "logo on the page"],
    ["Take `[a](b)` apart", "Take `[a](b)` apart"],
    ["a [broken](link", "a [broken](link"],
    ["Escape `<!--` in input", "Escape `<!--` in input"],
    ["Sign in <!-- id: 7 -->", "Sign in"],
    ["Sign\tin", "Sign in"],
    ["ผู้ใหญ่ น้ำแข็ง ก็ ปํ้", "ผู้ใหญ่ น้ำแข็ง ก็ ปํ้"],
    ["e\u0301 \u00e9 ﬁ Å \u0e33 \u0e4d\u0e32", "e\u0301 \u00e9 ﬁ Å \u0e33 \u0e4d\u0e32"],
    ["ตัด\u200bคำ", "ตัด\u200bคำ"],
    ["👩‍💻 ❤️ ok", "👩‍💻 ❤️ ok"],
  ];
  test.each(titles)("%j is %j", (text, title) => {
    expect(one(`- [ ] ${text}`).title).toBe(title);
  });

  test("goes on in the next line, as a paragraph does", () => {
    expect(one("- [ ] **TASK-1: One", "  and two**", "  and three", "", "  Not this.")).toMatchObject({
      title: "**One and two** and three",
      notes: "Not this.",
    });
    expect(one("- [ ] One  ", "  and a note")).toMatchObject({ title: "One", notes: "and a note" });
    expect(one("- [ ] One", "  - and a note")).toMatchObject({ title: "One", notes: "- and a note" });
    expect(one("- [ ] One", "  Owner: Ada")).toMatchObject({ title: "One", notes: "Owner: Ada" });
    expect(one("- [ ] One", "and what belongs to nobody")).toMatchObject({ title: "One", notes: null });
  });

  test("is only its first line where all of them would be too long", () => {
    const long = "word ".repeat(60).trim();
    expect(one("- [ ] One", `  ${long}`, `  ${long}`)).toMatchObject({
      title: "One",
      notes: `${long}\n${long}`,
    });
  });
});

describe("below a task", () => {
  test.each([
    "Acceptance criteria:",
    "**Acceptance Criteria**:",
    "- **Acceptance Criteria:**",
    "- AC:",
    "_Acceptance criteria:_",
    "เกณฑ์การยอมรับ:",
    "- Acceptance Criteria (เกณฑ์การยอมรับ):",
    "- Definition of Done：",
    "- [ ] Acceptance criteria:",
  ])("%j heads criteria", (label) => {
    const lines = ["- [ ] a", `  ${label}`, "    - one", "    - [x] two", "      - **three**", "  - a note"];
    expect(one(...lines)).toMatchObject({ acceptance_criteria: "one\ntwo\n  **three**", notes: "- a note" });
  });

  test("criteria may stand in the label's line or column, or be of Gherkin's kind", () => {
    expect(one("- [ ] a", "  AC: one").acceptance_criteria).toBe("one");
    expect(one("- [ ] a", "", "  Acceptance criteria:", "  - one", "  - two").acceptance_criteria).toBe(
      "one\ntwo",
    );
    expect(one("- [ ] a", "", "  AC:", "  - one", "    - more", "  - two").acceptance_criteria).toBe(
      "one\n  more\ntwo",
    );
    expect(one("- [ ] a", "  - **Given** x", "  - **When** y", "  - **Then** z", "  - note")).toMatchObject({
      acceptance_criteria: "**Given** x\n**When** y\n**Then** z",
      notes: "- note",
    });
    expect(one("- [ ] a", "  - WHEN it rains THEN it SHALL stop").acceptance_criteria).toBe(
      "WHEN it rains THEN it SHALL stop",
    );
    expect(one("- [ ] a", "  - AC-1: it works", "  - Whenever you like")).toMatchObject({
      acceptance_criteria: "AC-1: it works",
      notes: "- Whenever you like",
    });
  });

  test("ticking a criterion does not make another of it", () => {
    const criteria = (box: string) => one("- [ ] a", "  - AC:", `    - [${box}] one`).acceptance_criteria;
    expect(criteria("x")).toBe(criteria(" "));
  });

  test("a box is a task of its own, but not below acceptance criteria", () => {
    const { tasks } = read("- [ ] a", "  - AC:", "    - [ ] b", "  - [x] c", "    - [ ] d", "- [ ] e");
    expect(tasks.map(({ title, notes }) => [title, notes])).toEqual([
      ["a", null],
      ["c", "part of: a"],
      ["d", "part of: c"],
      ["e", null],
    ]);
  });

  test("a box with a task's ref ends the criteria", () => {
    const lines = ["### TASK-1: a", "Acceptance criteria:", "- [ ] one", "- [ ] **TASK-2**: b", "- [ ] c"];
    expect(
      read(...lines).tasks.map(({ title, acceptance_criteria }) => [title, acceptance_criteria]),
    ).toEqual([
      ["a", "one"],
      ["b", null],
      ["c", null],
    ]);
  });

  const paths: [string, string[]][] = [
    ["Files: `a.ts`, `b.ts`", ["a.ts", "b.ts"]],
    ["Files: a.ts, b.ts; c.ts", ["a.ts", "b.ts", "c.ts"]],
    ["**File:** src/a.ts (new)", ["src/a.ts"]],
    ["- **Files**: src/a.ts — the page", ["src/a.ts"]],
    ["ไฟล์: `ก.ts`", ["ก.ts"]],
    ["ไฟล์:src/a.ts", ["src/a.ts"]],
    ["Files: [a.ts](src/a.ts)", ["a.ts"]],
    ["Files: `a.ts` and `a.ts`", ["a.ts"]],
    ["Files: none", []],
    ["evidence: code path=src/a.ts symbol=A", ["src/a.ts"]],
    ['- evidence: docs path="my docs/a.md"', ["my docs/a.md"]],
  ];
  test.each(paths)("%j names files", (line, files) => {
    expect(one("- [ ] a", `  ${line}`)).toMatchObject({ mapped_files: files, mapped_tests: [] });
  });

  test.each([
    "Tests: `a.test.ts`",
    "- Test: a.test.ts",
    "เทส: a.test.ts",
    "ทดสอบ: a.test.ts",
    "evidence: test path=a.test.ts",
  ])("%j names tests", (line) => {
    expect(one("- [ ] a", `  ${line}`)).toMatchObject({ mapped_files: [], mapped_tests: ["a.test.ts"] });
  });

  test("paths may be a list, with what is done to each", () => {
    const lines = [
      "- [ ] a",
      "  - Files:",
      "    - Create: `a.ts`",
      "    - b.ts - why",
      "    - Test: `a.test.ts`",
    ];
    expect(one(...lines)).toMatchObject({
      mapped_files: ["a.ts", "b.ts"],
      mapped_tests: ["a.test.ts"],
      notes: null,
    });
  });

  test("a label may say the spec or the status", () => {
    expect(one("- [ ] a", "  - Spec: `specs/login.md`", "  - Status: blocked")).toMatchObject({
      originating_spec: "specs/login.md",
      status: "blocked",
    });
    expect(warned("- [x] a", "  - Status: in progress", "  - Status: soon")).toEqual([
      [2, "one mark says done, another doing; read as done"],
      [3, '"soon" is no known status; it was left out'],
    ]);
  });

  test("all else is notes, as it is written and indented", () => {
    expect(one("- [ ] a", "  - one", "    1. two", "", "  **Owner**: Ada", "  > three").notes).toBe(
      "- one\n  1. two\n**Owner**: Ada\n> three",
    );
    expect(one("- [ ] a", "  หมายเหตุ: สำคัญ", "  - Note: more").notes).toBe("สำคัญ\nmore");
  });

  test("tabs and spaces indent alike", () => {
    const { tasks } = read("- [ ] a", "\t- [ ] b", "        - [ ] c", "\t\t\t- d");
    expect(tasks.map(({ title, notes }) => [title, notes])).toEqual([
      ["a", null],
      ["b", "part of: a"],
      ["c", "part of: b\n- d"],
    ]);
  });
});

describe("a heading", () => {
  const specs: [string, string | null][] = [
    ["# SSP-WEB-003: Login", "SSP-WEB-003"],
    ["## SSP-WEB-003 — Login", "SSP-WEB-003"],
    ["# SSP-WEB-003", "SSP-WEB-003"],
    ["## Spec: specs/login.md", "specs/login.md"],
    ["## **Spec:** `specs/login.md` ##", "specs/login.md"],
    ["## สเปก: ระบบล็อกอิน", "ระบบล็อกอิน"],
    ["Linked Spec: **SSP-WEB-003**", "SSP-WEB-003"],
    ["**Input**: Design documents from `/specs/002-login/`", "/specs/002-login/"],
    ["**Input**: `notes.md`", null],
    ["# UTF-8 everywhere", null],
    ["## US-001: As a person", null],
    ["### SSP-WEB-003: Login", null],
    ["# tasks.md", null],
  ];
  test.each(specs)("%j names the spec %p", (line, spec) => {
    expect(one(line, "", "- [ ] a").originating_spec).toBe(spec);
  });

  test.each(["spec", "spec-id", "spec_id", "originating_spec"])(
    "gives way to none, but front matter has %j",
    (key) => {
      expect(one("---", "title: x", `${key}: "SSP-WEB-003"`, "---", "- [ ] a")).toMatchObject({
        originating_spec: "SSP-WEB-003",
        line: 5,
      });
    },
  );

  test("names the section of the tasks below it, until the next", () => {
    const { tasks } = read(
      "# Plan",
      "- [ ] a",
      "## Phase 1",
      "- [ ] b",
      "### Tests",
      "- [ ] c",
      "## Tasks",
      "- [ ] d",
    );
    expect(tasks.map(({ notes }) => notes)).toEqual([null, "section: Phase 1", "section: Tests", null]);
  });

  const headings: [string, string | null, string, FileTask["status"]][] = [
    ["### ✅ SSP-WEB-003-TASK-007: Sign in", "SSP-WEB-003-TASK-007", "Sign in", "done"],
    ["#### TASK-007: Sign in", "TASK-007", "Sign in", "planned"],
    ["## TASK-007 — Sign in ✅", "TASK-007", "Sign in", "done"],
    ["### Task 3: Sign in", "Task 3", "Sign in", "planned"],
    ["### [x] AUTH-001 — Sign in", "AUTH-001", "Sign in", "done"],
    ["### 🚧 Sign in", null, "Sign in", "doing"],
    ["### **TASK-007: Learn C#**", "TASK-007", "Learn C#", "planned"],
    ["### ✅ 1.2 Sign in", "1.2", "Sign in", "done"],
  ];
  test.each(headings)("%j is a task", (line, task_ref, title, status) => {
    expect(one(line)).toMatchObject({ task_ref, title, status });
  });

  test.each([
    "## Tasks",
    "## Task breakdown",
    "## AUTH-001: Sign in",
    "## 1. Sign in",
    "## ✅ Done",
    "## 🚧 In progress",
    "#TASK-1: a",
  ])("%j is none", (line) => {
    expect(read(line).tasks).toEqual([]);
  });

  test("with a mark but no ref is a section once it has tasks below it", () => {
    expect(one("## ✅ First release", "Some words.", "- [x] a")).toMatchObject({
      notes: "section: First release",
    });
  });

  test("owns what stands below it, until the next of its level", () => {
    const lines = [
      "### TASK-1: a",
      "Words.",
      "- more",
      "#### Acceptance criteria",
      "- one",
      "#### Files",
      "- `a.ts`",
    ];
    const { tasks } = read(...lines, "---", "Status: blocked", "### Phase 2", "Other words.");
    expect(tasks).toEqual([
      {
        task_ref: "TASK-1",
        title: "a",
        originating_spec: null,
        acceptance_criteria: "one",
        mapped_files: ["a.ts"],
        mapped_tests: [],
        status: "blocked",
        notes: "Words.\n- more",
        line: 1,
      },
    ]);
  });

  test("without a mark is as far as the tasks below it", () => {
    const statusOf = (...boxes: string[]) =>
      read("### Task 1: a", ...boxes.map((box, index) => `- [${box}] ${index}`)).tasks[0]?.status;
    expect(statusOf("x", "x")).toBe("done");
    expect(statusOf("x", "-")).toBe("done");
    expect(statusOf("-", "-")).toBe("cancelled");
    expect(statusOf("x", " ")).toBe("doing");
    expect(statusOf("~", " ")).toBe("doing");
    expect(statusOf("!", " ")).toBe("planned");
  });

  test.each(["## Legend", "Legend:", "## คำอธิบายสัญลักษณ์"])("%j explains marks", (line) => {
    expect(read(line, "- ✅ done", "- [ ] open", "", "## Tasks", "- [ ] a")).toMatchObject({
      tasks: [{ title: "a" }],
      warnings: [],
    });
  });

  test.each([
    "## Acceptance criteria",
    "## Readiness Checklist",
    "## Definition of Done",
    "Acceptance criteria:",
  ])("%j of no task heads no tasks, and that is said", (line) => {
    const { tasks, warnings } = read("- [ ] a", "", line, "- [ ] b", "- [x] c");
    expect(tasks).toHaveLength(1);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]?.line).toBe(3);
  });
});

describe("a table", () => {
  const table = (header: string, ...rows: string[]) =>
    read(header, header.replace(/[^|]+/g, "---"), ...rows).tasks.map(({ task_ref, title, status }) => [
      task_ref,
      title,
      status,
    ]);

  test("is one of tasks when it names a task or an id, and a status", () => {
    expect(table("| ID | Title | Status |", "| TASK-1 | a | ✅ |")).toEqual([["TASK-1", "a", "done"]]);
    expect(table("| Task | สถานะ |", "| TASK-1: a | กำลังทำ |")).toEqual([["TASK-1", "a", "doing"]]);
    expect(table("| รหัส | งาน | สถานะ |", "| 7 | ก | **เสร็จแล้ว** |")).toEqual([["7", "ก", "done"]]);
    expect(table("Task | Status", "a | `[x] Done`", "b | ⬜ Open")).toEqual([
      [null, "a", "done"],
      [null, "b", "planned"],
    ]);
    expect(table("| Requirement ID | Coverage Status |", "| SEC-1 | ✅ |")).toEqual([]);
    expect(table("| Task ID | Question |", "| TASK-1 | why? |")).toEqual([]);
    expect(table("| Status | Count |", "| Open | 3 |")).toEqual([]);
    expect(read("| ID | Task | Status |", "| TASK-1 | a | ✅ |").tasks).toEqual([]);
  });

  test("may hold a bar in a cell, and what else a task has", () => {
    const lines = ["| ID | Task | Files | Tests | Owner | Status |", "|--|--|--|--|--|--|"];
    expect(one(...lines, "| TASK-1 | `a \\| b` | `a.ts` | b.test.ts | Ada | todo |")).toMatchObject({
      title: "a | b",
      mapped_files: ["a.ts"],
      mapped_tests: ["b.test.ts"],
      notes: "Owner: Ada",
      line: 3,
    });
  });

  test("that repeats a task gives what the task lacks, and is doubted where it says otherwise", () => {
    const lines = [
      "- [ ] TASK-1: a",
      "",
      "| ID | Title | Files | Status |",
      "|-|-|-|-|",
      "| TASK-1 | b | `b.ts` | done |",
    ];
    const { tasks, warnings } = read(...lines);
    expect(tasks).toMatchObject([{ title: "a", mapped_files: ["b.ts"], status: "planned" }]);
    expect(warnings).toEqual([{ line: 5, message: "says done, but line 1 says planned, which counts" }]);
    expect(wrong(...lines.slice(2), "| task-1 | c | | todo |")).toEqual([
      "tasks.md:4: task-1 again, after line 3; would stand once",
    ]);
  });

  test("below a task that holds none is notes", () => {
    expect(one("- [ ] a", "", "  | x | y |", "  |---|---|", "  | 1 | 2 |").notes).toBe(
      "| x | y |\n|---|---|\n| 1 | 2 |",
    );
  });
});

describe("what is skipped", () => {
  test("code fences and comments, each to its end", () => {
    const lines = ["```md", "- [ ] a", "~~~", "```", "~~~~", "```", "- [ ] b", "~~~~~", "- [ ] c"];
    expect(one(...lines)).toMatchObject({ title: "c", line: 9 });
    expect(one("<!-- - [ ] a", "- [ ] b -->", "- [ ] c <!-- x --> d")).toMatchObject({
      title: "c  d",
      line: 3,
    });
    expect(one("- [ ] a", "  ```", "  - [ ] b", "  ```", "  - note").notes).toBe("- note");
  });

  test("and what is never closed is doubted", () => {
    expect(warned("- [ ] a", "```", "- [ ] b")).toEqual([
      [2, "the code fence that begins here is never closed; nothing below it was read"],
    ]);
    expect(warned("- [ ] a", "<!--", "- [ ] b")).toEqual([
      [2, "the comment that begins here is never closed; nothing below it was read"],
    ]);
  });
});

describe("a file", () => {
  test("without tasks is an empty list, and doubted", () => {
    for (const text of ["", "# Plan\n\nWords.\n", "---\n---\n"])
      expect(readTaskFile("a.md", text)).toEqual({
        tasks: [],
        warnings: [{ line: 1, message: "there are no tasks in it" }],
      });
  });

  test("is Markdown or JSON by its name", () => {
    expect(readTaskFile("specs/A.MD", "- [ ] a").tasks).toHaveLength(1);
    expect(readTaskFile("a.markdown", "- [ ] a").tasks).toHaveLength(1);
    expect(() => readTaskFile("tasks.txt", "- [ ] a")).toThrow(
      new Misuse(["tasks.txt: neither Markdown nor JSON; would end in .md or .json"]),
    );
  });

  test("is text, in UTF-8", () => {
    expect(wrong("- [ ] a", "- [ ] b\0")).toEqual(["tasks.md:2: not text; would be a file in UTF-8"]);
    expect(wrong("- [ ] a", "- [ ] b\u0007c")).toEqual([
      "tasks.md:2: a control character in the title; would be plain text",
    ]);
    expect(warned("- [ ] a", "- [ ] \ufffd\ufffd")).toEqual([
      [2, "has letters that are lost; the file would be in UTF-8"],
    ]);
  });

  test("with what the gateway would refuse says where, and how much there is", () => {
    const long = (size: number) => "ก".repeat(size);
    expect(one(`- [ ] ${long(500)}`).title).toHaveLength(500);
    expect(wrong("", `- [ ] ${long(501)}`)).toEqual([
      "tasks.md:2: the title of 501 characters; would be at most 500",
    ]);
    expect(wrong(`- [ ] TASK-${"1".repeat(196)}: a`)).toEqual([
      "tasks.md:1: the ref of 201 characters; would be at most 200",
    ]);
    expect(wrong("- [ ] a", `  Spec: ${long(201)}`)).toEqual([
      "tasks.md:1: the spec of 201 characters; would be at most 200",
    ]);
    expect(one("- [ ] a", `  AC: ${long(20_000)}`).acceptance_criteria).toHaveLength(20_000);
    expect(wrong("- [ ] a", `  AC: ${long(20_001)}`)).toEqual([
      "tasks.md:1: acceptance criteria of 20001 characters; would be at most 20000",
    ]);
    expect(wrong("- [ ] a", `  - ${long(20_000)}`)).toEqual([
      "tasks.md:1: notes of 20002 characters; would be at most 20000",
    ]);
    const paths = Array.from({ length: 501 }, (_, index) => `${index}.ts`);
    expect(one("- [ ] a", `  Files: ${paths.slice(1).join(", ")}`).mapped_files).toHaveLength(500);
    expect(wrong("- [ ] a", `  Files: ${paths.join(", ")}`)).toEqual([
      "tasks.md:1: 501 paths; would be at most 500",
    ]);
    expect(wrong("- [ ] a", `  Tests: ${long(501)}`)).toEqual([
      "tasks.md:1: a path of 501 characters; would be at most 500",
    ]);
  });

  test("with many mistakes says the first twenty", () => {
    const mistakes = wrong(...Array.from({ length: 100 }, () => "- [ ] TASK-1: a"));
    expect(mistakes).toHaveLength(21);
    expect(mistakes.at(-1)).toBe("and 79 more like these");
  });
});
