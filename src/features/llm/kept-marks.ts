/**
 * How ids of what a provider keeps stand in the books: as marks, short enough that those of a long answer fit into its END.
 *
 * A mark is 66 bits of the id's SHA-256. It is looked for only among what one project was given, so nobody gains by
 * finding two ids with the same one.
 */
const markLength = 11;
/** In JSON each takes three characters more; all of them ride in one journal record, which has room for 1,000 bytes. */
const marksMax = 70;

export const markOf = (id: string): string =>
  new Bun.CryptoHasher("sha256").update(id).digest("base64url").slice(0, markLength);

/** The marks of the first of these ids. */
export const marksOf = (ids: readonly string[]): string[] => ids.slice(0, marksMax).map(markOf);
