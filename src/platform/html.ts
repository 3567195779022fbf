/**
 * Pages for people, made on the server: no scripts, nothing from outside, light and dark, usable at 360 px.
 *
 * Text goes into a page through `html` alone, which escapes it; there is no way to put markup in that a template of this
 * program does not hold. The one style sheet is allowed by its hash, so the policy needs no `unsafe-inline`.
 */
export type Html = { readonly markup: string };

type Part = string | number | Html | readonly Html[] | null | false;

/** Markup with every `${text}` escaped; nested `html`, and lists of it, go in as they are; null and false are nothing. */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  return { markup: strings.reduce((made, text, index) => made + textOf(parts[index - 1]) + text) };
}

export type Page = {
  title: string;
  body: Html;
  status?: number;
  headers?: Record<string, string>;
  /** Where its forms may lead besides here: an app's redirect is one too, as browsers see it (CSP3 section 4.2.1). */
  formsMayLeave?: boolean;
};

export function page({ title, body, status = 200, headers = {}, formsMayLeave = false }: Page): Response {
  const document = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · SpecGate</title>
<style>${{ markup: style }}</style>
</head>
<body>
<main>
<p class="mark">SpecGate</p>
${body}
</main>
</body>
</html>
`;
  return new Response(document.markup, {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "content-security-policy": policyOf(formsMayLeave),
      // Not `no-referrer`: browsers then send `Origin: null` with this page's own forms.
      "referrer-policy": "same-origin",
      "x-frame-options": "DENY",
      ...headers,
    },
  });
}

const escapes: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function textOf(part: Part | undefined): string {
  if (part === undefined || part === null || part === false) return "";
  if (typeof part === "object") return "markup" in part ? part.markup : part.map(textOf).join("");
  return String(part).replace(/[&<>"']/g, (sign) => escapes[sign] ?? "");
}

const style = `
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --line: #dfe3e8; --text: #16191d; --quiet: #59636e;
  --accent: #1d5bd6; --on-accent: #fff; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1216; --card: #171b21; --line: #2c333c; --text: #e8ebef;
  --quiet: #9aa5b1; --accent: #7aa7ff; --on-accent: #0b1220; --bad: #ff8f85 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif;
  min-height: 100vh; display: grid; place-items: center; padding: 1rem }
main { width: 100%; max-width: 27rem; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.75rem; overflow-wrap: anywhere }
.mark { margin: 0 0 1.25rem; font-weight: 650; letter-spacing: -.01em }
.mark::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .5em; border-radius: 3px;
  background: var(--accent) }
h1 { font-size: 1.35rem; line-height: 1.25; letter-spacing: -.015em; margin: 0 0 .75rem }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem }
p { margin: 0 0 1rem }
label, legend { display: block; font-weight: 550; margin-bottom: .3rem; padding: 0 }
fieldset { border: 0; margin: 0 0 1rem; padding: 0; min-width: 0 }
input:not([type=checkbox]) { width: 100%; padding: .6rem .7rem; margin-bottom: 1rem; font: inherit; color: inherit;
  background: var(--ground); border: 1px solid var(--line); border-radius: 8px }
.scope { display: grid; grid-template-columns: auto 1fr; gap: 0 .6rem; font-weight: 400; margin: 0; padding: .45rem 0;
  border-top: 1px solid var(--line) }
.scope input { margin: .3rem 0 0; accent-color: var(--accent); width: 1rem; height: 1rem }
.scope small { grid-column: 2; color: var(--quiet) }
button, .button { display: block; width: 100%; padding: .65rem 1rem; margin: 0 0 .6rem; font: inherit; font-weight: 600;
  text-align: center; text-decoration: none; border: 1px solid var(--accent); border-radius: 8px; cursor: pointer;
  background: var(--accent); color: var(--on-accent) }
button.plain, .button.plain { background: none; color: inherit; border-color: var(--line) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
a { color: var(--accent) }
dl { display: grid; grid-template-columns: auto 1fr; gap: .25rem .9rem; margin: 0 0 1rem }
dt { color: var(--quiet) } dd { margin: 0 }
code, .code { font-family: ui-monospace, monospace }
.code { font-size: 1.3rem; letter-spacing: .12em; text-transform: uppercase }
.quiet { color: var(--quiet); font-size: .875rem; margin-bottom: 0 }
.bad { color: var(--bad); font-weight: 550 }
`;

const styleHash = new Bun.CryptoHasher("sha256").update(style).digest("base64");

function policyOf(formsMayLeave: boolean): string {
  const forms = formsMayLeave ? "'self' http: https:" : "'self'";
  return `default-src 'none'; style-src 'sha256-${styleHash}'; form-action ${forms}; base-uri 'none'; frame-ancestors 'none'`;
}
