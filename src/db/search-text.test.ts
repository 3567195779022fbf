import { describe, expect, test } from "bun:test";
import { type SQL, sql } from "drizzle-orm";
import fc from "fast-check";
import { testDatabase } from "../testing/cluster.ts";
import { folded, gramQuery, searchQuery, searchText, searchVector } from "./search-text.ts";

const { database } = await testDatabase();

const vectorOf = ({ words, grams }: ReturnType<typeof searchText>): SQL =>
  searchVector(sql`${words}::text`, sql`${sql.param(grams)}::text[]`);

async function isFound(text: string, query: SQL | null): Promise<boolean> {
  if (query === null) return false;
  const [row] = await database.db.execute<{ found: boolean }>(
    sql`select ${vectorOf(searchText([text], []))} @@ ${query} as found`,
  );
  return row?.found === true;
}

const wordsOf = (text: string): string[] =>
  [...searchText([], [text]).words.matchAll(/'([^']*)'/g)].map(([, word = ""]) => word);

describe("words", () => {
  test.each([
    ["SSP-WEB-003-TASK-007", ["ssp", "web", "003", "task", "007"]],
    ["src/db/main.ts", ["src", "db", "main", "ts"]],
    ["foo_bar", ["foo", "bar"]],
    ["getUserName", ["getusername", "get", "user", "name"]],
    ["HTTPServer", ["httpserver", "http", "server"]],
    ["C, C++ and C#", ["c", "c++", "and", "c#"]],
    ["page#anchor", ["page", "anchor"]],
    ["１２３ ＡＢＣ", ["123", "abc"]],
    ["เข้าสู่ระบบด้วยอีเมล", ["เข้า", "สู่", "ระบบ", "ด้วย", "อีเมล"]],
    ["ปุ่มLoginสำหรับ", ["ปุ่ม", "login", "สำหรับ"]],
    ["用户登录", ["用户", "登录"]],
    ["ログイン画面", ["ログイン", "画面"]],
    ["go🚀 ❤️ 🇹🇭", ["go", "🚀", "❤", "🇹🇭"]],
    ["İstanbul ΣΑΣ", ["istanbul", "σασ"]],
    ["-- !? <->", []],
  ])("of %s", (text, words) => expect(wordsOf(text)).toEqual(words));

  test("with a tone mark and the vowel that NFKC takes apart are Thai words still", () => {
    expect(wordsOf("ทำงาน")).toEqual(wordsOf("ทำงาน".normalize("NFKC")));
    expect(wordsOf("ทำงาน").join("")).toBe("ทำงาน");
  });
});

describe("a text is found", () => {
  test.each([
    ["all of it", "Fix getUserName in src/main.ts", "fix getusername in src/main.ts", true],
    ["a hump", "getUserName", "user", true],
    ["humps in a row", "getUserName", "userName", true],
    ["an identifier in small letters", "getUserName", "GETUSERNAME", true],
    ["a hump within a path", "src/getUserName/store.ts", "src/getUserName/store", true],
    ["a piece of a path", "packages/web/src/main.ts", "web/src", true],
    ["the parts in another order", "foo_bar", "bar_foo", false],
    ["parts that stand apart", "foo and bar", "foo_bar", false],
    ["the end of one and the beginning of the next", "a/foo bar/c", "foo/bar", false],
    ["another reference of the same parts", "SSP-WEB-003-TASK-007", "SSP-WEB-007-TASK-003", false],
    ["the beginning of a reference", "SSP-WEB-003-TASK-007", "ssp-web-00", true],
    ["its last word's beginning", "authentication flow", "authent", true],
    ["another word's beginning", "authentication flow", "authent flow", false],
    ["one letter of many", "compiler", "c", false],
    ["C by C", "written in C", "C", true],
    ["C++ by C", "written in C++", "C", false],
    ["C by C++", "written in C", "C++", false],
    ["C++17 by C++", "written in C++17", "c++", true],
    ["a Thai word within", "เข้าสู่ระบบด้วยอีเมล", "ระบบ", true],
    ["Thai words in a row", "เข้าสู่ระบบด้วยอีเมล", "ระบบด้วยอีเมล", true],
    ["digits of another width", "step 42", "４２", true],
  ])("by %s", async (_, text, q, found) => {
    expect(await isFound(text, searchQuery(q))).toBe(found);
  });

  test("by any piece of it that begins and ends between its words", async () => {
    const part = fc.constantFrom("foo", "Bar", "getName", "HTTPCode", "7", "ระบบ", "登录", "C++", "🚀", "É");
    const sign = fc.constantFrom(" ", "_", "/", "-", ".", " + ", ", ");
    const parts = fc.array(fc.tuple(part, sign), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(parts, fc.nat(), fc.nat(), async (pieces, a, b) => {
        const [from, to] = [a % pieces.length, b % pieces.length].sort((x, y) => x - y) as [number, number];
        const text = pieces.flat().join("");
        const q = pieces
          .slice(from, to + 1)
          .flat()
          .slice(0, -1)
          .join("");
        expect([text, q, await isFound(text, searchQuery(q))]).toEqual([text, q, true]);
      }),
      { numRuns: 150 },
    );
  });

  test("by its title's trigrams wherever a piece of it is long enough", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", maxLength: 40 }), fc.nat(), async (text, at) => {
        const all = [...folded(text)];
        const start = all.length === 0 ? 0 : at % all.length;
        const q = all.slice(start, start + 6).join("");
        const query = gramQuery(q);
        // Folding what is folded may compose it once more, across the cut.
        fc.pre(query !== null && folded(q) === q);
        expect([text, q, await isFound(text, query)]).toEqual([text, q, true]);
      }),
      { numRuns: 150 },
    );
  });
});

