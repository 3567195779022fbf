/**
 * Alert hooks and their deliveries on the wire, and what a receiver is sent.
 */
import { z } from "zod";
import { type AlarmType, alarmTypes } from "../../db/alarms.ts";
import { pageQuery } from "../../platform/page.ts";

const url = z.string().min(1, "Give a URL such as https://example.com/alerts.").max(2_048);
/** In the order of the list, each once, however they were given. */
const events = z
  .array(z.enum(alarmTypes))
  .min(1, "Name at least one event.")
  .max(50)
  .transform((named) => alarmTypes.filter((type) => named.includes(type)));

export const newHookForm = z.strictObject({ url, events });
export type NewHook = z.infer<typeof newHookForm>;

export const hookChangeForm = z.strictObject({ url, events }).partial();
export type HookChange = z.infer<typeof hookChangeForm>;

export const redeliveryForm = z.strictObject({});

export const deliveryStatuses = ["pending", "delivered", "dead"] as const;
export type DeliveryStatus = (typeof deliveryStatuses)[number];

export const hooksQuery = z.strictObject(pageQuery);
export const deliveriesQuery = z.strictObject({ ...pageQuery, status: z.enum(deliveryStatuses).optional() });

export type HookView = {
  id: string;
  url: string;
  events: AlarmType[];
  /** `secret_missing`: what its secret was made from is no longer configured, so nothing can be signed for it. */
  status: "active" | "secret_missing";
  created_by: string;
  created_at: string;
  version: number;
};

/** `secret` (`whsec_…`) is shown this once. */
export type NewHookView = HookView & { secret: string };

export type DeliveryView = {
  id: string;
  hook_id: string;
  /** What the receiver sees as `webhook-id`: the same for a redelivery, so that it can tell that it had it before. */
  webhook_id: string;
  type: string;
  payload: Message;
  status: DeliveryStatus;
  tries: number;
  next_try_at: string | null;
  last_status: number | null;
  last_error: string | null;
  created_at: string;
  ended_at: string | null;
};

/** The body that a receiver is sent (Standard Webhooks). `timestamp`: when it happened. */
export type Message = { type: string; timestamp: string; data: Record<string, unknown> };
