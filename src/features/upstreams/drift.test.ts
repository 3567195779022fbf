import { expect, test } from "bun:test";
import fc from "fast-check";
import { canonicalJson, pinOf } from "./canonical.ts";
import { differencesOf } from "./difference.ts";
import { driftOf, isShown, type Known } from "./drift.ts";
import { nameCharactersMax, offeredName, type Seen, sortOut } from "./names.ts";

const tool = (name: string, more: Record<string, unknown> = {}) => ({
  name,
  inputSchema: { type: "object" },
  ...more,
});
const asItIs = <Value>(value: Value): Value => value;
const sorted = (definitions: unknown[], alias = "a") => sortOut(alias, definitions, asItIs);

/** Members in another order, at every depth. */
const reversed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, member]) => [key, reversed(member)]),
  );
};

test("a definition has one text, in whatever order its members come", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      const text = canonicalJson(value);
      expect(canonicalJson(reversed(value))).toBe(text);
      expect(canonicalJson(JSON.parse(text))).toBe(text);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
  expect(canonicalJson({ b: [1e21, -0, 0.1], a: { "\u20ac": null, "\r": "\u2028" } })).toBe(
    '{"a":{"\\r":"\u2028","€":null},"b":[1e+21,0,0.1]}',
  );
});

test("two definitions have one pin exactly when nothing differs, and the difference leads from one to the other", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.jsonValue({ maxDepth: 4 }), (one, other) => {
      const [was, is] = [JSON.parse(JSON.stringify(one)), JSON.parse(JSON.stringify(other))];
      const isSame = pinOf(canonicalJson(was)) === pinOf(canonicalJson(is));
      expect(differencesOf(was, is).length === 0).toBe(isSame);
      expect(differencesOf(was, was)).toEqual([]);
    }),
  );
  const was = tool("x", { description: "Reads.", "a/b": { "~": [1, 2] } });
  const is = tool("x", { description: "Reads!", "a/b": { "~": [1] }, constructor: 1 });
  expect(differencesOf(was, is)).toEqual([
    { path: "/a~1b/~0/1", was: 2 },
    { path: "/constructor", is: 1 },
    { path: "/description", was: "Reads.", is: "Reads!" },
  ]);
});

test("names are exact: no two upstreams' tools can have the same, and what is no name is refused with why", () => {
  const letters = fc.constantFrom("a", "b", "0", "-", "_");
  const alias = fc
    .string({ unit: letters, minLength: 1, maxLength: 8 })
    .filter((text) => /^[a-z0-9](?:[a-z0-9-]|_(?!_)){0,22}[a-z0-9]$|^[a-z0-9]$/.test(text));
  const name = fc.oneof(
    fc.string({ unit: letters, minLength: 1, maxLength: 8 }),
    fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/),
  );
  fc.assert(
    fc.property(alias, name, alias, name, (one, first, other, second) => {
      const isSame = one === other && first === second;
      expect(offeredName(one, first) === offeredName(other, second)).toBe(isSame);
    }),
    { numRuns: 2_000 },
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(name, fc.string({ maxLength: 60, unit: "binary" }))), (names) => {
      const { tools, refused } = sorted(names.map((name) => tool(name)));
      expect(tools.size + refused.length).toBe(names.length);
      for (const one of tools.keys()) {
        expect(offeredName("a", one)).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(offeredName("a", one).length).toBeLessThanOrEqual(nameCharactersMax);
        expect(names.filter((other) => other === one)).toHaveLength(1);
      }
    }),
  );
});

