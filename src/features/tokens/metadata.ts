/**
 * What OAuth clients may know before they have a credential: RFC 8414 and RFC 9728. Lists only what exists.
 */
import { scopes } from "../../platform/scopes.ts";
import { type Addresses, knownOrigin } from "./audiences.ts";

const clientAuthentication = ["client_secret_basic", "client_secret_post"];

export const grantTypes = ["client_credentials"] as const;

export function serverMetadata({ publicUrl }: Addresses): Record<string, unknown> {
  return {
    issuer: publicUrl,
    token_endpoint: `${publicUrl}/oauth/token`,
    token_endpoint_auth_methods_supported: clientAuthentication,
    revocation_endpoint: `${publicUrl}/oauth/revoke`,
    revocation_endpoint_auth_methods_supported: clientAuthentication,
    grant_types_supported: grantTypes,
    // Required by RFC 8414 section 2; there is no authorization endpoint to give a response type to.
    response_types_supported: [],
    scopes_supported: scopes,
  };
}

/** `asked` is the request's URL: the resource is named by the origin it came to, if that is on the list. */
export function resourceMetadata(asked: URL, path: string, addresses: Addresses): Record<string, unknown> {
  return {
    resource: (knownOrigin(asked, addresses) ?? addresses.publicUrl) + path,
    authorization_servers: [addresses.publicUrl],
    scopes_supported: scopes,
    bearer_methods_supported: ["header"],
    resource_name: "SpecGate",
  };
}
