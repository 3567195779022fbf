/** What is wrong with the files of the MCP log, and where. */

/** `line` counts from 1; null when it is the file as a whole. */
export type LogFlaw = { readonly file: string; readonly line: number | null; readonly why: string };

export class Broken extends Error {
  constructor(readonly flaw: LogFlaw) {
    super(flaw.why);
  }
}

export const broken = (file: string, line: number | null, why: string) => new Broken({ file, line, why });