test("a definition that would spoil a list, or that cannot be kept, is refused alone", () => {
  let deep: unknown = {};
  for (let depth = 0; depth < 70; depth++) deep = { deep };
  const rows: [unknown, string][] = [
    [null, "it has no name"],
    [{ name: 7 }, "it has no name"],
    [tool("a.b"), "its name holds other characters than A-Z, a-z, 0-9, _ and -"],
    [tool("repo__delete"), "its name holds __, which stands between an alias and a name"],
    [tool("x".repeat(46)), "its name with the alias has 49 characters; 48 are the most"],
    [tool("one"), "its name stands in the list more than once"],
    [tool("one", { title: "other" }), "its name stands in the list more than once"],
    [{ name: "bare" }, "its definition is not one of a tool, at inputSchema"],
    [
      tool("schema", { inputSchema: { type: "array" } }),
      "its definition is not one of a tool, at inputSchema.type",
    ],
    [
      tool("hint", { annotations: { readOnlyHint: "yes" } }),
      "its definition is not one of a tool, at annotations.readOnlyHint",
    ],
    [
      tool("out", { outputSchema: { type: "bogus" } }),
      "its outputSchema is none that clients compile, at /type",
    ],
    [tool("deep", { deep }), "its definition is nested deeper than 64 levels"],
    [tool("big", { description: "x".repeat(65_536) }), "its definition has more than 65536 bytes"],
    [
      tool("nul", { description: "a\0b" }),
      "its definition holds NUL or half a character, which cannot be kept",
    ],
    [tool("half", { "\ud800": 1 }), "its definition holds NUL or half a character, which cannot be kept"],
  ];
  const { tools, refused } = sorted([
    ...rows.map(([definition]) => definition),
    tool("fine"),
    tool("back\\u0000slash"),
  ]);
  expect(refused.slice(0, rows.length).map(({ reason }) => reason)).toEqual(rows.map(([, reason]) => reason));
  expect([...tools.keys()]).toEqual(["fine"]);
  expect(sorted([tool("slash", { description: "\\u0000 \\\\ud800" })]).refused).toEqual([]);
  const large = sorted(
    Array.from({ length: 40 }, (_, number) => tool(`t${number}`, { title: "x".repeat(60_000) })),
  );
  expect([large.tools.size, large.refused.length, large.refused[0]?.reason]).toEqual([
    34,
    6,
    "at most 2097152 bytes of definitions of one upstream are offered",
  ]);
  const many = sorted(Array.from({ length: 513 }, (_, number) => tool(`t${number}`)));
  expect([many.tools.size, many.refused]).toEqual([
    512,
    [{ tool: "t512", reason: "at most 512 tools of one upstream are offered" }],
  ]);
});

type World = { rows: Known[] };
type Mode = "first_use" | "approve";
const hourMs = 3_600_000;

/** What the store makes of the steps. */
function applied(rows: Known[], seen: ReadonlyMap<string, Seen>, mode: Mode, now = 0): Known[] {
  const next = new Map(rows.map((row) => [row.tool, row]));
  for (const { tool, status, seen: shown, isForgotten } of driftOf(rows, seen, { mode, now })) {
    const known = next.get(tool);
    const version = (known?.version ?? 0) + 1;
    if (shown === null) {
      if (isForgotten) next.delete(tool);
      else if (known !== undefined) next.set(tool, { ...known, version, goneAt: new Date(now) });
    } else {
      const pin = known?.pin ?? (status === "visible" ? shown.pin : null);
      const changedAt = known?.seenPin === shown.pin ? known.changedAt : new Date(now);
      next.set(tool, { tool, status, pin, seenPin: shown.pin, changedAt, goneAt: null, version });
    }
  }
  return [...next.values()];
}

const lists = fc.array(
  fc.uniqueArray(
    fc.record({ tool: fc.constantFrom("a", "b", "c", "d"), text: fc.constantFrom("1", "2", "3") }),
    {
      selector: ({ tool }) => tool,
    },
  ),
  { minLength: 1, maxLength: 12 },
);

