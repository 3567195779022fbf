import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { localActor } from "../../testing/desk.ts";
import { startGateway } from "../../testing/gateway.ts";
import { call, ok, refused } from "../../testing/wire.ts";
import type { SessionView } from "../sessions/contract.ts";
import type { FoundView } from "./contract.ts";

const gateway = await startGateway();
const { robo, mallory, nobody } = gateway;
const { olga, vera, stranger } = await gateway.people();
type Page = { data: FoundView[]; next_cursor: string | null };

const newSession = (who = robo) =>
  ok<SessionView>(who, "POST", `/projects/${who.projectId}/sessions`, { title: "search" });
const session = await newSession();
const theirs = await newSession(mallory);
const put = (tasks: object[], who = robo, into = session) =>
  ok(who, "PUT", `/sessions/${into.id}/tasks`, { tasks });
const path = (q: string, more = "", projectId = robo.projectId) =>
  `/projects/${projectId}/search?q=${encodeURIComponent(q)}${more}`;
const titles = async (q: string, more = ""): Promise<string[]> =>
  (await ok<Page>(vera, "GET", path(q, more))).data.map(({ title }) => title);

await put([
  { title: "ระบบล็อกอินผู้ใช้ด้วยอีเมล", task_ref: "SSP-WEB-003-TASK-007", acceptance_criteria: "ผู้ใช้กรอกรหัสผ่าน" },
  { title: "Rewrite the parser in C++", notes: "see src/parser/readTokens.ts and foo_bar" },
  { title: "Rewrite the lexer in C", notes: "plain" },
  { title: "Rewrite the linker in C#" },
  { title: "ＦＵＬＬ width 🚀 launch" },
  { title: "Unbelievable authentication flow" },
]);
await put([{ title: "Rewrite everything of theirs" }], mallory, theirs);
await ok(robo, "POST", `/sessions/${session.id}/reports`, {
  title: "Weekly report",
  body: `${"nothing of note. ".repeat(40)}The zebra crossed the road. ${"nothing of note. ".repeat(40)}`,
});

