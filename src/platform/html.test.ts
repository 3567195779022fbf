import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { html, page } from "./html.ts";

describe("text in a page", () => {
  test("never becomes markup, in an element or an attribute in quotes, and reads as it was", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme" }), async (text) => {
        const { markup } = html`<p title="${text}">${text}</p>`;
        const seen: string[] = [];
        const rewriter = new HTMLRewriter().on("*", {
          element: ({ tagName, attributes }) =>
            void seen.push(tagName, ...[...attributes].map(([name]) => name)),
        });
        await rewriter.transform(new Response(markup)).text();
        expect(seen).toEqual(["p", "title"]);
        expect(markup.match(/[<>"']/g)?.join("")).toBe(`<""><>`);
        expect(shownAs(/title="([^"]*)"/.exec(markup)?.[1] ?? "")).toBe(text);
      }),
    );
  });

  test("stays out of the policy, the title and the head", async () => {
    const response = page({ title: "</title><script>alert(1)</script>", body: html`${"</main><script>"}` });
    const text = await response.text();
    expect(text).not.toContain("<script");
    expect(text.match(/<\/title>/g)?.length).toBe(1);
  });

  function shownAs(text: string): string {
    const signs: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };
    return text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => signs[name] ?? "");
  }
});

test("nested markup and lists of it go in as they are, nothing is nothing", () => {
  const items = ["a", "<b>"].map((text) => html`<li>${text}</li>`);
  expect(html`<ul>${items}</ul>${null}${false}${0}${""}`.markup).toBe(
    "<ul><li>a</li><li>&lt;b&gt;</li></ul>0",
  );
});

describe("a page", () => {
  const policy = (asked: { formsMayLeave?: boolean } = {}) =>
    page({ title: "x", body: html``, ...asked }).headers.get("content-security-policy") ?? "";

  test("runs nothing, loads nothing, is framed by nobody and is kept nowhere", () => {
    const { headers } = page({ title: "x", body: html`` });
    expect(policy()).toMatch(
      /^default-src 'none'; style-src 'sha256-[\w+/]{43}='; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
    );
    expect([headers.get("x-frame-options"), headers.get("cache-control")]).toEqual(["DENY", "no-store"]);
    // Without it browsers would tell the page's own forms apart from none (Origin: null).
    expect(headers.get("referrer-policy")).toBe("same-origin");
    expect(policy({ formsMayLeave: true })).toContain("form-action 'self' http: https:;");
  });

  test("allows exactly its own style", async () => {
    const text = await page({ title: "x", body: html`` }).text();
    const style = /<style>([\s\S]*)<\/style>/.exec(text)?.[1] ?? "";
    const hash = new Bun.CryptoHasher("sha256").update(style).digest("base64");
    expect(policy()).toContain(`'sha256-${hash}'`);
    expect(text).not.toMatch(/ style=|<script| on\w+=|https?:/);
  });
});