test("whatever a server shows when, a tool is visible only as it was pinned, and nothing new comes in after the first list", () => {
  fc.assert(
    fc.property(lists, fc.constantFrom("first_use" as const, "approve" as const), (listings, mode) => {
      const world: World = { rows: [] };
      let first: ReadonlyMap<string, Seen> | null = null;
      for (const [hour, listing] of listings.entries()) {
        const { tools: seen } = sorted(
          listing.map(({ tool: name, text }) => tool(name, { description: text })),
        );
        if (first === null && seen.size > 0) first = seen;
        // Seen, and seen again when it has held still.
        const [now, later] = [2 * hour * hourMs, (2 * hour + 1) * hourMs];
        world.rows = applied(applied(world.rows, seen, mode, now), seen, mode, later);
        // Nothing is left to do, and nothing is written twice.
        expect(driftOf(world.rows, seen, { mode, now: later })).toEqual([]);
        for (const { tool: name, status, goneAt, pin } of world.rows) {
          if (status !== "visible" || goneAt !== null) continue;
          expect(mode).toBe("first_use");
          expect([seen.get(name)?.pin, first?.get(name)?.pin]).toEqual([pin as string, pin as string]);
        }
        if (mode === "approve") continue;
        for (const [name, { pin }] of seen) {
          const row = world.rows.find((one) => one.tool === name);
          expect(row?.status === "visible").toBe(first?.get(name)?.pin === pin);
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("a tool that goes to and fro is shown and hidden a few times, and then only once it has held still for an hour", () => {
  const flips = fc.array(
    fc.constantFrom<{ text: string }[]>([{ text: "1" }], [{ text: "1" }], [{ text: "2" }], []),
    {
      maxLength: 60,
    },
  );
  fc.assert(
    fc.property(flips, (listings) => {
      let rows: Known[] = [];
      let shown = 0;
      for (const [minute, listing] of [[{ text: "1" }], ...listings].entries()) {
        const { tools: seen } = sorted(listing.map(({ text }) => tool("a", { description: text })));
        const now = (minute * hourMs) / 100;
        shown += driftOf(rows, seen, { mode: "first_use", now }).filter(({ action }) =>
          isShown(action),
        ).length;
        rows = applied(rows, seen, "first_use", now);
      }
      expect(shown).toBeLessThanOrEqual(6);
      const { tools: seen } = sorted([tool("a", { description: "1" })]);
      rows = applied(applied(rows, seen, "first_use", hourMs), seen, "first_use", 2 * hourMs);
      expect(rows[0]?.status).toBe("visible");
    }),
  );
});

test("whatever waited, and however it went away, the next list is not the first", () => {
  const { tools: seen } = sorted([tool("a"), tool("b"), tool("c")]);
  let rows = applied([], seen, "approve");
  rows = applied(rows, new Map(), "approve");
  // The names that a server invents do not pile up.
  expect(rows).toHaveLength(1);
  rows = applied(rows, sorted([tool("d")]).tools, "approve");
  rows = applied(rows, new Map(), "approve");
  expect(rows).toHaveLength(1);
  rows = applied(rows, seen, "first_use");
  expect(rows.filter(({ status }) => status !== "pending")).toEqual([]);
});

test("what was rejected stays so, whatever it looks like, and leaves and comes back without a word", () => {
  const { tools } = sorted([tool("a", { description: "new" })]);
  const pin = tools.get("a")?.pin as string;
  const times = { changedAt: new Date(0), goneAt: null, version: 1 };
  const row = { tool: "a", status: "rejected", pin, seenPin: "0", ...times } as const;
  const terms = { mode: "first_use", now: 0 } as const;
  expect(driftOf([row], tools, terms)).toMatchObject([{ action: null, status: "rejected" }]);
  expect(driftOf([row], new Map(), terms)).toMatchObject([{ action: "gone", status: "rejected" }]);
});

test("definitions that any client's own list would stumble over are refused, and what is only unknown passes", () => {
  const rows: Record<string, unknown>[] = [
    { inputSchema: { type: "object", properties: { a: true } } },
    { inputSchema: { type: "object", required: "a" } },
    { outputSchema: { type: "object", properties: { a: false } } },
    { icons: [{ src: "https://x.example/i.png", sizes: "any" }] },
    { execution: { taskSupport: "perhaps" } },
    { _meta: [] },
  ];
  const { tools, refused } = sorted(rows.map((more, number) => tool(`t${number}`, more)));
  expect([tools.size, refused.length]).toEqual([0, rows.length]);
  expect(sorted([tool("new", { "x-later": [{}], annotations: { "x-hint": 1 } })]).refused).toEqual([]);
});