describe("whatever is sent", () => {
  const hostile = [
    "'",
    "''",
    "\\",
    "\\'",
    "a\\",
    "'; drop table tasks; --",
    "a & | ! b",
    "<->",
    "a:*b",
    ":*",
    "(",
    ")",
    "!!!",
    "a\0b",
    "\0",
    "\ud83d",
    "~abc",
    "$1",
    "%",
    "a:1A",
    "\u2028",
    "\u00a0",
    "\u3164",
    "x".repeat(10_240),
    "'\\ ".repeat(3_000),
    "a ".repeat(5_000),
    "aB".repeat(5_000),
    "ก".repeat(5_000),
    "(".repeat(10_240),
  ];
  const isHandled = async (text: string) => {
    for (const query of [searchQuery(text), gramQuery(text)])
      expect([text.slice(0, 20), typeof (await isFound(text, query))]).toEqual([
        text.slice(0, 20),
        "boolean",
      ]);
  };

  test.each(hostile)("is text and no syntax: %p", isHandled);

  test("of any characters at all, is text and no syntax", async () => {
    await fc.assert(fc.asyncProperty(fc.string({ unit: "binary", maxLength: 80 }), isHandled), {
      numRuns: 200,
    });
  });

  test("finds nothing when there is no word in it, and no trigram when it is short", () => {
    expect(searchQuery("?! -- ")).toBeNull();
    expect(gramQuery("ab cd")).toBeNull();
    expect(gramQuery("->")).toBeNull();
    expect(gramQuery("->>")).not.toBeNull();
  });

  const distinct = (length: number): string => {
    let text = "";
    for (let at = 0; text.length < length; at++) text += `w${at.toString(36)} `;
    return text.slice(0, length);
  };
  test.each([
    ["as many words as fit into a task", distinct(20_000)],
    ["as many words as are looked at in a report", distinct(50_000)],
    ["a megabyte of words", distinct(1_048_576)],
    ["one word of a megabyte", "x".repeat(1_048_576)],
    ["signs that NFKC makes eighteen of", "\ufdfa".repeat(50_000)],
    ["emoji without a space", "🚀".repeat(100_000)],
    ["humps without end", "Ab".repeat(100_000)],
    ["Thai without a space", "เข้าสู่ระบบด้วยอีเมล".repeat(5_000)],
    ["long words of four-byte letters", "𐐀𐐁𐐂𐐃 ".repeat(20_000)],
  ])("fits into a tsvector, and is found by its beginning: %s", async (_, text) => {
    const made = searchText(["title"], [text]);
    const query = searchQuery([...folded(text)].slice(0, 12).join("").split(" ")[0] ?? "");
    const [row] = await database.db.execute<{ found: boolean; size: number }>(sql`
      select vector @@ ${query} as found, length(vector)::integer as size from (select ${vectorOf(made)} as vector)`);
    expect(row?.found).toBe(true);
    expect(row?.size).toBeLessThan(17_000);
  });
});
