/**
 * Policies on the wire, which is also how they are kept: rules about tools' names and arguments, in the order in which
 * they are numbered when a decision names one.
 */
import { z } from "zod";
import { storable } from "../../db/storable.ts";
import { toolGlobForm } from "../../platform/config-mcp.ts";
import { pageQuery } from "../../platform/page.ts";

const rulesMax = 200;
const argsMax = 20;
const valuesMax = 100;
const textCharsMax = 1_024;

/** Names of members with dots between them; `*` stands for each element of a list. */
const argPathForm = z
  .string()
  .max(512)
  .regex(
    /^[\w$@:/-]{1,64}(?:\.(?:\*|[\w$@:/-]{1,64})){0,7}$/,
    "Not the path of an argument; would be such as path, target.env or tasks.*.title.",
  );

const isKept = (text: string): boolean => storable(text) === text;
const text = z
  .string()
  .max(textCharsMax)
  .refine(isKept, "Cannot be kept: it holds a NUL or half of a surrogate pair.");

/** Beyond 2^53 two numbers that are written differently are the same one to whoever reads them. */
const number = z.number().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER);

const scalar = z.union([text, number, z.boolean()], "Give a text, a number, true or false.");

/** What a path says before its last slash must be plain, because only plain paths are ever compared with it. */
const isPlainPrefix = (value: string): boolean => {
  const behindScheme = value.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\//, "");
  const segments = behindScheme.split("/").slice(0, -1);
  return !segments.some((segment, at) => /^\.+$/.test(segment) || (segment === "" && at > 0));
};
const prefix = text
  .min(1)
  .refine(isPlainPrefix, "Holds `.`, `..` or `//`; would be a plain path, such as /srv/docs/.")
  .refine(
    (value) => !value.includes("://") || /:\/\/[^/]+\//.test(value),
    "Ends before the host does, so that other hosts begin with it too; would be such as https://api.example.com/.",
  );

const condition = <Op extends string, Value extends z.ZodType>(op: Op, value: Value) =>
  z.strictObject({ path: argPathForm, op: z.literal(op), value });

const conditionForm = z.discriminatedUnion(
  "op",
  [
    condition("eq", scalar),
    condition("in", z.array(scalar).min(1).max(valuesMax)),
    condition("prefix", prefix),
    condition("max", number),
    condition("len", z.int().min(0)),
  ],
  "Not a condition; `op` would be eq, in, prefix, max or len.",
);

export const ruleForm = z
  .strictObject({
    effect: z.enum(["allow", "deny"]),
    tool: z
      .string()
      .regex(toolGlobForm, "Not a pattern of tools' names; would be such as task_*, github__* or **."),
    args: z.array(conditionForm).max(argsMax).optional(),
    requests_per_minute: z.int().min(1).max(1_000_000).optional(),
    result_bytes_max: z.int().min(1).max(1_073_741_824).optional(),
  })
  .superRefine((rule, context) => {
    if (rule.effect === "allow") return;
    for (const name of ["requests_per_minute", "result_bytes_max"] as const)
      if (rule[name] !== undefined)
        context.addIssue({ code: "custom", path: [name], message: "Belongs to a rule that allows." });
  });

export type Condition = z.infer<typeof conditionForm>;
export type Rule = z.infer<typeof ruleForm>;

export const policyForm = z.strictObject({ rules: z.array(ruleForm).max(rulesMax) });
export const policyBytesMax = 131_072;

export const policiesQuery = z.strictObject(pageQuery);

export type PolicyView = {
  principal: string;
  /** 0: there never was one. */
  revision: number;
  /** None: there is no policy any more, and the ceiling alone counts. */
  rules: Rule[];
};
