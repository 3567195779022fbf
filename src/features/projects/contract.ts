/**
 * Projects on the wire.
 */
import { z } from "zod";

/** Free text for people; the id decides, so two projects may share a name. */
export const projectNameForm = z
  .string()
  .trim()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses
  .regex(/^[^\u0000-\u001f\u007f]*$/);

export type ProjectView = { id: string; name: string };
export type ProjectLine = ProjectView & { archived: boolean };
