/**
 * Text in Unicode's form NFKC, in time that grows with its length alone, whoever wrote it.
 *
 * To normalize is to sort the marks that stand on one letter, and the sorting takes the square of their number: 40 KB of
 * accents on one `a` stop everything for a second, a megabyte for minutes. No script has more than 30 of them in a row
 * (UAX #15, Stream-Safe Text). Longer rows are left as they are, so that no two texts become one by it, and what has
 * been normalized once does not change any more.
 */

/** The halfwidth voiced marks of Japanese are letters until they are normalized. */
const mark = "[\\p{M}\\uff9e\\uff9f]";
const markRunMax = 30;
const longRun = new RegExp(`${mark}{${markRunMax + 1}}`, "u");
const longRuns = new RegExp(`(${mark}{${markRunMax + 1},})`, "u");

/** Whether it holds more marks in a row than any script has. */
export const hasLongMarkRun = (text: string): boolean => longRun.test(text);

export function nfkc(text: string): string {
  if (!hasLongMarkRun(text)) return text.normalize("NFKC");
  // Split by a group: every second piece is such a row.
  const pieces = text.split(longRuns);
  return pieces.map((piece, at) => (at % 2 === 0 ? piece.normalize("NFKC") : piece)).join("");
}
