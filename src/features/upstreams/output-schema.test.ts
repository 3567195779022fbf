import { expect, spyOn, test } from "bun:test";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import fc from "fast-check";
import { wrongInOutputSchema } from "./output-schema.ts";

/** As the clients of SDK 1.x do it with every tool of a list. */
const compiles = (schema: object): boolean => {
  try {
    new AjvJsonSchemaValidator().getValidator(schema as never);
    return true;
  } catch {
    return false;
  }
};

const scalar = fc.oneof(
  fc.constantFrom(
    "string",
    "object",
    "bogus",
    "",
    "#",
    "#/$defs/a",
    "#/properties/b",
    "([",
    "^a$",
    "https://x.example/s",
  ),
  fc.constantFrom(null, true, false, 0, 1.5, -1),
);
const words = [
  [
    "type",
    "nullable",
    "enum",
    "const",
    "required",
    "pattern",
    "format",
    "$ref",
    "$id",
    "id",
    "$anchor",
    "$async",
  ],
  ["minLength", "maximum", "uniqueItems", "multipleOf", "formatMinimum", "x-any", "default", "examples"],
  ["properties", "patternProperties", "$defs", "definitions", "dependencies"],
  ["items", "not", "if", "then", "contains", "allOf", "anyOf", "additionalProperties", "propertyNames"],
].flat();
const { schema } = fc.letrec<{ schema: Record<string, unknown>; value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("a", "b", "([", "$id"), tie("value"), { maxKeys: 3 }),
    tie("schema"),
  ),
  schema: fc.dictionary(fc.constantFrom(...words), tie("value"), { maxKeys: 3 }),
}));

test("what is let through compiles, whatever stands in it", () => {
  // It says there which formats it does not know.
  const warn = spyOn(console, "warn").mockImplementation(() => undefined);
  let passed = 0;
  fc.assert(
    fc.property(schema, (given) => {
      if (wrongInOutputSchema(given) !== null) return;
      passed++;
      expect([given, compiles(given)]).toEqual([given, true]);
    }),
    { numRuns: 3_000 },
  );
  warn.mockRestore();
  expect(passed).toBeGreaterThan(300);
});

test("what generators of schemas make is let through", () => {
  const node = { type: "object", properties: { next: { $ref: "#/$defs/Node" }, id: { type: "string" } } };
  for (const fine of [
    {},
    {
      type: "object",
      properties: { $id: { type: "string" }, tags: { type: "array", items: { type: "string" } } },
    },
    { $schema: "https://json-schema.org/draft/2020-12/schema", $defs: { Node: node }, $ref: "#/$defs/Node" },
    { $id: "https://example.com/schemas/one.json", type: ["object", "null"], additionalProperties: false },
    { anyOf: [{ type: "object" }, true], title: "x", examples: [{}], "x-unknown": { type: "bogus" } },
    { type: "object", patternProperties: { "^\\p{L}+$": {} }, properties: { "a/b": { enum: [1, null] } } },
  ])
    expect([fine, wrongInOutputSchema(fine)]).toEqual([fine, null]);
});

test("what is wrong is named by where it stands", () => {
  const rows: [Record<string, unknown>, string][] = [
    [{ properties: { a: { type: "bogus" } } }, "/properties/a/type"],
    [{ properties: { "a/b": { pattern: "([" } } }, "/properties/a~1b/pattern"],
    [{ anyOf: [{}, { $ref: "https://x.example/s.json" }] }, "/anyOf/1/$ref"],
    [{ $ref: "#/constructor" }, "/$ref"],
    [{ required: "a" }, "/required"],
    [{ "x-far": { $id: "a" } }, "/x-far/$id"],
    [{ anyOf: Array(101).fill({}) }, "/anyOf"],
  ];
  for (const [given, path] of rows) expect([given, wrongInOutputSchema(given)]).toEqual([given, path]);
  const many = Object.fromEntries(Array.from({ length: 1_001 }, (_, number) => [`p${number}`, {}]));
  expect(wrongInOutputSchema({ properties: many })).toStartWith("/properties/p");
});
