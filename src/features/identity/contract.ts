/**
 * People on the wire.
 */
import { z } from "zod";

export const roleForm = z.enum(["admin", "user"]);
export type UserRole = z.infer<typeof roleForm>;

/** Stored as written; two spellings that differ in case alone are one person. */
export const emailForm = z.email("An e-mail address looks like ada@example.com.").max(254);

export type UserView = { id: string; email: string; role: UserRole };
export type UserLine = UserView & { created_at: string; disabled_at: string | null };
