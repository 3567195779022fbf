/**
 * What a download is saved as (RFC 6266): always an attachment, so that no browser opens it where it came from.
 */

/** Any text of one line: as it is in `filename*`, and in plain letters for whoever does not know that one. */
export function attachmentOf(name: string): string {
  const whole = name.toWellFormed();
  const plain = whole.replace(/[^\w .-]/g, "_");
  // RFC 8187 takes fewer characters than encodeURIComponent leaves alone.
  const encoded = encodeURIComponent(whole).replace(
    /['()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
