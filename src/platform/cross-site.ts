/**
 * Whether a request that changes state comes from this gateway's own pages.
 *
 * Browsers say where a request comes from in Sec-Fetch-Site (Fetch Metadata) and Origin; pages cannot forge either. A
 * request judged by a cookie has to show one of them, and neither may speak against it: whatever a browser does not
 * vouch for could be another site's form.
 */
import { Failure } from "./failure.ts";

const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);

/** Throws 403 `cross_site`. Safe methods pass: they change nothing. */
export function refuseCrossSite(request: Request, publicUrl: string): void {
  if (safeMethods.has(request.method)) return;
  const origin = request.headers.get("origin");
  const site = request.headers.get("sec-fetch-site");
  const vouched = site === null ? origin !== null : isOwnSite(site, request);
  if (vouched && (origin === null || origin === publicUrl)) return;
  throw new Failure(
    "forbidden",
    "cross_site",
    "With a cookie, a request that changes something must come from this gateway's own pages: send Sec-Fetch-Site: same-origin, or Origin with the public URL. Programs use a bearer token instead.",
  );
}

/** Where no cookie decides, a program that says nothing of its origin is welcome; a browser of another site is not. */
export function refuseForeignBrowser(request: Request, publicUrl: string): void {
  const { headers } = request;
  if (headers.has("origin") || headers.has("sec-fetch-site") || headers.has("cookie"))
    refuseCrossSite(request, publicUrl);
}

/** `none` is a person's own doing (a bookmark, a reload), and only a navigation can be that. */
const isOwnSite = (site: string, { headers }: Request): boolean =>
  site === "same-origin" || (site === "none" && headers.get("sec-fetch-mode") === "navigate");
