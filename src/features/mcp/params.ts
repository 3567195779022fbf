/**
 * The parameters of the methods that are answered here, as far as it depends on them what is answered.
 */
import { z } from "zod";
import type { Message } from "./message.ts";
import { wrongParams } from "./refusals.ts";

const page = z.object({ cursor: z.string().max(4_096).optional() });
const uri = z.string().min(1).max(2_048);
const name = z.string().max(256);

export const paramsOf = {
  "tools/list": page,
  "resources/list": page,
  "resources/templates/list": page,
  "prompts/list": page,
  "resources/read": z.object({ uri }),
  "prompts/get": z.object({ name, arguments: z.record(z.string(), z.string()).optional() }),
  "completion/complete": z.object({
    ref: z.discriminatedUnion("type", [
      z.object({ type: z.literal("ref/prompt"), name }),
      z.object({ type: z.literal("ref/resource"), uri }),
    ]),
    argument: z.object({ name, value: z.string().max(4_096) }),
  }),
  /** Its name and its arguments are judged, whatever they are, before anybody says that they are wrong. */
  "tools/call": z.object({}),
} as const;

export type Answered = keyof typeof paramsOf;
export type ParamsOf<Method extends Answered> = z.infer<(typeof paramsOf)[Method]>;

export const isAnswered = (method: string | null): method is Answered =>
  method !== null && Object.hasOwn(paramsOf, method);

/** Throws -32602 naming the first parameter that is wrong. */
export function readParams<Method extends Answered>(method: Method, { params }: Message): ParamsOf<Method> {
  const parsed = paramsOf[method].safeParse(params);
  if (parsed.success) return parsed.data as ParamsOf<Method>;
  const [issue] = parsed.error.issues;
  throw wrongParams(`The parameter \`${issue?.path.join(".") ?? ""}\` is wrong: ${issue?.message ?? ""}`);
}
