/**
 * Lines of CSV (RFC 4180), safe to open with a spreadsheet.
 */

export type Cell = string | number | boolean | null;

/** Ends with CRLF. What is not known is empty. */
export const csvLine = (cells: readonly Cell[]): string => `${cells.map(csvCell).join(",")}\r\n`;

function csvCell(value: Cell): string {
  // Spreadsheets run what begins like a formula, and names come from strangers.
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
