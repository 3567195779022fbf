/**
 * What one line of Markdown begins with: a bullet, a box, an emoji.
 */
import { type Label, takeLabel } from "./task-file-labels.ts";
import type { Line } from "./task-file-lines.ts";
import { type Box, type Status, settle, takeBox, takeMark } from "./task-file-marks.ts";
import type { Ref } from "./task-file-title.ts";

export type Marks = {
  readonly box: Box | null;
  /** What the box and the emoji say together; null where neither stands. */
  readonly status: Status | null;
  readonly emojiStatus: Status | null;
  readonly isContradictory: boolean;
  /** Behind both. */
  readonly body: string;
};

export type Item = Line &
  Marks & {
    readonly hasBullet: boolean;
    /** Behind the bullet; a number stays, since it may be referred to. */
    readonly plain: string;
    /** At the start of `plain`, where nothing marks the line. */
    readonly label: Label | null;
  };

export function itemOf({ number, indent, text, isBroken }: Line): Item {
  const bullet = /^(?:[-*+•]|\d{1,9}[.)])(?:\s+|$)/.exec(text)?.[0] ?? "";
  const hasBullet = bullet !== "";
  const behind = text.slice(bullet.length);
  const { box, status, emojiStatus, isContradictory, body } = marksOf(behind, hasBullet);
  const plain = status === null && /^\d/.test(bullet) ? text : behind;
  const label = status === null ? takeLabel(plain) : null;
  // Written out, since there is one for each line and spreading costs more than reading.
  return {
    number,
    indent,
    text,
    isBroken,
    box,
    status,
    emojiStatus,
    isContradictory,
    body,
    hasBullet,
    plain,
    label,
  };
}

/** `takesAnyBox`: where a list item or a heading begins, a box with an unknown sign is still a box. */
export function marksOf(text: string, takesAnyBox: boolean): Marks {
  const found = takeBox(text);
  const box = found?.isKnown || takesAnyBox ? found : null;
  const emoji = takeMark(box?.rest ?? text);
  const { status, conflict } = settle(box?.status ?? null, emoji?.status ?? null);
  return {
    box,
    status,
    emojiStatus: emoji?.status ?? null,
    isContradictory: conflict,
    body: emoji?.rest ?? box?.rest ?? text,
  };
}

/** A mark makes a task of a list item; in a plain line an emoji may be there for show, unless a ref follows. */
export const isMarkedTask = ({ hasBullet, box, status, body }: Item, { isTaskRef }: Ref): boolean =>
  status !== null && (hasBullet || box !== null || isTaskRef) && !isBareLabel(body);

/** `- ✅ Acceptance criteria:` heads a list. */
function isBareLabel(text: string): boolean {
  if (!/[:：]/.test(text.slice(-4))) return false;
  const label = takeLabel(text);
  return label !== null && label.kind !== null && label.rest === "";
}

/** A line drawn across the page, or below a heading. */
export const isRule = (text: string): boolean =>
  /^[-*_=]/.test(text) && /^(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,}|={3,})$/.test(text);

const given = ["given", "กำหนดให้"];
const then = ["when", "then", "and", "but", "เมื่อ", "ดังนั้น", "และ", "แต่"];

/** Gherkin's keywords, in English and Thai, and one-line forms such as `WHEN … THEN …`. */
export function beginsScenario(text: string): boolean {
  const start = startOf(text);
  return begins(start, given) || (begins(start, ["when"]) && /\b(?:then|shall)\b/i.test(text));
}

export const continuesScenario = (text: string): boolean => begins(startOf(text), then);

/** `AC-1: …`. */
export const isNumberedCriterion = (text: string): boolean =>
  /^[*_]*AC[- ]?\d{1,4}[*_]*\s*[:：—–-]/i.test(text);

const startOf = (text: string): string =>
  text
    .slice(0, 20)
    .replace(/^[*_]+/, "")
    .toLowerCase();

const begins = (start: string, words: readonly string[]): boolean =>
  words.some((word) => start.startsWith(word) && !/^[a-z]/.test(start.slice(word.length)));
