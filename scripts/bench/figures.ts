/** Measured figures, the bar that each must meet, and the table that shows both. */
export type Figure = {
  name: string;
  value: number;
  unit: string;
  /** Absent where there is nothing to meet, as for a yardstick. */
  max?: number;
  min?: number;
  note?: string;
};

export function atMost(name: string, value: number, max: number, unit: string, note?: string | null): Figure {
  return { name, value, unit, max, ...(note ? { note } : {}) };
}

export function atLeast(
  name: string,
  value: number,
  min: number,
  unit: string,
  note?: string | null,
): Figure {
  return { name, value, unit, min, ...(note ? { note } : {}) };
}

export const isMet = ({ value, max = Number.POSITIVE_INFINITY, min = Number.NEGATIVE_INFINITY }: Figure) =>
  value <= max && value >= min;

export function table(figures: Figure[]): string {
  const width = Math.max(...figures.map(({ name }) => name.length));
  const rows = figures.map((figure) => {
    const value = `${shown(figure.value)} ${figure.unit}`.padStart(14);
    const bar = barOf(figure);
    const mark = bar === "" ? "" : isMet(figure) ? "✓" : "✗";
    const note = figure.note === undefined ? "" : `  ${figure.note}`;
    return `${figure.name.padEnd(width)} ${value}   ${bar.padEnd(bar === "" ? 0 : 10)} ${mark}${note}`.trimEnd();
  });
  return rows.join("\n");
}

function barOf({ max, min, unit }: Figure): string {
  if (max !== undefined) return `≤ ${shown(max)} ${unit}`.trim();
  return min === undefined ? "" : `≥ ${shown(min)} ${unit}`.trim();
}

function shown(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}
