type Named<Row> = { [Name in keyof Row]?: Row[Name] | undefined };
export type Difference<Asked> = { [Name in keyof Asked]?: Exclude<Asked[Name], undefined> };

/** Of the fields that were named, those that are not so already. */
export function differenceOf<Row extends object, Asked extends Named<Row>>(
  row: Row,
  asked: Asked,
): Difference<Asked> {
  const named = Object.entries(asked) as [keyof Row, unknown][];
  const changed = named.filter(([name, value]) => value !== undefined && !Bun.deepEquals(row[name], value));
  return Object.fromEntries(changed) as Difference<Asked>;
}

/** For the audit: which fields changed, and a status, which is short and what one looks for. */
export const changedFields = (difference: { status?: string }): Record<string, unknown> => ({
  fields: Object.keys(difference),
  ...(difference.status === undefined ? {} : { status: difference.status }),
});
