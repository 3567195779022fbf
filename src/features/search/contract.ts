/**
 * The search on the wire.
 *
 * Found is what has every word of `q`: the last one also as a beginning unless it is one or two letters, and what is written together (`foo_bar`, a path,
 * `WEB-003`) in a row. Only where there is no such thing, titles are found that contain `q` as it is
 * written, three characters at least; a page of these may be short, even empty, while there is a next one. A `q` without
 * a word or three characters in a row finds nothing.
 * The newest comes first, by when it was made, and not the most fitting: so a page follows the last one whatever has been
 * written in between.
 */
import { z } from "zod";
import { pageQuery } from "../../platform/page.ts";

export const foundKinds = ["task", "report"] as const;
export type FoundKind = (typeof foundKinds)[number];

const q = z
  .string({ error: "Say what to look for." })
  .trim()
  .min(1, "Say what to look for.")
  .max(200, "At most 200 characters.");

export const searchForm = z.strictObject({ ...pageQuery, q, kind: z.enum(foundKinds).optional() });
export type SearchQuestion = z.infer<typeof searchForm>;

export type FoundView = {
  kind: FoundKind;
  id: string;
  session_id: string;
  title: string;
  /** Of a task; null for a report. */
  task_ref: string | null;
  status: "planned" | "doing" | "blocked" | "done" | "cancelled" | null;
  /** Plain text around the first hit, or the beginning where only the title has one; null where there is no text. */
  snippet: string | null;
  created_at: string;
};
