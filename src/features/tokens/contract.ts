/**
 * Clients, keys and tokens on the wire. A secret appears once, in the answer that made it.
 */
import { z } from "zod";
import { type ClientKind, clientKinds } from "../../platform/scopes.ts";

export const clientNameForm = z
  .string()
  .trim()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters, and those that turn text around, are what this refuses
  .regex(/^[^\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]*$/);
export const expiresDaysForm = z.number().int().min(1).max(365);

export type CreatedClient = {
  client_id: string;
  /** Absent for public clients. */
  client_secret?: string;
  kind: ClientKind;
  scope: string;
  project_id: string | null;
};

export type ClientLine = {
  client_id: string;
  name: string;
  kind: ClientKind;
  scope: string;
  project_id: string | null;
  redirect_uris: string[];
  created_at: string;
  revoked_at: string | null;
  version: number;
};

export type CreatedKey = { id: string; key: string; scope: string; expires_at: string };

export type KeyLine = {
  id: string;
  /** The key's last four characters. */
  hint: string;
  user_id: string | null;
  client_id: string | null;
  project_id: string | null;
  scope: string;
  created_at: string;
  expires_at: string;
  revoked_at: string | null;
  version: number;
};

/** RFC 6749 section 5.1. */
export type IssuedToken = {
  access_token: string;
  token_type: "Bearer";
  /** Seconds. */
  expires_in: number;
  /** For an app that a person signed in to. */
  refresh_token?: string;
  /** For a token made by exchange (RFC 8693 section 2.2.1). */
  issued_token_type?: string;
  scope: string;
};

/** RFC 8628 section 3.2. */
export type StartedDevice = {
  device_code: string;
  user_code: string;
  verification_uri: string;
  verification_uri_complete: string;
  /** Seconds. */
  expires_in: number;
  interval: number;
};

/** RFC 7662 section 2.2. */
export type Introspection =
  | { active: false }
  | {
      active: true;
      scope: string;
      client_id?: string;
      username?: string;
      token_type: "Bearer";
      exp: number;
      sub: string;
      aud: string[];
      iss: string;
      jti?: string;
      project_id?: string;
      session_id?: string;
    };

const short = z.string().max(2_048);

/** RFC 7591 section 2. What is not used here is accepted and left out of the answer. */
export const registrationForm = z.looseObject({
  redirect_uris: z.array(short).min(1).max(16),
  client_name: z.string().max(200).optional(),
  scope: short.optional(),
  grant_types: z.array(short).max(16).optional(),
  response_types: z.array(short).max(16).optional(),
  token_endpoint_auth_method: short.optional(),
});

/** RFC 7591 section 3.2.1. */
export type RegisteredClient = {
  client_id: string;
  client_id_issued_at: number;
  client_name: string;
  redirect_uris: string[];
  grant_types: string[];
  response_types: string[];
  token_endpoint_auth_method: "none";
  scope: string;
};

/** A client's own metadata document (draft-ietf-oauth-client-id-metadata-document): everybody reads it, so no secret. */
export const documentForm = registrationForm.extend({
  client_id: short,
  client_secret: z.never().optional(),
  token_endpoint_auth_method: short.regex(/^(?!client_secret)/).optional(),
});

const scopeText = z.string().max(1_024);
const projectId = z.string().max(64).nullable();

export const newClientForm = z.strictObject({
  name: z.string().max(1_024),
  kind: z.enum(clientKinds),
  project_id: projectId.optional(),
  redirect_uris: z.array(short).max(32).optional(),
  scope: scopeText,
});
export const clientChangeForm = z
  .strictObject({
    name: z.string().max(1_024),
    redirect_uris: z.array(short).max(32),
    scope: scopeText,
  })
  .partial();
export const newKeyForm = z.strictObject({
  /** The client that the key acts as; left out: the person who makes it. */
  client_id: short.optional(),
  project_id: projectId.optional(),
  scope: scopeText,
  expires_days: expiresDaysForm.optional(),
});
export const keyChangeForm = z.strictObject({ scope: scopeText }).partial();
