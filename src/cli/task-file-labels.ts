/**
 * The labels below a task, in English and Thai: what the lines behind `Acceptance criteria:` or `ไฟล์:` are.
 *
 * A label is a short name with a colon, in any emphasis, with or without a remark in brackets. One that is not in the
 * table is a line of notes like any other.
 */
export type LabelKind =
  | "criteria"
  | "files"
  | "tests"
  | "spec"
  | "input"
  | "status"
  | "priority"
  | "requirements"
  | "evidence"
  | "notes"
  | "group"
  | "aside"
  | "legend";

const table: Record<LabelKind, string> = {
  criteria:
    "acceptance criteria, acceptance criterion, acceptance, ac, acs, criteria, success criteria, done when, " +
    "definition of done, dod, given/when/then, เกณฑ์การยอมรับ, เกณฑ์การตรวจรับ, เงื่อนไขการยอมรับ, เกณฑ์ความสำเร็จ",
  files:
    "files, file, path, paths, mapped files, source files, code, source, modify, create, files to modify, " +
    "files to create, files to modify/create, files to create/modify, " +
    "ไฟล์, ไฟล์ที่เกี่ยวข้อง, ไฟล์ที่แก้, ไฟล์ที่แก้ไข, โค้ด",
  tests:
    "tests, test, test file, test files, mapped tests, unit tests, unit test, " +
    "เทส, เทสต์, ทดสอบ, การทดสอบ, ไฟล์ทดสอบ, ไฟล์เทส",
  spec:
    "spec, specification, spec id, specid, originating spec, originatingspec, linked spec, spec reference, " +
    "สเปก, สเปค, สเปกที่เกี่ยวข้อง, ข้อกำหนด",
  /** Spec-Kit names the spec's folder in a line of this name. */
  input: "input",
  status: "status, state, สถานะ",
  priority: "priority, prio, ความสำคัญ, ลำดับความสำคัญ",
  requirements: "requirements, requirement, implements, ข้อกำหนดที่เกี่ยวข้อง, ความต้องการ",
  evidence: "evidence",
  notes: "notes, note, หมายเหตุ, บันทึก",
  /** Names what the labels below it say better. */
  group: "evidence hooks, หลักฐาน",
  /** Lists with boxes that are no tasks. */
  aside: "readiness checklist, completeness checklist, completion checklist",
  legend: "legend, status legend, status key, status indicators, คำอธิบายสัญลักษณ์, สัญลักษณ์, ความหมายของสัญลักษณ์",
};

const byName = new Map(
  Object.entries(table).flatMap(([kind, names]) =>
    names.split(", ").map((name) => [name, kind as LabelKind] as const),
  ),
);

export type Label = {
  /** Null for a label that is not in the table. */
  readonly kind: LabelKind | null;
  readonly rest: string;
};

const nameMax = 60;

/** A label at the start of a line, or null where there is none. */
export function takeLabel(text: string): Label | null {
  const colon = text.slice(0, nameMax).search(/[:：]/);
  if (colon < 0) return null;
  const kind = kindOfName(text.slice(0, colon));
  const behind = text.slice(colon + 1);
  // `https://…` and `a::b` are no labels; in Thai the space is often left out.
  if (!/^(?:$|[\s*_])/.test(behind) && (kind === null || behind.startsWith("/"))) return null;
  if (!/^[*_\p{L}]/u.test(text)) return kind === null ? null : { kind, rest: behind.trim() };
  return { kind, rest: withoutEmphasis(text, behind) };
}

/** What a name means as a label or a table's column: without emphasis, case and what stands in brackets. */
export function kindOfName(name: string): LabelKind | null {
  if (name.length > nameMax) return null;
  const exact = byName.get(name.toLowerCase());
  if (exact !== undefined) return exact;
  const bare = plainName(name);
  const bracket = bare.indexOf("(");
  if (bracket < 0) return byName.get(bare) ?? null;
  const inside = bare.slice(bracket + 1).replace(/\).*$/, "");
  return byName.get(bare.slice(0, bracket).trim()) ?? byName.get(inside.trim()) ?? null;
}

/** Lower case, without emphasis, numbering and other signs before it; `spec-id` and `spec_id` are `spec id`. */
export function plainName(name: string): string {
  return name
    .slice(0, nameMax)
    .replace(/[*`#]/g, "")
    .replace(/[_\s-]+/g, " ")
    .trim()
    .toLowerCase()
    .replace(/^(?:[^\p{L}(]+)/u, "");
}

/** `**Files:** a` and `_Files: a_`: emphasis that began before the name ends behind the colon, or at the end. */
function withoutEmphasis(text: string, behind: string): string {
  const rest = behind.trim();
  const mark = /^[*_]{1,3}/.exec(text)?.[0] ?? "";
  const name = text.slice(mark.length, text.length - behind.length);
  if (mark === "" || name.includes(mark)) return rest;
  if (rest.startsWith(mark)) return rest.slice(mark.length).trim();
  return rest.endsWith(mark) ? rest.slice(0, -mark.length).trim() : rest;
}
