/**
 * Reports on the wire.
 */
import { z } from "zod";
import { isId, type Prefix } from "../../platform/ids.ts";
import { pageQuery } from "../../platform/page.ts";
import { line, text, word } from "../../platform/text-form.ts";
import { whyNotJson } from "./json-text.ts";

const bodyCharactersMax = 1_048_576;
/** As many characters with each of them escaped, and the rest of the form; the usual limit of the control plane. */
export const reportBytesMax = 8_388_608;

export const reportFormats = ["markdown", "json", "text"] as const;
export type ReportFormat = (typeof reportFormats)[number];

const idOf = (prefix: Prefix, what: string) =>
  z.string().refine((id) => isId(prefix, id), `This is not spelled as the id of ${what} (\`${prefix}_…\`).`);
const iterationId = idOf("itr", "an iteration");

export const newReportForm = z
  .strictObject({
    kind: word.default("report"),
    title: line(200),
    format: z.enum(reportFormats).default("markdown"),
    body: text(bodyCharactersMax),
    iteration_id: iterationId.nullable().optional(),
    artifact_id: idOf("art", "an artifact").nullable().optional(),
  })
  .superRefine(({ format, body }, { addIssue }) => {
    const message = format === "json" ? whyNotJson(body) : null;
    if (message !== null) addIssue({ code: "custom", path: ["body"], message });
  });
export type NewReport = z.infer<typeof newReportForm>;

export const reportsQuery = z.strictObject({
  ...pageQuery,
  kind: word.optional(),
  iteration: iterationId.optional(),
});
export type ReportsQuery = z.infer<typeof reportsQuery>;

/** In a list, and as the answer to whoever sent it. */
export const reportLineShape = z.object({
  id: z.string(),
  project_id: z.string(),
  session_id: z.string(),
  iteration_id: z.string().nullable(),
  kind: z.string(),
  title: z.string(),
  format: z.enum(reportFormats),
  body_bytes: z.int().describe("Of the body, in UTF-8."),
  artifact_id: z.string().nullable(),
  created_by: z.string(),
  created_at: z.string(),
});
export type ReportLine = z.infer<typeof reportLineShape>;

export const reportShape = reportLineShape.extend({ body: z.string() });
export type ReportView = z.infer<typeof reportShape>;
