import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Arguments, compileCondition } from "./conditions.ts";
import { type Condition, policyForm } from "./contract.ts";

/** `allow`: plainly meant. `deny`: plainly not. `neither`: refused by a rule of either kind. */
function readingOf(condition: Condition, args: unknown): "allow" | "deny" | "neither" {
  const compiled = compileCondition(condition);
  const looked = new Arguments(typeof args === "string" ? JSON.parse(args) : args);
  if (looked.meets(compiled)) return "allow";
  return looked.mayMeet(compiled) ? "neither" : "deny";
}

const eq = (path: string, value: string | number | boolean): Condition => ({ path, op: "eq", value });
const prefix = (value: string): Condition => ({ path: "p", op: "prefix", value });

function expectReadings(condition: Condition, rows: [string, "allow" | "deny" | "neither"][]): void {
  expect(rows.map(([args]) => [args, readingOf(condition, args)])).toEqual(rows);
}

describe("an argument is what it plainly is", () => {
  test("texts", () =>
    expectReadings(eq("env", "prod"), [
      ['{"env":"prod"}', "allow"],
      ['{"env":"dev"}', "deny"],
      ['{"env":7}', "deny"],
      ['{"env":"PROD"}', "neither"],
      ['{"env":" prod\\n"}', "neither"],
      ['{"env":"pr\\u200bod"}', "neither"],
      ['{"env":"\\uff50rod"}', "neither"],
      ['{"env":["prod"]}', "neither"],
      ['{"env":{"prod":1}}', "neither"],
      ['{"env":null}', "neither"],
      ['{"env":""}', "neither"],
      ["{}", "neither"],
      ['{"ENV":"dev"}', "neither"],
      ['{"env":"dev","Env":"prod"}', "neither"],
      ['{"env":"dev","e_n_v":"prod"}', "neither"],
      ["[]", "neither"],
      ['"prod"', "neither"],
      ["null", "neither"],
    ]));

  test("numbers and truths", () => {
    expectReadings(eq("n", 5), [
      ['{"n":5}', "allow"],
      ['{"n":5.0}', "allow"],
      ['{"n":6}', "deny"],
      ['{"n":"6"}', "deny"],
      ['{"n":"5"}', "neither"],
      ['{"n":" 5.0"}', "neither"],
      ['{"n":"0x5"}', "neither"],
      ['{"n":"5e0"}', "neither"],
      ['{"n":"5 apples"}', "neither"],
      ['{"n":"05"}', "neither"],
      ['{"n":"\\u0665"}', "neither"],
      ['{"n":"1_5"}', "deny"],
      ['{"n":[5]}', "neither"],
      ['{"n":1e999}', "neither"],
    ]);
    expectReadings(eq("n", 1_000), [
      ['{"n":"1_000"}', "neither"],
      ['{"n":"1,000"}', "neither"],
      ['{"n":"01750"}', "neither"],
      ['{"n":"-0x3e8"}', "deny"],
      ['{"n":"1001"}', "deny"],
    ]);
    expectReadings(eq("force", true), [
      ['{"force":true}', "allow"],
      ['{"force":false}', "deny"],
      ['{"force":"yes"}', "neither"],
      ['{"force":1}', "neither"],
      ["{}", "neither"],
    ]);
    expectReadings({ path: "n", op: "max", value: 10 }, [
      ['{"n":10}', "allow"],
      ['{"n":-1e300}', "allow"],
      ['{"n":11}', "deny"],
      ['{"n":"11"}', "deny"],
      ['{"n":"9"}', "neither"],
      ['{"n":"many"}', "neither"],
      ['{"n":"012"}', "neither"],
      ['{"n":"1_1"}', "neither"],
      ['{"n":-1e999}', "neither"],
      ['{"n":true}', "neither"],
      ['{"n":[1]}', "neither"],
    ]);
    expectReadings({ path: "t", op: "len", value: 2 }, [
      ['{"t":"ab"}', "allow"],
      ['{"t":"abc"}', "deny"],
      ['{"t":[1,2]}', "allow"],
      ['{"t":[1,2,3]}', "deny"],
      // Two characters to some, four to others.
      ['{"t":"\\ud83d\\ude00\\ud83d\\ude00"}', "neither"],
      ['{"t":7}', "neither"],
      ['{"t":{"length":1}}', "neither"],
    ]);
  });

  test("members are an object's own, and stand where the path says", () => {
    expectReadings(eq("target.env", "prod"), [
      ['{"target":{"env":"prod"}}', "allow"],
      ['{"target":{"env":"dev"}}', "deny"],
      ['{"target":"prod"}', "neither"],
      ['{"target":[{"env":"prod"}]}', "neither"],
      ['{"target.env":"prod"}', "neither"],
      ['{"target":{"env":"dev"},"target.env":"prod"}', "neither"],
      ['{"target":{"env":"dev"},"target[env]":"prod"}', "neither"],
      ['{"__proto__":{"target":{"env":"prod"}}}', "neither"],
      ['{"target":{"__proto__":{"env":"prod"}}}', "neither"],
    ]);
    for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
      expectReadings(eq(name, "x"), [
        ["{}", "neither"],
        [`{"${name}":"x"}`, "allow"],
        [`{"${name}":"y"}`, "deny"],
      ]);
    }
  });

  test("each element of a list counts", () =>
    expectReadings(eq("tasks.*.state", "open"), [
      ['{"tasks":[{"state":"open"},{"state":"open"}]}', "allow"],
      ['{"tasks":[{"state":"done"},{"state":"gone"}]}', "deny"],
      ['{"tasks":[{"state":"open"},{"state":"done"}]}', "neither"],
      ['{"tasks":[{"state":"done"},{}]}', "neither"],
      ['{"tasks":[]}', "neither"],
      ['{"tasks":{"0":{"state":"open"}}}', "neither"],
      ['{"tasks":{"state":"open"}}', "neither"],
    ]));

  test("paths that lead elsewhere than they say are no prefix of anything", () => {
    expectReadings(prefix("/srv/docs/"), [
      ['{"p":"/srv/docs/a.md"}', "allow"],
      ['{"p":"/srv/docs/"}', "allow"],
      ['{"p":"/srv/docs/a..b/c..."}', "allow"],
      ['{"p":"/srv/other/a.md"}', "deny"],
      ['{"p":"/srv/docs"}', "neither"],
      ['{"p":"/srv/docs/../secret"}', "neither"],
      ['{"p":"/srv/docs/x/.. /../secret"}', "neither"],
      ['{"p":"/srv/docs/./a"}', "neither"],
      ['{"p":"/srv/docs//etc/passwd"}', "neither"],
      ['{"p":"/srv/docs/%2e%2e/x"}', "neither"],
      ['{"p":"/srv/docs/%252e%252e/x"}', "neither"],
      ['{"p":"/srv/docs/..%2fx"}', "neither"],
      ['{"p":"/srv/docs/\\uff0e\\uff0e/x"}', "neither"],
      ['{"p":"/srv/docs/\\u2025/x"}', "neither"],
      ['{"p":"/srv/docs/..\\\\x"}', "neither"],
      ['{"p":"/srv/docs/a\\u0000b"}', "neither"],
      ['{"p":"//srv/docs/a"}', "neither"],
      ['{"p":"/srv/./docs/a"}', "neither"],
      ['{"p":"srv/docs/a"}', "neither"],
      ['{"p":"/SRV/docs/a"}', "neither"],
      ['{"p":"file:///srv/docs/a"}', "neither"],
      ['{"p":"~/a"}', "neither"],
      ['{"p":["/srv/docs/a"]}', "neither"],
      ['{"p":7}', "deny"],
    ]);
    expectReadings(prefix("https://api.example.com/"), [
      ['{"p":"https://api.example.com/v1/x?y=1"}', "allow"],
      ['{"p":"https://api.example.com.evil.com/"}', "deny"],
      ['{"p":"https://api.example.com@evil.com/"}', "deny"],
      ['{"p":"HTTPS://API.EXAMPLE.COM/v1"}', "neither"],
      ['{"p":"https://api.example.com/../x"}', "neither"],
    ]);
    expectReadings(prefix("feat: "), [
      ['{"p":"feat: see https://example.com/a"}', "allow"],
      ['{"p":"fix: it"}', "deny"],
    ]);
  });

  test("addresses are what they are to whoever opens them", () => {
    const api = "https://api.example.com/public/";
    const leave = [
      "..?x",
      "..#x",
      "..;/admin",
      "..;x",
      "..%3bx/",
      ".%2e/x",
      "%c0%ae%c0%ae/",
      "%u002e%u002e/",
    ];
    expectReadings(prefix(api), [
      ...leave.map((end): [string, "neither"] => [JSON.stringify({ p: api + end }), "neither"]),
      [JSON.stringify({ p: `${api}x?q=a..b;c#d` }), "allow"],
      [JSON.stringify({ p: `${api}a b/ä` }), "allow"],
      [JSON.stringify({ p: `${api}.\t./x` }), "neither"],
    ]);
    const same = [
      "https://internal.example.com/%61dmin/x",
      "https://internal.example.com:443/admin/x",
      "https://u:p@internal.example.com/admin/x",
      "https://internal.example.com./admin/x",
      "https://internal.example.com.:443/admin/x",
      "https:internal.example.com/admin/x",
      "https:/internal.example.com/admin/x",
      "https://int%65rnal.example.com/admin/x",
      "https://internal\u3002example.com/admin/x",
      "https://internal.example.com/admin?x",
      "https://internal.example.com/admin;a=1/x",
      "\thttps://internal.example.com/ad\nmin/x",
      "view-source:https://internal.example.com/admin/x",
    ];
    const others = [
      "https://internal.example.com/other/%61dmin",
      "https://internal.example.com:8443/admin/x",
      "https://external.example.com/admin/x",
      "https://internal.example.com/ädmin/x",
      "mailto:admin@internal.example.com",
    ];
    expectReadings(prefix("https://internal.example.com/admin/"), [
      ...same.map((p): [string, "neither"] => [JSON.stringify({ p }), "neither"]),
      ...others.map((p): [string, "deny"] => [JSON.stringify({ p }), "deny"]),
    ]);
    expectReadings(
      prefix("http://169.254.169.254/"),
      [
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[0:0::ffff:a9fe:a9fe]:80",
      ].map((host): [string, "neither"] => [JSON.stringify({ p: `http://${host}/latest` }), "neither"]),
    );
    const files = [
      "file://localhost/etc/x",
      "file:///%65tc/x",
      "file:/etc/x",
      "/%65tc/x",
      '"/etc/x"',
      "/e?c/x",
    ];
    expectReadings(prefix("/etc/"), [
      ...files.map((p): [string, "neither"] => [JSON.stringify({ p }), "neither"]),
      ['{"p":"/srv/?x"}', "deny"],
    ]);
  });

  test("a prefix that ends within a letter is one to both kinds of rules", () => {
    for (const [value, text] of [
      ["cafe", "cafe\u0301 au lait"],
      ["fi", "file:/x"],
    ] as const) {
      const compiled = compileCondition(prefix(value));
      const looked = new Arguments({ p: text });
      expect([value, looked.meets(compiled), looked.mayMeet(compiled)]).toEqual([value, true, true]);
    }
  });

  test("nothing is both meant and not meant, whatever it is", () => {
    const conditions = fc.oneof(
      fc.record({
        path: fc.constantFrom("a", "a.b", "a.*", "a.*.b", "__proto__"),
        op: fc.constant("eq" as const),
        value: fc.oneof(fc.constantFrom("x", "1", "", "TRUE"), fc.integer({ min: -2, max: 2 }), fc.boolean()),
      }),
      fc.record({
        path: fc.constantFrom("a", "a.*"),
        op: fc.constant("prefix" as const),
        value: fc.constantFrom("x", "/x/", "/", "e", "fi"),
      }),
      fc.record({
        path: fc.constantFrom("a", "a.b"),
        op: fc.constantFrom("max" as const, "len" as const),
        value: fc.nat(3),
      }),
    );
    const leaf = fc.oneof(
      fc.constantFrom("x", "X", "1", "/x/y", "/x/../y", "", "true", "...", "e\u0301", "file:/x"),
      fc.integer({ min: -2, max: 2 }),
      fc.boolean(),
      fc.constant(null),
    );
    const { args } = fc.letrec((tie) => ({
      args: fc.dictionary(fc.constantFrom("a", "A", "b", "a.b", "__proto__"), tie("value"), { maxKeys: 4 }),
      value: fc.oneof({ maxDepth: 3 }, leaf, fc.array(tie("value"), { maxLength: 3 }), tie("args")),
    }));
    fc.assert(
      fc.property(conditions, args, (condition, value) => {
        const compiled = compileCondition(condition as Condition);
        const looked = new Arguments(JSON.parse(JSON.stringify(value)));
        // Whatever a rule that allows takes, the same rule would deny.
        if (looked.meets(compiled)) expect(looked.mayMeet(compiled)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });
});

test("what is too much to look through is not clear", () => {
  const many = Array.from({ length: 1_001 }, () => "x");
  const wide = Object.fromEntries(Array.from({ length: 1_001 }, (_, at) => [`k${at}`, "x"]));
  expect(readingOf(eq("a.*", "x"), { a: many })).toBe("neither");
  expect(readingOf(eq("a.*", "x"), { a: many.slice(1) })).toBe("allow");
  expect(readingOf(eq("a.*.b.*", "x"), { a: [{ b: many.slice(1) }, { b: ["x"] }] })).toBe("neither");
  expect(readingOf(eq("k1", "x"), wide)).toBe("neither");
});

test("more accents than any script has are not clear, and a megabyte of them, wherever it stands, takes no time", () => {
  for (const unit of ["\u0301\u0316", "\uff9e\u0301"]) {
    const marks = `a${unit.repeat(400_000)}`;
    const conditions: Condition[] = [
      { path: "p", op: "eq", value: "x" },
      { path: "p", op: "in", value: ["x", 1] },
      { path: "p", op: "prefix", value: "/srv/" },
      { path: "p", op: "prefix", value: "https://x.example/" },
      { path: "p", op: "max", value: 5 },
    ];
    const from = performance.now();
    for (const condition of conditions) {
      expect(readingOf(condition, { p: marks })).toBe("neither");
      expect(readingOf(condition, { p: "y", [marks]: 1 })).toBe("neither");
    }
    expect(performance.now() - from).toBeLessThan(3_000);
  }
  expect(readingOf(prefix("/srv/"), { p: `/srv/a${"\u0301".repeat(30)}` })).toBe("allow");
});

test("a megabyte of arguments and thousands of conditions are decided in no time", () => {
  const condition = (at: number): Condition[] => [
    { path: "text", op: "in", value: Array.from({ length: 100 }, (_, of) => `${at} ${of}`) },
    { path: "text", op: "prefix", value: `/srv/${at}/` },
    { path: "text", op: "len", value: at },
    { path: "text", op: "max", value: at },
    { path: "list.*", op: "in", value: [`${at}`, at, "y"] },
  ];
  const compiled = Array.from({ length: 800 }, (_, at) => condition(at).map(compileCondition)).flat();
  for (const unit of ["a", "/. ", "\ud83d\ude00", " ", "\ufb03", "1_", "http:%61/?;", "\u0665"]) {
    const looked = new Arguments({
      text: unit.repeat(1_000_000 / Buffer.byteLength(unit)),
      list: Array.from({ length: 1_000 }, (_, at) => `${unit}${at}`),
    });
    const from = performance.now();
    for (const one of compiled) if (!looked.meets(one)) looked.mayMeet(one);
    expect(performance.now() - from).toBeLessThan(2_000);
  }
});

test("a condition's shape is checked, and the mistake named", () => {
  const mistakeIn = (arg: unknown): string => {
    const rule = { effect: "allow", tool: "x", args: [arg] };
    const parsed = policyForm.safeParse({ rules: [rule] });
    return parsed.success ? "none" : `${parsed.error.issues[0]?.path.join(".")}`;
  };
  const rows: [unknown, string][] = [
    [{ path: "a.b", op: "eq", value: "x" }, "none"],
    [{ path: "a.*.b", op: "in", value: ["x", 1, true] }, "none"],
    [{ path: "a", op: "prefix", value: "/srv/docs/" }, "none"],
    [{ path: "a", op: "prefix", value: "https://x.example/" }, "none"],
    [{ path: "*", op: "eq", value: "x" }, "rules.0.args.0.path"],
    [{ path: "a..b", op: "eq", value: "x" }, "rules.0.args.0.path"],
    [{ path: "", op: "eq", value: "x" }, "rules.0.args.0.path"],
    [{ path: "a.b.c.d.e.f.g.h.i", op: "eq", value: "x" }, "rules.0.args.0.path"],
    [{ path: "a", op: "regex", value: "x" }, "rules.0.args.0.op"],
    [{ path: "a", op: "eq", value: null }, "rules.0.args.0.value"],
    [{ path: "a", op: "eq", value: "a\0b" }, "rules.0.args.0.value"],
    [{ path: "a", op: "eq", value: 1e300 }, "rules.0.args.0.value"],
    [{ path: "a", op: "in", value: [] }, "rules.0.args.0.value"],
    [{ path: "a", op: "in", value: "x" }, "rules.0.args.0.value"],
    [{ path: "a", op: "prefix", value: "" }, "rules.0.args.0.value"],
    [{ path: "a", op: "prefix", value: "/srv/../docs" }, "rules.0.args.0.value"],
    [{ path: "a", op: "prefix", value: "/srv//docs" }, "rules.0.args.0.value"],
    [{ path: "a", op: "prefix", value: "https://x.example" }, "rules.0.args.0.value"],
    [{ path: "a", op: "max", value: "5" }, "rules.0.args.0.value"],
    [{ path: "a", op: "len", value: -1 }, "rules.0.args.0.value"],
    [{ path: "a", op: "eq", value: "x", extra: 1 }, "rules.0.args.0"],
  ];
  expect(rows.map(([arg]) => [arg, mistakeIn(arg)])).toEqual(rows);
});