describe("search", () => {
  test.each([
    ["a Thai word", "ล็อกอิน", ["ระบบล็อกอินผู้ใช้ด้วยอีเมล"]],
    ["a Thai word of the criteria", "รหัสผ่าน", ["ระบบล็อกอินผู้ใช้ด้วยอีเมล"]],
    ["a part of a Thai word of the title", "็อกอิ", ["ระบบล็อกอินผู้ใช้ด้วยอีเมล"]],
    ["a reference", "SSP-WEB-003-TASK-007", ["ระบบล็อกอินผู้ใช้ด้วยอีเมล"]],
    ["a piece of a reference", "web-003", ["ระบบล็อกอินผู้ใช้ด้วยอีเมล"]],
    ["C++ and nothing else", "C++", ["Rewrite the parser in C++"]],
    ["C# and nothing else", "c#", ["Rewrite the linker in C#"]],
    ["a piece of a path", "parser/readTokens.ts", ["Rewrite the parser in C++"]],
    ["a hump", "tokens", ["Rewrite the parser in C++"]],
    ["snake case", "foo_bar", ["Rewrite the parser in C++"]],
    ["full width letters", "full", ["ＦＵＬＬ width 🚀 launch"]],
    ["an emoji", "🚀", ["ＦＵＬＬ width 🚀 launch"]],
    ["the beginning of a word", "authent", ["Unbelievable authentication flow"]],
    ["the middle of a word", "believab", ["Unbelievable authentication flow"]],
    ["a word of a report", "zebra", ["Weekly report"]],
    ["all words, whatever their order", "linker rewrite", ["Rewrite the linker in C#"]],
    ["what is nowhere", "unicorn", []],
    ["signs alone", "?!", []],
  ])("finds %s", async (_, q, expected) => {
    expect(await titles(q)).toEqual(expected);
  });

  test("shows newest first, by kind if asked, with the piece of text that was found", async () => {
    expect(await titles("rewrite")).toEqual([
      "Rewrite the linker in C#",
      "Rewrite the lexer in C",
      "Rewrite the parser in C++",
    ]);
    expect(await titles("zebra", "&kind=task")).toEqual([]);
    const { data } = await ok<Page>(robo, "GET", path("zebra", "&kind=report"));
    expect(data[0]).toMatchObject({ kind: "report", session_id: session.id, task_ref: null, status: null });
    expect(data[0]?.snippet).toMatch(/^….*The zebra crossed the road\..*…$/);
  });

  test("is for whoever may see the project, and for a bound credential within its session", async () => {
    expect(await refused(nobody, "GET", path("rewrite"))).toBe("401 unauthenticated");
    expect(await refused(stranger, "GET", path("rewrite"))).toBe("404 not_found");
    expect(await refused(mallory, "GET", path("rewrite"))).toBe("404 not_found");
    const mine = await ok<Page>(mallory, "GET", path("rewrite", "", mallory.projectId));
    expect(mine.data.map(({ title }) => title)).toEqual(["Rewrite everything of theirs"]);
    const other = await newSession();
    await put([{ title: "Rewrite it once more" }], robo, other);
    const nothing = { projectId: null, ttlSeconds: 60, resources: [] };
    const asked = { ...nothing, scope: "control:read", sessionId: other.id };
    const bound = gateway.as((await gateway.oauth.tokens.issue(localActor, robo.id, asked)).access_token);
    const found = await ok<Page>(bound, "GET", path("rewrite"));
    expect(found.data.map(({ title }) => title)).toEqual(["Rewrite it once more"]);
  });

  test("refuses what is no question, and takes any text as words", async () => {
    for (const bad of [
      "",
      "?q=",
      "?q=%20",
      `?q=${"x".repeat(201)}`,
      "?q=a&kind=mood",
      "?q=a&limit=0",
      "?q=a&x=1",
    ])
      expect(await refused(vera, "GET", `/projects/${robo.projectId}/search${bad}`)).toBe(
        "400 invalid_request",
      );
    const first = await ok<Page>(vera, "GET", path("rewrite", "&limit=1"));
    expect(first.next_cursor).not.toBeNull();
    expect(await refused(vera, "GET", path("zebra", `&cursor=${first.next_cursor}`))).toBe(
      "400 invalid_request",
    );
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }), async (q) => {
        const { http } = await call(vera, "GET", path(q.toWellFormed()));
        expect([200, 400]).toContain(http);
      }),
      { numRuns: 60 },
    );
    for (const hostile of [
      "a & | ! b",
      "'; drop table tasks; --",
      "a:*b",
      "<->",
      "\\",
      "''",
      "a\0b",
      "(",
      ")",
    ])
      expect([hostile, [200, 400]]).toEqual([
        hostile,
        expect.arrayContaining([(await call(vera, "GET", path(hostile))).http]),
      ]);
  });

  test("pages without a gap or a repeat while others write", async () => {
    const place = await newSession();
    const task = (at: number) => ({ title: `Paginate number ${at}` });
    await put(
      Array.from({ length: 130 }, (_, at) => task(at)),
      robo,
      place,
    );
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const more = cursor === null ? "" : `&cursor=${cursor}`;
      const page: Page = await ok<Page>(olga, "GET", path("paginate", `&limit=25${more}`));
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
      await put([task(1_000 + seen.length)], robo, place);
    } while (cursor !== null);
    expect([seen.length, new Set(seen).size]).toEqual([130, 130]);
    const parts: string[] = [];
    for (cursor = ""; cursor !== null; ) {
      const page: Page = await ok<Page>(
        olga,
        "GET",
        path("aginat", `&limit=40${cursor === "" ? "" : `&cursor=${cursor}`}`),
      );
      parts.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    expect([parts.length, new Set(parts).size]).toEqual([136, 136]);
  });

  test("finds a part of a title where it stands, and not where only its trigrams do", async () => {
    await put([{ title: "qabcd and qbcde" }, { title: "qabcde" }]);
    expect(await titles("abcde")).toEqual(["qabcde"]);
    expect(await titles("cd and qb")).toEqual(["qabcd and qbcde"]);
  });

  test("goes on with parts when a word has come to be there meanwhile", async () => {
    await put([{ title: "xylotomy one" }, { title: "xylotomy two" }]);
    const first = await ok<Page>(vera, "GET", path("ylotom", "&limit=1"));
    await put([{ title: "ylotom" }]);
    const next = await ok<Page>(vera, "GET", path("ylotom", `&limit=1&cursor=${first.next_cursor}`));
    expect([...first.data, ...next.data].map(({ title }) => title)).toEqual(["xylotomy two", "xylotomy one"]);
    expect(await titles("ylotom")).toEqual(["ylotom"]);
  });

  test("shows plain text, cut between characters as people see them", async () => {
    const family = "👩‍👩‍👧";
    await put([
      { title: "thai", acceptance_criteria: `${"น้ำ".repeat(100)} zymurgy ${"กำลัง".repeat(100)}` },
      { title: "families", notes: `${family.repeat(30)} zymurgy ${family.repeat(30)}` },
      { title: "markup", notes: "<b>zymurgy</b>  &amp;\n\n# more" },
      { title: "zymurgy alone" },
    ]);
    const { data } = await ok<Page>(vera, "GET", path("zymurgy"));
    const [alone, markup, families, thai] = data.map(({ snippet }) => snippet ?? null);
    expect(alone).toBeNull();
    expect(markup).toBe("<b>zymurgy</b> &amp; # more");
    expect(families).toMatch(new RegExp(`^…(${family})+ zymurgy (${family})+…$`, "u"));
    expect(thai).toMatch(/^….* zymurgy (กำลัง)*.*…$/u);
    // A tone mark or a vowel sign never stands alone at a cut.
    expect(thai).not.toMatch(/^…\p{M}/u);
  });

  test("never shows what is in another project, whatever is in them", async () => {
    const words = ["alpha", "beta", "gamma", "delta"];
    const homes = [robo, mallory].map((who) => ({ who, session: who === robo ? session : theirs }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(1), fc.subarray(words, { minLength: 1 })), { minLength: 1, maxLength: 6 }),
        fc.subarray(words, { minLength: 1 }),
        async (tasks, asked) => {
          const mark = `m${Bun.randomUUIDv7().replaceAll("-", "")}`;
          for (const [at, home] of homes.entries()) {
            const own = tasks.filter(([whose]) => whose === at);
            if (own.length > 0)
              await put(
                own.map(([, said], no) => ({ title: `${no} ${said.join(" ")} ${mark}` })),
                home.who,
                home.session,
              );
          }
          for (const [at, { who }] of homes.entries()) {
            const expected = tasks
              .filter(([whose]) => whose === at)
              .map(([, said], no) => ({ said, title: `${no} ${said.join(" ")} ${mark}` }))
              .filter(({ said }) => asked.every((word) => said.includes(word)))
              .map(({ title }) => title);
            const { data } = await ok<Page>(
              who,
              "GET",
              path(`${asked.join(" ")} ${mark}`, "", who.projectId),
            );
            expect(data.map(({ title }) => title).sort()).toEqual(expected.sort());
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  test("puts tasks and reports into one order, page by page, also behind more rows than are walked", async () => {
    const place = await newSession();
    const mixed: string[] = [];
    for (let at = 0; at < 3; at++) {
      await put([{ title: `Interleaved task ${at}` }], robo, place);
      await ok(robo, "POST", `/sessions/${place.id}/reports`, {
        title: `Interleaved report ${at}`,
        body: "x",
      });
      mixed.unshift(`Interleaved report ${at}`, `Interleaved task ${at}`);
    }
    for (let part = 0; part < 2; part++)
      await put(
        Array.from({ length: 800 }, (_, at) => ({ title: `Filling ${part} ${at}` })),
        robo,
        place,
      );
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const more = cursor === "" ? "" : `&cursor=${cursor}`;
      const page: Page = await ok<Page>(olga, "GET", path("interleaved", `&limit=2${more}`));
      seen.push(...page.data.map(({ title }) => title));
      cursor = page.next_cursor;
    }
    expect(seen).toEqual(mixed);
  });
});
