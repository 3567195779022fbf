import type { Finding } from "./doctor.ts";
import type { Ask } from "./doctor-bucket.ts";

/** As browsers ask before a page uploads or downloads: one warning with the policy to paste, for all that are refused. */
export async function checkCors(ask: Ask, url: string, origins: readonly string[]): Promise<Finding[]> {
  const name = "storage";
  const allowed = await Promise.all(origins.map((origin) => isAllowed(ask, url, origin)));
  const refused = origins.filter((_, index) => !allowed[index]);
  if (refused.length === 0)
    return [{ name, status: "ok", message: `pages of ${origins.join(", ")} may upload and download` }];
  const policy = JSON.stringify(policyFor(origins));
  const message = `pages of ${refused.join(", ")} cannot upload or download: give the bucket this CORS policy: ${policy}`;
  return [{ name, status: "warning", message }];
}

/** What a presigned upload has beside what every page may send. */
const headers = ["content-type", "if-none-match", "x-amz-checksum-sha256"];

/** What the consoles of R2 and of S3 take as it is. The headers are named: R2 does not take `*` for all. */
const policyFor = (origins: readonly string[]) => [
  {
    AllowedOrigins: origins,
    AllowedMethods: ["GET", "PUT"],
    AllowedHeaders: headers,
    ExposeHeaders: ["ETag"],
    MaxAgeSeconds: 3_600,
  },
];

async function isAllowed(ask: Ask, url: string, origin: string): Promise<boolean> {
  const answers = [preflight(ask, url, origin, "PUT", headers), preflight(ask, url, origin, "GET", [])];
  return (await Promise.all(answers)).every(Boolean);
}

async function preflight(
  ask: Ask,
  url: string,
  origin: string,
  method: string,
  wanted: readonly string[],
): Promise<boolean> {
  const asked = new Headers({ origin, "access-control-request-method": method });
  if (wanted.length > 0) asked.set("access-control-request-headers", wanted.join(","));
  const answer = await ask(url, { method: "OPTIONS", headers: asked }).catch(() => null);
  if (answer === null || !answer.ok) return false;
  const list = (of: string) =>
    (answer.headers.get(`access-control-allow-${of}`) ?? "").split(",").map((entry) => entry.trim());
  const isListed = (entry: string, entries: string[]) => entries.includes("*") || entries.includes(entry);
  const named = list("headers").map((entry) => entry.toLowerCase());
  return (
    isListed(origin, list("origin")) &&
    // GET is allowed by having been allowed the origin (Fetch standard, CORS-preflight fetch).
    (method === "GET" || isListed(method, list("methods"))) &&
    wanted.every((header) => isListed(header, named))
  );
}
