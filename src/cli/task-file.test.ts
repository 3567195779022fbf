/** Files as teams write them, and what each of them says. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type FileTask, readTaskFile, type TaskFile } from "./task-file.ts";

const room = join(import.meta.dir, "../testing/task-files");
const textOf = (name: string): string => readFileSync(join(room, name), "utf8");
const read = (name: string): TaskFile => readTaskFile(name, textOf(name));

function countsOf({ tasks }: TaskFile): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status } of tasks) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

const titlesOf = ({ tasks }: TaskFile): string[] => tasks.map(({ title }) => title);

function withRef({ tasks }: TaskFile, ref: string): FileTask {
  const found = tasks.filter(({ task_ref }) => task_ref === ref);
  expect(found).toHaveLength(1);
  return found[0] as FileTask;
}

function withTitle({ tasks }: TaskFile, title: string): FileTask {
  const found = tasks.filter((task) => task.title === title);
  expect(found).toHaveLength(1);
  return found[0] as FileTask;
}

describe("a web login, in SmartSpec's form", () => {
  const file = read("web-login.md");

  test("has twelve tasks of one spec, and nothing to warn of", () => {
    expect(file.tasks).toHaveLength(12);
    expect(countsOf(file)).toEqual({ done: 4, doing: 1, planned: 5, blocked: 1, cancelled: 1 });
    expect(file.warnings).toEqual([]);
    for (const [index, { task_ref, originating_spec }] of file.tasks.entries()) {
      expect(task_ref).toBe(`SSP-WEB-003-TASK-0${String(index + 1).padStart(2, "0")}`);
      expect(originating_spec).toBe("SSP-WEB-003");
    }
  });

  test("keeps backticks, signs and dashes of titles, and the text of links", () => {
    expect(titlesOf(file)).toEqual([
      "Sign in with e-mail and password behind `POST /login`",
      "Session cookie with `Secure`, `HttpOnly` and `SameSite=Lax`",
      "Rate limit for failed attempts (per account and per address)",
      "Sign out everywhere",
      "Hash with argon2id; rehash old bcrypt hashes on the next sign-in",
      "Reset by e-mail",
      "Refuse passwords from known leaks",
      "TOTP with recovery codes",
      "Passkeys (see WebAuthn Level 3)",
      "Codes by SMS",
      "Document all routes + policies (cookies, limits, public endpoints)",
      "Remove the old `/auth/*` pages — now redirects to `/login`",
    ]);
  });

  test("says what stands below a task", () => {
    expect(withRef(file, "SSP-WEB-003-TASK-003")).toMatchObject({
      status: "doing",
      mapped_files: ["apps/web/src/login/attempts.ts", "apps/web/src/login/routes.ts"],
      mapped_tests: ["apps/web/src/login/attempts.test.ts"],
      acceptance_criteria:
        "Ten wrong passwords in an hour lock the account for fifteen minutes\n" +
        "The answer does not say whether the account exists",
      notes: "priority: P0\nsection: A) Sessions and cookies (P0)",
    });
    expect(withRef(file, "SSP-WEB-003-TASK-006")).toMatchObject({
      acceptance_criteria: "a link works once, and for thirty minutes",
      notes:
        "priority: P0\nsection: B) Passwords (P0)\nยังไม่ทำ: รอผู้ให้บริการอีเมล\n" +
        "- Depends on SSP-WEB-003-TASK-004",
    });
    expect(withRef(file, "SSP-WEB-003-TASK-008").acceptance_criteria).toBe(
      "Given a person with a second factor\n" +
        "When they sign in with the right password\n" +
        "Then they are asked for a code before a session begins",
    );
  });

  test("names the line of each task", () => {
    const lines = textOf("web-login.md").split("\n");
    for (const { line, task_ref } of file.tasks) expect(lines[line - 1]).toContain(`${task_ref} [`);
  });
});

test("a payment rewrite, in Spec-Kit's form", () => {
  const file = read("payment-rewrite.md");
  expect(file.tasks.map(({ task_ref }) => task_ref)).toEqual(
    Array.from({ length: 14 }, (_, index) => `T0${String(index + 1).padStart(2, "0")}`),
  );
  expect(countsOf(file)).toEqual({ done: 5, doing: 1, planned: 6, blocked: 1, cancelled: 1 });
  expect(new Set(file.tasks.map(({ originating_spec }) => originating_spec))).toEqual(
    new Set(["/specs/014-payment-rewrite/"]),
  );
  expect(withRef(file, "T007")).toMatchObject({
    title: "Contract test for `POST /payments` in payments/tests/contract/pay.test.ts",
    notes: "parallel\nstory: US1\nsection: Tests for User Story 1",
  });
  expect(withRef(file, "T006")).toMatchObject({
    status: "doing",
    notes: "section: Phase 2: Foundations\n- Keys live for 24 hours\n- A changed body is refused",
  });
  expect(withRef(file, "T013")).toMatchObject({
    title: "Refund in part, never more than was paid",
    status: "planned",
    notes: "story: US2\nsection: Phase 4: User Story 2 - Refunds (Priority: P2)",
  });
  expect(file.warnings).toEqual([]);
});

describe("a Thai e-learning project", () => {
  const file = read("elearning-th.md");

  test("has ten tasks, of the spec that its front matter names", () => {
    expect(countsOf(file)).toEqual({ done: 2, doing: 2, planned: 4, blocked: 1, cancelled: 1 });
    expect(new Set(file.tasks.map(({ originating_spec }) => originating_spec))).toEqual(
      new Set(["SSP-EDU-012"]),
    );
    expect(file.warnings).toEqual([]);
  });

  test("keeps every letter, vowel and tone mark", () => {
    expect(titlesOf(file)).toEqual([
      "อัปโหลดวิดีโอบทเรียนและแปลงเป็น HLS",
      "บันทึกตำแหน่งที่ผู้เรียนดูค้างไว้ แล้วเล่นต่อได้ทุกอุปกรณ์",
      "คำบรรยายภาษาไทยอัตโนมัติ (ASR) พร้อมแก้ไขด้วยมือ",
      "สร้างแบบทดสอบปรนัย และเฉลยทันทีหลังส่ง",
      'นำเข้าข้อสอบจากไฟล์ Excel ที่มีสระ ำ และวรรณยุกต์ซ้อน เช่น "น้ำแข็ง" "ผู้ใหญ่"',
      "ป้องกันการลอกข้อสอบ: สลับข้อและสลับตัวเลือก",
      "ออกแบบใบประกาศนียบัตรสองภาษา",
      "ลงลายมือชื่อดิจิทัลด้วย PAdES",
      "พิมพ์ใบประกาศแล้วส่งทางไปรษณีย์",
      "เชื่อมต่อ SSO ของมหาวิทยาลัย",
    ]);
  });

  test("is read by its Thai labels", () => {
    expect(withRef(file, "SSP-EDU-012-TASK-001")).toMatchObject({
      mapped_files: ["services/video/upload.ts", "services/video/transcode.ts"],
      mapped_tests: ["services/video/upload.test.ts"],
    });
    expect(withRef(file, "SSP-EDU-012-TASK-002")).toMatchObject({
      acceptance_criteria: "ปิดเบราว์เซอร์แล้วเปิดใหม่ วิดีโอเล่นต่อจากวินาทีเดิม\nผู้เรียนคนอื่นไม่เห็นตำแหน่งของเรา",
      notes: "priority: P0\nsection: ก) บทเรียนและวิดีโอ\nใช้ตาราง progress เดิมไปก่อน",
    });
    expect(withRef(file, "SSP-EDU-012-TASK-004").acceptance_criteria).toBe(
      "กำหนดเวลาสอบได้ตั้งแต่ ๕ ถึง ๑๘๐ นาที\nหมดเวลาแล้วระบบส่งคำตอบให้เอง",
    );
    expect(withRef(file, "SSP-EDU-012-TASK-006").acceptance_criteria).toBe(
      "กำหนดให้ ผู้เรียนสองคนสอบพร้อมกัน\nเมื่อ ทั้งคู่เปิดข้อสอบชุดเดียวกัน\nดังนั้น ลำดับข้อต้องไม่เหมือนกัน",
    );
    expect(withTitle(file, "ลงลายมือชื่อดิจิทัลด้วย PAdES").notes).toBe("priority: สูง\nsection: ค) ใบประกาศนียบัตร");
  });

  test("has a heading that is a task", () => {
    expect(withRef(file, "งานที่ 7")).toMatchObject({
      title: "เชื่อมต่อ SSO ของมหาวิทยาลัย",
      status: "doing",
      acceptance_criteria: "นักศึกษาเข้าสู่ระบบด้วยบัญชีเดิมได้\nอาจารย์เห็นเฉพาะวิชาของตน",
      mapped_files: ["services/auth/saml.ts", "services/auth/roles.ts"],
    });
  });
});

test("notifications, in Kiro's form: numbers are refs, and [-] is doubted", () => {
  const file = read("notifications-kiro.md");
  const refs = ["1", "2", "2.1", "2.2", "2.3", "2.4", "3", "4", "4.1", "4.2"];
  expect(file.tasks.map(({ task_ref }) => task_ref)).toEqual(refs);
  expect(countsOf(file)).toEqual({ done: 2, planned: 7, cancelled: 1 });
  expect(withRef(file, "2.1")).toMatchObject({
    title: "Send e-mail through SMTP",
    originating_spec: null,
    notes: "requirements: 2.1\npart of: 2\n- Retry with backoff, five times",
  });
  expect(withRef(file, "2.3").notes).toBe(
    "optional\npart of: 2\n" +
      "- **Property 4: a message is never sent twice after an acknowledgement**\n" +
      "- **Validates: Requirements 2.1, 2.4**",
  );
  expect(withRef(file, "4.1").notes).toStartWith("requirements: 3.1, 3.2\npart of: 4\n");
  expect(file.warnings).toEqual([
    {
      line: withRef(file, "2.2").line,
      message: "[-] is read as cancelled; a task that is being worked on would be [~]",
    },
  ]);
});

describe("a search, with its tasks as headings", () => {
  const file = read("search-headings.md");

  test("has eleven tasks, steps among them", () => {
    expect(file.tasks.map(({ task_ref, title }) => task_ref ?? title)).toEqual([
      "TASK-001",
      "TASK-002",
      "Task 3",
      "Step 1: Write the failing test",
      "Step 2: Make it pass",
      "Step 3: Tune the weights",
      "Task 4",
      "Read the list from `search/synonyms.txt`",
      "Reload it without a restart",
      "Facets by brand and price",
      "Task 0.1",
    ]);
    expect(countsOf(file)).toEqual({ done: 8, doing: 2, planned: 1 });
  });

  test("gives headings the status that is written below them, or that their steps have", () => {
    const statusOf = (ref: string) => withRef(file, ref).status;
    expect(["TASK-001", "TASK-002", "Task 3", "Task 4"].map(statusOf)).toEqual([
      "done",
      "doing",
      "doing",
      "done",
    ]);
  });

  test("reads boxes below acceptance criteria as criteria, and those of no task not at all", () => {
    expect(withRef(file, "TASK-002")).toMatchObject({
      title: "Tokenise Thai (ตัดคำ)",
      originating_spec: "specs/search/requirements.md",
      acceptance_criteria:
        '"น้ำแข็งไส" is found by "น้ำแข็ง"\nMixed text such as "iPhone รุ่นใหม่" gives both words',
      mapped_files: ["search/src/thai.ts", "search/src/tokens.ts"],
      mapped_tests: ["search/test/thai.test.ts"],
      notes: "priority: P0 (MUST)\nsection: Phase 1: Index",
    });
    expect(file.warnings.map(({ message }) => message)).toEqual([
      "the boxes below are acceptance criteria of no task; they were left out",
    ]);
  });

  test("keeps what has no field as notes", () => {
    expect(withRef(file, "TASK-001").notes).toBe(
      "priority: P0 (MUST)\nrequirements: US-001 AC-1.1\nsection: Phase 1: Index\n" +
        "**Complexity**: S\n**Assignee**: @nok\n**Description**:\n" +
        "Reads the catalogue once an hour and swaps the index when it is whole.\n**Dependencies**: None",
    );
    expect(withTitle(file, "Facets by brand and price").notes).toBe(
      "section: Phase 2: Ranking\nShipped with version 2.1.",
    );
    expect(withRef(file, "Task 0.1").notes).toBe("section: Done in earlier releases");
    expect(withTitle(file, "Step 2: Make it pass").notes).toBe("part of: Task 3");
  });
});

test("a clinic, with its tasks in Thai and English tables", () => {
  const file = read("clinic-tables.md");
  expect(countsOf(file)).toEqual({ done: 3, doing: 2, planned: 4, blocked: 2, cancelled: 1 });
  expect(new Set(file.tasks.map(({ originating_spec }) => originating_spec))).toEqual(
    new Set(["CLN-APP-007"]),
  );
  expect(file.tasks.map(({ task_ref, title, status }) => [task_ref, title, status])).toEqual([
    ["CLN-APP-007-TASK-001", "หน้าจองคิวสำหรับผู้ป่วย", "done"],
    ["CLN-APP-007-TASK-002", "แจ้งเตือนก่อนนัด ๒๔ ชั่วโมง", "doing"],
    ["CLN-APP-007-TASK-003", "พิมพ์ใบนัดพร้อม QR | บาร์โค้ด", "planned"],
    ["CLN-APP-007-TASK-004", "เชื่อมระบบประกันสังคม", "blocked"],
    ["TASK-101", "Audit who opened which record", "done"],
    ["TASK-102", "Export a day's list as CSV", "done"],
    ["TASK-103", "Import from the old system", "planned"],
    ["TASK-104", "Remove `legacy/`", "planned"],
    [null, "Load test with 500 patients", "doing"],
    ["T12", "Fix the clock on kiosks", "cancelled"],
    [null, "Review of the consent text", "blocked"],
    [null, "Colour contrast of the calendar", "planned"],
  ]);
  expect(withRef(file, "CLN-APP-007-TASK-002")).toMatchObject({
    mapped_files: ["jobs/remind.ts", "jobs/line.ts"],
    notes: "priority: P0\nsection: แผนงาน",
  });
  expect(withRef(file, "TASK-101").notes).toBe("section: Backlog in English\nDate: 2026-10-02");
  expect(file.warnings.map(({ message }) => message)).toEqual([
    '"someday" is no known status; read as planned',
  ]);
});

describe("an auth service, as SmartSpec generates it", () => {
  const file = read("auth-service-strict.md");

  test("has five tasks; its checklist and its tables repeat or check them", () => {
    expect(file.tasks.map(({ task_ref, status }) => [task_ref, status])).toEqual([
      ["TSK-AUTH-001", "done"],
      ["TSK-AUTH-002", "planned"],
      ["TSK-AUTH-003", "planned"],
      ["TSK-AUTH-004", "planned"],
      ["TSK-AUTH-005", "doing"],
    ]);
    const third = withRef(file, "TSK-AUTH-003").line;
    expect(file.warnings.map(({ message }) => message)).toEqual([
      "the boxes below are a checklist, not tasks; they were left out",
      `says done, but line ${third} says planned, which counts`,
      "TSK-AUTH-009 has no title here; it was left out",
    ]);
  });

  test("has the spec of the table above it, and its hooks as files and tests", () => {
    expect(withRef(file, "TSK-AUTH-002")).toMatchObject({
      title: "Serve the key set",
      originating_spec: "core/auth-service",
      acceptance_criteria:
        "`GET /.well-known/jwks.json` returns every key that may still verify\n" +
        "Private parts never leave the process",
      mapped_files: ["packages/auth/src/jwks.ts"],
      mapped_tests: ["packages/auth/tests/jwks.test.ts"],
      notes: "requirements: SEC-002\nsection: Milestone 1: Keys",
    });
    expect(withRef(file, "TSK-AUTH-003")).toMatchObject({
      mapped_files: ["packages/auth/src/sign.ts", "docs/tokens.md"],
      mapped_tests: ["packages/auth/tests/sign.test.ts"],
    });
  });

  test("keeps a title that goes on in a second line whole", () => {
    expect(withRef(file, "TSK-AUTH-005")).toMatchObject({
      title: "Revoke a session everywhere within one second, on every instance that may hold it in memory",
      notes: "section: Milestone 2: Tokens\n- Risk: a partition keeps an instance from hearing of it",
    });
  });
});

test("a warehouse move, written in every way at once", () => {
  const file = read("warehouse-mixed.md");
  expect(countsOf(file)).toEqual({ done: 8, planned: 11, doing: 3, cancelled: 2 });
  expect(file.tasks.map(({ task_ref, title, status }) => [task_ref, title, status])).toEqual([
    ["TASK-1", "Count the shelves", "done"],
    ["TASK-2", "Print labels", "done"],
    ["TASK-3", "Order boxes", "done"],
    ["TASK-4", "Rent a lorry", "planned"],
    ["TASK-5", "Plan the route", "doing"],
    [null, "Ask the city for a permit", "planned"],
    [null, "Measure the gate", "done"],
    [null, "Insure the goods", "done"],
    [null, "Tell the customers", "doing"],
    ["TASK-6", "Buy a forklift", "cancelled"],
    ["TASK-7", "Rent a forklift", "cancelled"],
    ["TASK-8", "Pack the office", "done"],
    [null, "Is there parking?", "planned"],
    [
      "TASK-9",
      "Move on Saturday, come rain or shine, with everyone who can carry a box and two who cannot",
      "planned",
    ],
    ["TASK-1", "Sweep the old hall", "planned"],
    [null, "C# tool for labels", "planned"],
    [null, "UTF-8 on the label printer", "planned"],
    [null, "3 keys to hand back", "planned"],
    [null, "404 page for the old address", "planned"],
    [null, "**Deposit** back from the landlord", "planned"],
    [null, "Post forwarding", "doing"],
    [null, "Close the account at the waste company", "planned"],
    ["TASK-10", "Party", "done"],
    [null, "Notice to the landlord", "done"],
  ]);
  const specs = file.tasks.map(({ originating_spec }) => originating_spec);
  expect(specs).toEqual([
    ...Array<string>(14).fill("specs/warehouse/move.md"),
    ...Array<string>(9).fill("specs/warehouse/after.md"),
    null,
  ]);
  expect(file.warnings.map(({ message }) => message)).toEqual([
    "one mark says planned, another done; read as done",
    "one mark says done, another doing; read as done",
    "[?] is no known mark; read as planned. Known are [ ] [x] [/] [~] [>] [!] [-]",
    "the boxes below are acceptance criteria of no task; they were left out",
  ]);
});

test("a mobile app, as JSON in both spellings", () => {
  const file = read("mobile-app.json");
  expect(countsOf(file)).toEqual({ done: 2, doing: 1, planned: 2, cancelled: 1 });
  expect(withRef(file, "MOB-TASK-001")).toEqual({
    task_ref: "MOB-TASK-001",
    title: "Sign in through the browser",
    originating_spec: "specs/mobile/sign-in.md",
    acceptance_criteria: "A cancelled sign-in leaves no session behind.",
    mapped_files: ["app/src/sign-in.kt", "app/src/callback.kt"],
    mapped_tests: ["app/test/sign-in.test.kt"],
    status: "done",
    notes: null,
    line: 1,
  });
  expect(withRef(file, "MOB-TASK-002")).toEqual({
    task_ref: "MOB-TASK-002",
    title: "Keep tokens in the keychain",
    originating_spec: "specs/mobile/sign-in.md",
    acceptance_criteria: "A backup does not hold them.\nA second app cannot read them.",
    mapped_files: ["app/src/keychain.kt"],
    mapped_tests: [],
    status: "doing",
    notes: null,
    line: 2,
  });
  expect(withRef(file, "4")).toMatchObject({ title: "Dark mode", status: "done" });
  expect(withTitle(file, "แจ้งเตือนเมื่อมีงานใหม่")).toMatchObject({
    status: "planned",
    notes: "รอใบรับรองจาก Apple",
  });
  expect(file.warnings).toEqual([]);
});

test("a Thai hospital, as a bare list in JSON", () => {
  const file = read("hospital-th.json");
  expect(
    file.tasks.map(({ task_ref, title, originating_spec, status, line }) => [
      task_ref,
      title,
      originating_spec,
      status,
      line,
    ]),
  ).toEqual([
    ["HOS-ER-002-TASK-001", "คัดแยกผู้ป่วยฉุกเฉินตามสี (triage)", "HOS-ER-002", "done", 1],
    ["HOS-ER-002-TASK-002", "จอแสดงคิวห้องฉุกเฉิน", "HOS-ER-002", "doing", 2],
    ["HOS-ER-002-TASK-003", "ส่งต่อผู้ป่วยไปโรงพยาบาลอื่น", "HOS-REFER-001", "doing", 3],
    ["HOS-ER-002-TASK-004", "พิมพ์สายรัดข้อมือ", "HOS-ER-002", "blocked", 4],
    [null, "ทดสอบไฟดับ", null, "planned", 5],
  ]);
  expect(file.tasks[0]).toMatchObject({
    acceptance_criteria: "พยาบาลเลือกสีได้ภายในสามคลิก",
    mapped_files: ["er/triage.ts"],
  });
});

test("a file says the same with Windows' line ends, with old Macs', and behind a byte order mark", () => {
  for (const name of ["web-login.md", "elearning-th.md", "search-headings.md", "warehouse-mixed.md"]) {
    const text = textOf(name);
    const plain = readTaskFile(name, text);
    for (const lineEnd of ["\r\n", "\r"])
      expect(readTaskFile(name, `\ufeff${text.replaceAll("\n", lineEnd)}`)).toEqual(plain);
  }
});
