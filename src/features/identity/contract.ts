/**
 * People and their sign-ins on the wire.
 */
import { z } from "zod";

export const roleForm = z.enum(["admin", "user"]);
export type UserRole = z.infer<typeof roleForm>;

/** Stored as written; two spellings that differ in case alone are one person. */
export const emailForm = z.email("An e-mail address looks like ada@example.com.").max(254);

/** Longer than any that is accepted: how long a password may be is said by passwords.ts, in bytes. */
const passwordText = z.string().max(4_096);

export const loginForm = z.strictObject({ email: z.string().max(1_024), password: passwordText });
export const newUserForm = z.strictObject({
  email: z.string().max(1_024),
  role: roleForm.default("user"),
  password: passwordText.optional(),
});
export const userChangeForm = z
  .strictObject({
    email: z.string().max(1_024),
    role: roleForm,
    disabled: z.boolean(),
    password: passwordText,
  })
  .partial();
export const passwordChangeForm = z.strictObject({
  current_password: passwordText,
  new_password: passwordText,
});

export type UserView = { id: string; email: string; role: UserRole };
export type UserLine = UserView & { created_at: string; disabled_at: string | null; version: number };

export type SignInView = {
  id: string;
  kind: "browser" | "app";
  /** Which app, and what it may do; null for a browser. */
  client_id: string | null;
  client_name: string | null;
  scope: string | null;
  method: string;
  ip: string | null;
  user_agent: string | null;
  created_at: string;
  used_at: string;
  expires_at: string;
  /** Whether this very request came with it. */
  current: boolean;
};
