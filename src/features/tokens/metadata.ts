/**
 * What OAuth clients may know before they have a credential: RFC 8414 and RFC 9728. Lists only what exists.
 */

import type { Plane } from "../../platform/principal.ts";
import { ceiling, scopes } from "../../platform/scopes.ts";
import { type Addresses, knownOrigin, planePaths } from "./audiences.ts";

const withSecret = ["client_secret_basic", "client_secret_post"];
const withOrWithout = [...withSecret, "none"];

export const grantTypes = [
  "client_credentials",
  "authorization_code",
  "refresh_token",
  "urn:ietf:params:oauth:grant-type:device_code",
  "urn:ietf:params:oauth:grant-type:token-exchange",
] as const;

/** What an app that made itself known may hold. */
export const appScopes = ceiling({ kind: "client", clientKind: "desktop", projectId: null });

/** Which ways for clients to make themselves known are open. */
export type Doors = { readonly registration: boolean; readonly cimd: boolean };

export function serverMetadata({ publicUrl }: Addresses, doors: Doors): Record<string, unknown> {
  return {
    issuer: publicUrl,
    authorization_endpoint: `${publicUrl}/oauth/authorize`,
    token_endpoint: `${publicUrl}/oauth/token`,
    token_endpoint_auth_methods_supported: withOrWithout,
    device_authorization_endpoint: `${publicUrl}/oauth/device_authorization`,
    ...(doors.registration ? { registration_endpoint: `${publicUrl}/oauth/register` } : {}),
    revocation_endpoint: `${publicUrl}/oauth/revoke`,
    revocation_endpoint_auth_methods_supported: withOrWithout,
    introspection_endpoint: `${publicUrl}/oauth/introspect`,
    introspection_endpoint_auth_methods_supported: withSecret,
    grant_types_supported: grantTypes,
    response_types_supported: ["code"],
    response_modes_supported: ["query"],
    code_challenge_methods_supported: ["S256"],
    authorization_response_iss_parameter_supported: true,
    client_id_metadata_document_supported: doors.cimd,
    scopes_supported: scopes,
  };
}

/** Where a resource's metadata stands, in the origin that was asked (RFC 9728 section 3.1). */
export const resourceMetadataUrl = (asked: URL, plane: Plane, addresses: Addresses): string =>
  `${knownOrigin(asked, addresses) ?? addresses.publicUrl}/.well-known/oauth-protected-resource${planePaths[plane]}`;

/** `asked` is the request's URL: the resource is named by the origin it came to, if that is on the list. */
export function resourceMetadata(asked: URL, path: string, addresses: Addresses): Record<string, unknown> {
  return {
    resource: (knownOrigin(asked, addresses) ?? addresses.publicUrl) + path,
    authorization_servers: [addresses.publicUrl],
    // Clients ask for all that stands here (the MCP SDK does), so it is what a newly registered one gets.
    scopes_supported: appScopes,
    bearer_methods_supported: ["header"],
    resource_name: "SpecGate",
  };
}
