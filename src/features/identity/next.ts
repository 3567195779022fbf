/**
 * Where a browser goes after signing in: a place of this gateway, never of another one. A path that a URL parser would
 * read as something else (`//host`, `/\host`, control characters) is no such place.
 */
export function safeNext(text: string | null, publicUrl: string): string {
  if (text === null || !/^\/(?![/\\])[\x21-\x7e]*$/.test(text) || text.length > 8_192) return "/";
  const url = URL.parse(text, publicUrl);
  return url !== null && url.origin === publicUrl ? url.pathname + url.search : "/";
}
