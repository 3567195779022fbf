/**
 * What a download is saved as (RFC 6266): always an attachment, so that no browser opens it where it came from.
 */
import { percentEncoded } from "./percent.ts";

/** Any text of one line: as it is in `filename*`, and in plain letters for whoever does not know that one. */
export function attachmentOf(name: string): string {
  const whole = name.toWellFormed();
  const plain = whole.replace(/[^\w .-]/g, "_");
  return `attachment; filename="${plain}"; filename*=UTF-8''${percentEncoded(whole)}`;
}
