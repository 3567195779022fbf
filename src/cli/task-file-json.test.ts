/** Tasks as JSON, and every way in which they are not. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type FileTask, readTaskFile } from "./task-file.ts";
import { breakOf } from "./task-file-json-syntax.ts";
import { Misuse } from "./world.ts";

const read = (value: unknown) => readTaskFile("tasks.json", JSON.stringify(value));

function one(task: Record<string, unknown>): FileTask {
  const { tasks } = read([task]);
  expect(tasks).toHaveLength(1);
  return tasks[0] as FileTask;
}

function wrongIn(text: string): readonly string[] {
  try {
    readTaskFile("tasks.json", text);
  } catch (error) {
    if (error instanceof Misuse) return error.mistakes;
    throw error;
  }
  throw new Error("this text was taken");
}

const wrong = (value: unknown): readonly string[] => wrongIn(JSON.stringify(value));

describe("a task", () => {
  test("needs only a title", () => {
    expect(one({ title: "ลงชื่อเข้าใช้" })).toEqual({
      task_ref: null,
      title: "ลงชื่อเข้าใช้",
      originating_spec: null,
      acceptance_criteria: null,
      mapped_files: [],
      mapped_tests: [],
      status: "planned",
      notes: null,
      line: 1,
    });
  });

  const whole = {
    task_ref: "TASK-1",
    title: "a",
    originating_spec: "SSP-1",
    acceptance_criteria: "one\ntwo",
    mapped_files: ["a.ts"],
    mapped_tests: ["a.test.ts"],
    status: "blocked",
    notes: "more",
  } as const;

  test("is as the API has it, under either name", () => {
    expect(one(whole)).toEqual({ ...whole, mapped_files: ["a.ts"], mapped_tests: ["a.test.ts"], line: 1 });
    const { title, status, notes } = whole;
    const camel = {
      taskRef: "TASK-1",
      originatingSpec: "SSP-1",
      acceptanceCriteria: ["one", "two"],
      mappedFiles: ["a.ts"],
      mappedTests: ["a.test.ts"],
    };
    expect(one({ title, status, notes, ...camel })).toEqual(one(whole));
  });

  test("may have a number for a ref, and empty texts for none", () => {
    expect(one({ id: 7, title: "a" }).task_ref).toBe("7");
    expect(one({ id: "", title: " a ", notes: "", spec: " " })).toMatchObject({
      task_ref: null,
      title: "a",
      notes: null,
      originating_spec: null,
    });
  });

  test("is of the spec in its ref, unless it says otherwise", () => {
    expect(one({ id: "SSP-WEB-003-TASK-7", title: "a" }).originating_spec).toBe("SSP-WEB-003");
    expect(one({ id: "SSP-WEB-003-TASK-7", title: "a", originating_spec: null }).originating_spec).toBeNull();
  });

  const statuses: [string, FileTask["status"]][] = [
    ["planned", "planned"],
    ["todo", "planned"],
    ["To-Do", "planned"],
    ["pending", "planned"],
    ["not_started", "planned"],
    ["doing", "doing"],
    ["in_progress", "doing"],
    ["in-progress", "doing"],
    ["In Progress", "doing"],
    ["กำลังดำเนินการ", "doing"],
    ["blocked", "blocked"],
    ["on-hold", "blocked"],
    ["done", "done"],
    ["completed", "done"],
    ["เสร็จแล้ว", "done"],
    ["cancelled", "cancelled"],
    ["canceled", "cancelled"],
    ["won't do", "cancelled"],
    ["ยกเลิก", "cancelled"],
  ];
  test.each(statuses)("that is %j is %s", (status, expected) => {
    expect(one({ title: "a", status }).status).toBe(expected);
  });

  const mistakes: [unknown, string][] = [
    [{ titel: "a", title: "b" }, 'no such member "titel"; did you mean "title"?'],
    [{ title: "a", mapedFiles: [] }, 'no such member "mapedFiles"; did you mean "mappedFiles"?'],
    [{ title: "a", xyzzyxyzzy: 1 }, 'no such member "xyzzyxyzzy"'],
    [{ title: "a", id: "1", task_ref: "1" }, '"id" and "task_ref" are the same; would be one of them'],
    [{}, "has no title"],
    [{ title: null }, "has no title"],
    [{ title: " " }, "has no title"],
    [{ title: 7 }, "title is not a text"],
    [{ title: "a", notes: 7 }, "notes is not a text"],
    [{ title: "a", notes: ["a", 7] }, "notes is not a text"],
    [{ title: "a", id: 1.5 }, "task_ref is not a text"],
    [
      { title: "a", mapped_files: "a.ts" },
      'mapped_files is not a list of paths; would be such as ["src/login.ts"]',
    ],
    [
      { title: "a", mapped_tests: [""] },
      'mapped_tests is not a list of paths; would be such as ["src/login.ts"]',
    ],
    [{ title: "a", status: "dnoe" }, '"dnoe" is no status; did you mean "done"?'],
    [
      { title: "a", status: "perhaps later" },
      '"perhaps later" is no status; would be planned, doing, blocked, done or cancelled',
    ],
    [{ title: "a", status: 1 }, "status is not a text; would be planned, doing, blocked, done or cancelled"],
    ["a", "not an object"],
    [null, "not an object"],
    [["a"], "not an object"],
  ];
  test.each(mistakes)("such as %j is a mistake", (task, mistake) => {
    expect(wrong([{ title: "first" }, task])).toEqual([`tasks.json: task 2: ${mistake}`]);
  });

  test("stands once, and within the gateway's limits", () => {
    const twice = [{ id: "T1", title: "a" }, { title: "b" }, { id: "t1", title: "c" }];
    expect(wrong(twice)).toEqual(["tasks.json: task 3: t1 again, after task 1; would stand once"]);
    expect(wrong([{ title: "ก".repeat(501) }])).toEqual([
      "tasks.json: task 1: the title of 501 characters; would be at most 500",
    ]);
    expect(wrong([{ title: "a\nb", notes: "\0" }])).toEqual([
      "tasks.json: task 1: a control character in the title; would be plain text",
      "tasks.json: task 1: a control character in notes; would be plain text",
    ]);
    expect(read([{ title: "a" }, { title: "A" }]).warnings).toEqual([
      {
        line: 2,
        message:
          "the same as task 1, by title and criteria; kept apart by their order, where a ref would be surer",
      },
    ]);
  });

  test("with many mistakes among others: twenty are said", () => {
    const said = wrong(Array.from({ length: 50 }, () => ({ titel: "a" })));
    expect(said).toHaveLength(21);
    expect(said.at(-1)).toBe("and 80 more like these");
  });
});

describe("a list", () => {
  test("is bare, or the member tasks; an empty one is doubted", () => {
    expect(read({ tasks: [{ title: "a" }] })).toEqual(read([{ title: "a" }]));
    expect(readTaskFile("A.JSON", '\ufeff[{"title":"a"}]').tasks).toHaveLength(1);
    for (const empty of [[], { tasks: [] }])
      expect(read(empty)).toEqual({
        tasks: [],
        warnings: [{ line: 1, message: "there are no tasks in it" }],
      });
  });

  test.each([
    [{}, 'tasks.json: no tasks; would be [ … ] or {"tasks": [ … ]}'],
    [7, 'tasks.json: no tasks; would be [ … ] or {"tasks": [ … ]}'],
    [null, 'tasks.json: no tasks; would be [ … ] or {"tasks": [ … ]}'],
    [{ task: [] }, 'tasks.json: no tasks; would be [ … ] or {"tasks": [ … ]}'],
    [{ tasks: {} }, "tasks.json: tasks is not a list; would be [ … ]"],
    [{ tasks: [], mode: "replace" }, 'tasks.json: no such member "mode"'],
  ])("such as %j is a mistake", (value, mistake) => {
    expect(wrong(value)).toEqual([mistake]);
  });
});

describe("a text that is not JSON", () => {
  test.each([
    ["", 1, 1],
    ["[", 1, 2],
    ['[\n  {"title": "a",}\n]', 2, 17],
    ['[\n  {"title": "a"}\n  {"title": "b"}\n]', 3, 3],
    ["[{'title': 'a'}]", 1, 3],
    ['[{"title" "a"}]', 1, 11],
    ['[{"title": "a\nb"}]', 1, 14],
    ['[{"title": "\\x"}]', 1, 13],
    ['[{"title": tru}]', 1, 12],
    ["[1, 2,]", 1, 7],
    ["[01]", 1, 3],
    ["[] []", 1, 4],
    ['{"tasks": []}}', 1, 14],
    ["[}", 1, 2],
    ["// tasks\n[]", 1, 1],
  ])("%j breaks in line %i at %i", (text, line, column) => {
    expect(wrongIn(text)).toHaveLength(1);
    expect(wrongIn(text)[0]).toStartWith(`tasks.json:${line}:${column}: not JSON: `);
  });

  /** Where it breaks, counted from the start. */
  function offsetOf(text: string): number {
    const { line, column } = breakOf(text);
    const before = text.split("\n").slice(0, line - 1);
    return before.reduce((sum, { length }) => sum + length + 1, column - 1);
  }

  test("is broken at the first sign that cannot be there", () => {
    const broken = fc.tuple(
      fc.array(fc.json()),
      fc.json(),
      fc.array(fc.json()),
      fc.constantFrom("#", "]", "\v"),
    );
    fc.assert(
      fc.property(broken, ([before, value, behind, sign]) => {
        const start = `{\n "tasks" :\t[${before.map((json) => `${json} ,\n`).join("")}`;
        const isFirst = before.length === 0 && sign === "]";
        const text = `${start}${sign}${[value, ...behind].join(",")}]}`;
        // A bracket that ends an empty list is right, and what follows it is wrong.
        expect(offsetOf(text)).toBe(start.length + (isFirst ? 1 : 0));
      }),
      { numRuns: 500 },
    );
  });

  test("is not broken when the parser takes it, and is when it does not", () => {
    const jsonish = fc.string({ unit: fc.constantFrom(...'[]{},:"\\01-.eE+ \nutrefalsn'), maxLength: 12 });
    fc.assert(
      fc.property(fc.oneof(jsonish, fc.json()), (text) => {
        let isWhole = true;
        try {
          JSON.parse(text);
        } catch {
          isWhole = false;
        }
        if (isWhole) expect(offsetOf(text)).toBe(text.length);
        else expect(wrongIn(text)).toHaveLength(1);
      }),
      { numRuns: 2_000 },
    );
  });
});
