/** Percent-encoded down to the unreserved characters, which no client, proxy or parser ever spells otherwise (RFC 3986 section 2.3). */
export const percentEncoded = (text: string): string =>
  encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
