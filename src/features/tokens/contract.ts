/**
 * Clients, keys and tokens on the wire. A secret appears once, in the answer that made it.
 */
import { z } from "zod";
import type { ClientKind } from "../../platform/scopes.ts";

export const clientNameForm = z
  .string()
  .trim()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses
  .regex(/^[^\u0000-\u001f\u007f]*$/);
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
};

/** RFC 6749 section 5.1. */
export type IssuedToken = {
  access_token: string;
  token_type: "Bearer";
  /** Seconds. */
  expires_in: number;
  scope: string;
};
