/**
 * Search on the wire. What is found comes newest first, tasks and reports together: ids are made of time, so that a page
 * follows the last one whatever was written in between.
 */
import { z } from "zod";
import { pageQuery } from "../../platform/page.ts";

export const foundKinds = ["task", "report"] as const;
export type FoundKind = (typeof foundKinds)[number];

export const searchForm = z.strictObject({
  ...pageQuery,
  /** Words, all of which must be there, the last one perhaps in part; or else a part of a title or a reference. */
  q: z
    .string({ error: "Say what to look for." })
    .trim()
    .min(1, "Say what to look for.")
    .max(200, "At most 200 characters."),
  kind: z.enum(foundKinds).optional(),
});
export type SearchQuestion = z.infer<typeof searchForm>;

export type FoundView = {
  kind: FoundKind;
  id: string;
  session_id: string;
  title: string;
  /** Of a task; null for a report. */
  task_ref: string | null;
  status: string | null;
  /** A piece of the text around what was found, or its beginning; null where there is no text but the title. */
  snippet: string | null;
};
