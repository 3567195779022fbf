/**
 * Only the exact name runs a tool. Whatever else is spelled, and whatever stands where a name should, is answered with
 * the bytes of a tool that does not exist, and nothing runs.
 */
import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import type { ProtocolTool } from "../../platform/mcp-sources.ts";
import { startGateway } from "../../testing/gateway.ts";
import { legacyRpc, type Rpc, rpc } from "../../testing/mcp.ts";

const runs: string[] = [];
const counted = (name: string): ProtocolTool => ({
  name,
  scopes: ["mcp:read"],
  writes: false,
  definition: { name, description: "Counts.", inputSchema: { type: "object" } },
  answer: async () => {
    runs.push(name);
    return { content: [{ type: "text", text: "ran" }] };
  },
});

const gateway = await startGateway({
  yaml: "limits: { mcp: { requests_per_minute: null } }\nmcp: { deny: [ hidden_tool ] }",
  mcpExtras: { tools: ["task_count", "report_lines", "notes__task_count", "hidden_tool"].map(counted) },
});
afterAll(() => gateway.close());
const { robo } = gateway;

/** The answer's bytes, without what was asked for. */
const plain = ({ status, headers, error, ...answer }: Rpc, name: unknown) => {
  const text = typeof name === "string" ? name : (JSON.stringify(name) ?? "nothing");
  const isNamed = error?.message === `Unknown tool: ${text}`;
  return JSON.stringify({ status, ...answer, error: isNamed ? { ...error, message: "NAME" } : error });
};

const call = (speak: typeof rpc | typeof legacyRpc, name: unknown) =>
  speak(robo, "tools/call", { name, arguments: {} }, speak === rpc ? nameHeader(name) : {});

/** What no header can carry as it is, its sender encodes. */
const nameHeader = (name: unknown): Record<string, string> =>
  typeof name === "string" ? { "mcp-name": `=?base64?${Buffer.from(name).toString("base64")}?=` } : {};

const names = ["task_count", "report_lines", "notes__task_count"];
const letters: [string, string][] = [
  ["a", "\u0430"],
  ["c", "\u0441"],
  ["o", "\u043e"],
  ["t", "\uff54"],
  ["n", "\u0578"],
  ["s", "\u017f"],
  ["_", "\u203f"],
  ["_", "-"],
  ["_", "."],
  ["_", "/"],
  ["_", " "],
  ["_", ""],
  ["_", "__"],
  ["_", "___"],
];
const marks = [
  "\0",
  " ",
  "\t",
  "\n",
  "\r\n",
  "\u00a0",
  "\u200b",
  "\u200d",
  "\u2060",
  "\ufeff",
  "\u202e",
  "\u0301",
  "%00",
  "%20",
  ".",
  "/",
  "*",
  "**",
  "?",
  "#",
  ";",
  "'",
  '"',
  "\\",
  "__",
  "_",
];
const prefixes = [
  "specgate__",
  "gateway__",
  "local__",
  "self__",
  "__",
  "notes__",
  "NOTES__",
  "notes.",
  "notes/",
  "mcp__",
  "tools/",
  "./",
  "../",
  "mcp:",
];

function formsOf(name: string): string[] {
  return [
    ...marks.flatMap((mark) => [mark + name, name + mark, name.slice(0, 4) + mark + name.slice(4)]),
    ...prefixes.map((prefix) => prefix + name),
    ...letters.filter(([from]) => name.includes(from)).map(([from, to]) => name.replace(from, to)),
    ...Array.from(name, (_, at) => name.slice(0, at) + (name[at] ?? "").toUpperCase() + name.slice(at + 1)),
    ...Array.from(
      name,
      (letter, at) => `${name.slice(0, at)}%${letter.charCodeAt(0).toString(16)}${name.slice(at + 1)}`,
    ),
    ...Array.from(name, (_, at) => name.slice(0, at)),
    name.toUpperCase(),
    name.repeat(2),
    `${name},${name}`,
    encodeURIComponent(`${name} `),
    Buffer.from(name).toString("base64"),
    `=?base64?${Buffer.from(name).toString("base64")}?=`,
    Array.from(name).reverse().join(""),
    `${name.normalize("NFKD")}\u0323`,
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
  ];
}
const strings = [...new Set(names.flatMap(formsOf))].filter((form) => !names.includes(form));
const others: unknown[] = [
  ["task_count"],
  [["task_count"]],
  [],
  {},
  { name: "task_count" },
  { toString: "task_count" },
  0,
  1,
  -1.5,
  true,
  false,
  null,
  undefined,
];

const chunksOf = <T>(size: number, all: readonly T[]): T[][] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, at) => all.slice(at * size, (at + 1) * size));

test("400 forms of three names: none but the exact ones runs anything", async () => {
  expect(strings.length + others.length).toBeGreaterThan(400);
  const want = plain(await call(rpc, "no_such_tool"), "no_such_tool");
  expect(want).toContain("-32602");
  for (const speak of [rpc, legacyRpc]) {
    for (const some of chunksOf(40, strings))
      await Promise.all(
        some.map(async (name) => expect([name, plain(await call(speak, name), name)]).toEqual([name, want])),
      );
    for (const name of others) {
      const { status, error } = await call(speak, name);
      expect([name, status, error?.code, error?.message]).toEqual([
        name,
        200,
        -32_602,
        "`name` must be a string.",
      ]);
    }
  }
  expect(runs).toEqual([]);
  for (const name of names) expect((await call(rpc, name)).result?.content[0]?.text).toBe("ran");
  expect(runs).toEqual(names);
  runs.length = 0;
}, 60_000);

test("a hidden tool is answered like one that does not exist, byte for byte but the name, in both eras", async () => {
  for (const speak of [rpc, legacyRpc]) {
    const hidden = await call(speak, "hidden_tool");
    const unknown = await call(speak, "no_such_tool");
    expect(plain(hidden, "hidden_tool")).toBe(plain(unknown, "no_such_tool"));
    const withArguments = await speak(robo, "tools/call", { name: "hidden_tool", arguments: ["x"] });
    expect(plain(withArguments, "hidden_tool")).toBe(plain(unknown, "no_such_tool"));
    const kept = (answer: Rpc) =>
      [...answer.headers].filter(
        ([name]) => !["x-request-id", "date", "content-length", "ratelimit"].includes(name),
      );
    expect(kept(hidden)).toEqual(kept(unknown));
  }
  expect(runs).toEqual([]);
});

test("no name but those listed runs anything", async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.string({ unit: "binary" }), fc.string(), fc.jsonValue()), async (name) => {
      const answer = await call(legacyRpc, name);
      expect(answer.error?.code ?? 0).toBe(-32_602);
    }),
    { numRuns: 150 },
  );
  expect(runs).toEqual([]);
});
