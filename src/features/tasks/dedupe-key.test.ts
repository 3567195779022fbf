import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { dedupeKeyOf, normalised } from "./dedupe-key.ts";

const thaiLetter = fc.integer({ min: 0x0e01, max: 0x0e3a }).map((code) => String.fromCodePoint(code));
const thai = fc.string({ unit: thaiLetter, minLength: 1, maxLength: 12 });
const anyText = fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 });
/** Characters that mean something where parts are joined. */
const joint = fc.string({ unit: fc.constantFrom('"', "\\", ",", "[", "]", ":", " ", "a"), maxLength: 6 });
const part = fc.option(fc.oneof(joint, anyText), { nil: null });

describe("the key of a task", () => {
  test("is the caller's, exactly", () => {
    fc.assert(
      fc.property(anyText, anyText, (dedupeKey, title) => dedupeKeyOf({ dedupeKey, title }) === dedupeKey),
    );
  });

  test("is made of its reference within its spec, whatever its title says by now", () => {
    const task = { taskRef: "T-1", originatingSpec: "SSP-1", title: "one", acceptanceCriteria: "x" };
    expect(dedupeKeyOf(task)).toBe('ref:["SSP-1","t-1"]');
    expect(dedupeKeyOf({ ...task, title: "another", acceptanceCriteria: null })).toBe(
      dedupeKeyOf(task) as string,
    );
    expect(dedupeKeyOf({ taskRef: " Ｔ－１ " })).toBe('ref:[null,"t-1"]');
    expect(dedupeKeyOf({ taskRef: "T-1", originatingSpec: "SSP-2" })).not.toBe(dedupeKeyOf(task));
  });

  test("is made of all that it says when it has no reference", () => {
    const task = { title: "Sign in", originatingSpec: "SSP-1", acceptanceCriteria: "once" };
    const keys = [
      task,
      { ...task, title: "Sign on" },
      { ...task, originatingSpec: "SSP-2" },
      { ...task, originatingSpec: null },
      { ...task, acceptanceCriteria: "twice" },
      { ...task, acceptanceCriteria: null },
      { ...task, acceptanceCriteria: "" },
    ].map(dedupeKeyOf);
    expect(new Set(keys).size).toBe(keys.length);
    for (const key of keys) expect(key).toMatch(/^sha256:[0-9a-f]{64}$/);
  });

  test("is not to be had from what neither is named nor says anything", () => {
    expect(dedupeKeyOf({ originatingSpec: "SSP-1", acceptanceCriteria: "once" })).toBeNull();
    expect(dedupeKeyOf({ taskRef: null })).toBeNull();
  });

  test("has 200 characters at most, however long a reference is, and stays its own", () => {
    const long = "\ufdfa".repeat(200);
    const keys = [long, `${long.slice(1)}x`, "x".repeat(200)].map((taskRef) => dedupeKeyOf({ taskRef }));
    for (const key of keys) expect(key).toMatch(/^ref:sha256:[0-9a-f]{64}$/);
    expect(new Set(keys).size).toBe(3);
    expect(dedupeKeyOf({ taskRef: keys[0] as string })).not.toBe(keys[0] as string);
  });
});

describe("two tasks share a key", () => {
  const keyOf = (title: string) => dedupeKeyOf({ title });

  test.each([
    ["a b", "a  b"],
    ["a b", " A\t\nB "],
    ["Straße", "STRASSE"],
    ["ΟΔΟΣ", "οδος"],
    ["ﬁle №", "file No"],
    ["\u0e40\u0e02\u0e49\u0e32 \u0e2d\u0e2d\u0e01", "\u0e40\u0e02\u0e49\u0e32\u00a0\u0e2d\u0e2d\u0e01"],
    ["e\u0301t\u00e9", "\u00c9TE\u0301"],
  ])("when they only spell %j and %j", (one, other) => {
    expect(keyOf(one)).toBe(keyOf(other) as string);
  });

  test.each([
    ["C", "C++"],
    ["C", "C#"],
    ["C++", "C#"],
    ["ab", "a b"],
    ["ทดสอบ", "ทดสอบ่"],
    ["ป่า", "ป้า"],
    ["ขาว", "ข่าว"],
    ["税务", "稅務"],
    ["🙂", "🙃"],
    ["a.b", "a-b"],
    ["résumé", "resume"],
  ])("and %j and %j are two", (one, other) => {
    expect(keyOf(one)).not.toBe(keyOf(other) as string);
  });

  test("only if their titles are one, in Thai", () => {
    fc.assert(
      fc.property(thai, thai, (one, other) => {
        fc.pre(one !== other && one.normalize("NFKC") !== other.normalize("NFKC"));
        expect(keyOf(one)).not.toBe(keyOf(other) as string);
      }),
      { numRuns: 1_000 },
    );
  });

  test("only if each part is one, wherever the parts touch", () => {
    type Parts = [string, string | null, string | null];
    const tidy = (parts: Parts) => parts.map((text) => (text === null ? null : normalised(text)));
    const three = fc.tuple(fc.oneof(joint, anyText), part, part);
    fc.assert(
      fc.property(three, three, (one, other) => {
        const [keyOfOne, keyOfOther] = [one, other].map(([title, originatingSpec, acceptanceCriteria]) =>
          dedupeKeyOf({ title, originatingSpec, acceptanceCriteria }),
        );
        expect(keyOfOne === keyOfOther).toBe(Bun.deepEquals(tidy(one), tidy(other)));
      }),
      { numRuns: 2_000 },
    );
  });

  test("only if spec and reference are one, wherever they touch", () => {
    const two = fc.tuple(part, joint);
    fc.assert(
      fc.property(two, two, (one, other) => {
        const keys = [one, other].map(([originatingSpec, taskRef]) =>
          dedupeKeyOf({ originatingSpec, taskRef }),
        );
        const isOne = one[0] === other[0] && normalised(one[1]) === normalised(other[1]);
        expect(keys[0] === keys[1]).toBe(isOne);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("normalising", () => {
  test("twice is normalising once", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        expect(normalised(normalised(text))).toBe(normalised(text));
      }),
      { numRuns: 2_000 },
    );
  });

  test("folds each character by itself, also where a word ends", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom("Σ", "σ", "ς", "A", " ", "ß", "İ"), maxLength: 8 }),
        (text) => {
          const each = [...text].map((character) => normalised(`x${character}x`).slice(1, -1));
          expect(normalised(`x${text}x`)).toBe(normalised(`x${each.join("")}x`));
        },
      ),
    );
  });

  test("drops nothing but white space", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.oneof(thaiLetter, fc.constantFrom(..."#+-_.!?/*あ字é")), maxLength: 20 }),
        (text) => {
          expect(normalised(text)).toBe(text.normalize("NFKC").toLowerCase().normalize("NFKC"));
        },
      ),
    );
  });
});
