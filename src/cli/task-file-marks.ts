/**
 * What says how far a task is: a box, an emoji or a word, in English or Thai. One row for each status.
 *
 * `[-]` is cancelled, as in most editors; Kiro writes it for work under way, which the reader warns of. `❌` is
 * cancelled too, and `⛔` blocked. An empty box only says "not yet", so any other mark beside it says more.
 */
import type { FileTask } from "./task-file.ts";

export type Status = FileTask["status"];

const table: Record<Status, { boxes: string; emoji: string; words: string }> = {
  planned: {
    boxes: " ",
    emoji: "⬜ ☐ 🔲 ◻ ▢ ⚪ 📋",
    words:
      "planned, todo, to do, open, pending, not started, new, backlog, ready, queued, " +
      "ยังไม่เริ่ม, ยังไม่ทำ, ยังไม่ได้ทำ, รอ, รอทำ, รอดำเนินการ, วางแผน, ต้องทำ, ค้าง",
  },
  doing: {
    boxes: "/>~",
    emoji: "🔄 🚧 ⏳ ⌛ 🏗 ▶",
    words:
      "doing, in progress, inprogress, wip, started, active, working, ongoing, in review, review, " +
      "กำลังทำ, กำลังดำเนินการ, ดำเนินการ, อยู่ระหว่างดำเนินการ, ทำอยู่, รอตรวจ",
  },
  blocked: {
    boxes: "!",
    emoji: "⛔ ⏸ 🛑",
    words: "blocked, on hold, waiting, paused, stuck, ติดขัด, ติดปัญหา, ติดบล็อก, ถูกบล็อก, พักไว้",
  },
  done: {
    boxes: "xX✓",
    emoji: "✅ ☑ ✔",
    words:
      "done, complete, completed, finished, closed, resolved, merged, passed, verified, shipped, " +
      "เสร็จ, เสร็จแล้ว, เสร็จสิ้น, เสร็จสมบูรณ์, สำเร็จ, เรียบร้อย, เรียบร้อยแล้ว, ทำแล้ว, ผ่าน",
  },
  cancelled: {
    boxes: "-",
    emoji: "❌ 🚫",
    words:
      "cancelled, canceled, wontfix, won't do, won't fix, dropped, deprecated, skipped, superseded, " +
      "ยกเลิก, ยกเลิกแล้ว, ไม่ทำแล้ว",
  },
};

const byBox = new Map<string, Status>();
const byEmoji = new Map<string, Status>();
const byWord = new Map<string, Status>();
for (const [status, { boxes, emoji, words }] of Object.entries(table) as [Status, (typeof table)[Status]][]) {
  for (const sign of boxes) byBox.set(sign, status);
  for (const sign of emoji.split(" ")) byEmoji.set(sign, status);
  for (const word of words.split(", ")) byWord.set(word, status);
}

export const statusWords: readonly string[] = [...byWord.keys()];

export type Box = {
  readonly status: Status;
  readonly sign: string;
  readonly isKnown: boolean;
  /** Kiro's star behind the box. */
  readonly isOptional: boolean;
  readonly rest: string;
};

/** `[ ]`, `[x]`, `[✅]`, `[]`, and boxes with any other single sign in them, which are not known. */
export function takeBox(text: string): Box | null {
  if (!text.startsWith("[")) return null;
  const close = text.slice(0, 8).indexOf("]");
  if (close < 0) return null;
  const sign = withoutSelectors(text.slice(1, close).trim()) || " ";
  if ([...sign].length > 1) return null;
  const isOptional = text[close + 1] === "*" && isBlank(text[close + 2]);
  const end = close + (isOptional ? 2 : 1);
  if (!isBlank(text[end])) return null;
  const status = byBox.get(sign) ?? byEmoji.get(sign);
  return {
    status: status ?? "planned",
    sign,
    isKnown: status !== undefined,
    isOptional,
    rest: text.slice(end).trimStart(),
  };
}

/** An emoji that says a status, at the start of `text`. */
export function takeMark(text: string): { status: Status; rest: string } | null {
  // No letter of Latin or Thai is looked up.
  if (text.charCodeAt(0) < 0x2000) return null;
  const sign = String.fromCodePoint(text.codePointAt(0) ?? 0);
  const status = byEmoji.get(sign);
  if (status === undefined) return null;
  const isSelected = isSelector(text[sign.length]);
  return { status, rest: text.slice(sign.length + (isSelected ? 1 : 0)).trimStart() };
}

/** An emoji that says a status, at the end of `text`. */
export function takeLastMark(text: string): { status: Status; rest: string } | null {
  const end = text.length - (isSelector(text.at(-1)) ? 1 : 0);
  for (const length of [1, 2]) {
    const status = byEmoji.get(text.slice(end - length, end));
    if (status !== undefined) return { status, rest: text.slice(0, end - length).trimEnd() };
  }
  return null;
}

/** The status that a table's cell or a label's value says: `[x] Done`, `✅ สำเร็จ`, `In progress (50 %)`. */
export function statusOf(text: string): Status | null {
  const bare = text.replace(/[*`~]/g, "").trim();
  const marked = takeBox(bare) ?? takeMark(bare);
  return marked === null ? statusOfWord(bare) : marked.status;
}

export function statusOfWord(text: string): Status | null {
  if (text.length > 100) return null;
  const word = text
    .toLowerCase()
    .replace(/[_\s-]+/g, " ")
    .replace(/^[^\p{L}]+/u, "")
    .replace(/[^\p{L}\p{M}]+$/u, "");
  const first = /^[^(,:;.—–]*/.exec(word)?.[0].trimEnd() ?? "";
  return byWord.get(word) ?? byWord.get(first) ?? null;
}

/** For a column that asks "completed?": a cross answers no there, and means nothing worse. */
export function completionOf(text: string): Status | null {
  const word = withoutSelectors(text.replace(/[*`]/g, "").trim().toLowerCase());
  if (/^(?:|no|n|false|❌|✗|-|—|ไม่|ยัง)$/u.test(word)) return "planned";
  return /^(?:yes|y|true|x|✓|ใช่|แล้ว)$/u.test(word) ? "done" : statusOf(text);
}

/** What two marks of one task say together, and whether they contradict each other. */
export function settle(
  first: Status | null,
  second: Status | null,
): { status: Status | null; conflict: boolean } {
  if (first === null || second === null || first === second)
    return { status: first ?? second, conflict: false };
  if (first === "planned") return { status: second, conflict: second === "done" };
  return { status: first, conflict: second !== "planned" };
}

/** Emoji may carry a selector that says whether they are drawn as text or in colour. */
const isSelector = (sign: string | undefined): boolean => sign === "\ufe0f" || sign === "\ufe0e";
const withoutSelectors = (text: string): string => text.replace(/[\ufe0e\ufe0f]/g, "");

const isBlank = (sign: string | undefined): boolean => sign === undefined || sign === " " || sign === "\t";
