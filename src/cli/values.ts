import { InvalidArgumentError } from "commander";

/** For options that take a whole number; what is out of bounds is said by whoever knows the bounds. */
export function parseWhole(text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a whole number.");
}

const timeForm = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/;

/** A day stands for its first moment, or for the first one after it. */
export function parseTime(
  option: string,
  text: string | undefined,
  side: "start" | "end",
  mistakes: string[],
): Date | undefined {
  if (text === undefined) return undefined;
  const day = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const time = new Date(day || timeForm.test(text) ? text : Number.NaN);
  if (Number.isNaN(time.getTime())) {
    mistakes.push(
      `${option}: not a time; would be a day such as 2026-01-31, or such as 2026-01-31T08:00:00Z`,
    );
    return undefined;
  }
  return day && side === "end" ? new Date(time.getTime() + 86_400_000) : time;
}
