/** Measured figures, the bar that each must meet, and the table that shows both. */
export type Figure = {
  name: string;
  value: number;
  unit: string;
  /** Absent where there is nothing to meet, as for a yardstick. */
  max?: number;
  note?: string;
};

export function atMost(name: string, value: number, max: number, unit: string, note?: string | null): Figure {
  return { name, value, unit, max, ...(note ? { note } : {}) };
}

export const isMet = ({ value, max }: Figure): boolean => max === undefined || value <= max;

export function table(figures: Figure[]): string {
  const width = Math.max(...figures.map(({ name }) => name.length));
  const rows = figures.map((figure) => {
    const value = `${shown(figure.value)} ${figure.unit}`.padStart(14);
    const bar = figure.max === undefined ? "" : `≤ ${shown(figure.max)} ${figure.unit}`.trim().padEnd(10);
    const mark = figure.max === undefined ? "" : isMet(figure) ? "✓" : "✗";
    const note = figure.note === undefined ? "" : `  ${figure.note}`;
    return `${figure.name.padEnd(width)} ${value}   ${bar} ${mark}${note}`.trimEnd();
  });
  return rows.join("\n");
}

function shown(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}
