/**
 * The parameters of the methods that are answered here, as far as it depends on them what is answered.
 */
import { specTypeSchemas } from "@modelcontextprotocol/server";
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
    context: z.object({ arguments: z.record(z.string(), z.string()).optional() }).optional(),
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
  throw wrongParam(parsed.error.issues[0]);
}

/** What the library reads by itself; it would tell of every mistake, in as many lines as there are mistakes. */
export async function readInitialize({ params }: Message): Promise<void> {
  const { issues } = await specTypeSchemas.InitializeRequestParams["~standard"].validate(params);
  if (issues !== undefined) throw wrongParam(issues[0]);
}

type Issue = {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
};

const pathCharactersMax = 200;

function wrongParam(issue: Issue | undefined) {
  const keys = (issue?.path ?? []).map((step) => String(typeof step === "object" ? step.key : step));
  const path = keys.join(".").slice(0, pathCharactersMax).toWellFormed();
  return wrongParams(`The parameter \`${path}\` is wrong: ${issue?.message ?? ""}`);
}
