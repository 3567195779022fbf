/**
 * What a token is for: the public URL (every bearer plane) or single planes under it (RFC 8707).
 *
 * A resource may be spelled with any origin of the allowlist; the token always carries the public one. Nothing is ever
 * copied from a request: what goes out is chosen from the list.
 */
import { isLoopbackHost } from "../../platform/loopback.ts";
import type { Plane } from "../../platform/principal.ts";

/** Origins without trailing slash; `aliases` are accepted beside the public URL and any spelling of loopback. */
export type Addresses = { readonly publicUrl: string; readonly aliases: readonly string[] };

export const planePaths = { control: "/api/v1", llm: "/v1", mcp: "/mcp" } as const satisfies Record<
  Plane,
  string
>;
const planes = Object.keys(planePaths) as Plane[];

const resourceForm = /^https?:\/\/[^\s\\@?#]+$/i;

/** The audience that a `resource` names, or null when it names nothing of this gateway. */
export function audienceOf(resource: string, addresses: Addresses): string | null {
  if (resource.length > 2_048 || !resourceForm.test(resource) || !URL.canParse(resource)) return null;
  const url = new URL(resource);
  if (knownOrigin(url, addresses) === null) return null;
  const path = url.pathname.replace(/\/$/, "");
  const known = path === "" || Object.values<string>(planePaths).includes(path);
  return known ? addresses.publicUrl + path : null;
}

type Audiences = { ok: true; value: string[] } | { ok: false; resource: string };

/** The audiences that `resources` name; none: every bearer plane. `granted` bounds them when given. */
export function decideAudiences(
  resources: readonly string[],
  addresses: Addresses,
  granted: readonly string[] = [addresses.publicUrl],
): Audiences {
  if (resources.length === 0) return { ok: true, value: [...granted] };
  const chosen = new Set<string>();
  for (const resource of resources) {
    const audience = audienceOf(resource, addresses);
    const within = audience !== null && (granted.includes(audience) || granted.includes(addresses.publicUrl));
    if (!within) return { ok: false, resource };
    chosen.add(audience);
  }
  return { ok: true, value: [...chosen] };
}

/** The planes that a token with these audiences opens. */
export function planesOf(audiences: readonly string[], publicUrl: string): ReadonlySet<Plane> {
  return new Set(
    planes.filter(
      (plane) => audiences.includes(publicUrl) || audiences.includes(publicUrl + planePaths[plane]),
    ),
  );
}

/** Every audience that a token of this gateway can have. */
export const allAudiences = (publicUrl: string): string[] => [
  publicUrl,
  ...planes.map((plane) => publicUrl + planePaths[plane]),
];

/** The allowlisted origin under which a request came, or null. Schemes may differ: a proxy may have ended TLS. */
export function knownOrigin(url: URL, addresses: Addresses): string | null {
  const listed = [addresses.publicUrl, ...addresses.aliases].find(
    (origin) => new URL(origin).host === url.host,
  );
  if (listed !== undefined) return listed;
  return url.protocol === "http:" && isLoopbackHost(url.host) ? url.origin : null;
}
