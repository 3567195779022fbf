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
<p class="mark">${mark}SpecGate</p>
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

/** A gate; its colours come from the style sheet, as a picture would have to come from somewhere. */
const mark = html`<svg viewBox="0 0 28 28" aria-hidden="true"><rect width="28" height="28" rx="7"/><path d="M8 20.5v-7a6 6 0 0 1 12 0v7M14 20.5v-7M8 15.5h12"/></svg>`;

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
:root { color-scheme: light dark; --ground: #f8fafc; --card: #fff; --line: #dfe3e8; --edge: #878f9c; --text: #14181f;
  --quiet: #566070; --accent: #4163e4; --pressed: #3552c6; --on-accent: #fff; --bad: #b3261e; --bad-ground: #fdf1f0;
  --bad-line: #f3cfcb; --shade: 0 1px 2px rgb(15 23 42 / .04), 0 12px 32px -12px rgb(15 23 42 / .12) }
@media (prefers-color-scheme: dark) { :root { --ground: #0b0e14; --card: #14171e; --line: #272b34; --edge: #666e7c;
  --text: #e9ecf1; --quiet: #9aa4b2; --accent: #7699fb; --pressed: #8fabfc; --on-accent: #0b0e14; --bad: #ff9a90;
  --bad-ground: #2a1718; --bad-line: #55292a; --shade: none } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.55 system-ui, sans-serif;
  min-height: 100vh; display: grid; place-items: center; padding: 2.5rem 1rem }
main { width: 100%; max-width: 28rem; background: var(--card); border: 1px solid var(--line); border-radius: 16px;
  box-shadow: var(--shade); padding: 2.25rem; overflow-wrap: anywhere }
main > :last-child, form > :last-child { margin-bottom: 0 }
.mark { display: flex; align-items: center; gap: .65rem; margin: 0 0 1.75rem; font-weight: 600; letter-spacing: -.01em }
.mark svg { width: 1.75rem; height: 1.75rem; fill: var(--accent) }
.mark path { fill: none; stroke: var(--on-accent); stroke-width: 2; stroke-linecap: round }
h1 { font-size: 1.5rem; line-height: 1.25; font-weight: 650; letter-spacing: -.02em; margin: 0 0 1rem; text-wrap: balance }
h2, legend { font-size: 1rem; line-height: 1.5; font-weight: 600; margin: 0 0 .5rem; padding: 0 }
p { margin: 0 0 1.25rem }
label { display: block; font-size: .9375rem; font-weight: 550; margin-bottom: .35rem }
input:not([type=checkbox]) { width: 100%; padding: .65rem .8rem; margin-bottom: 1.25rem; font: inherit; color: inherit;
  background: var(--card); border: 1px solid var(--edge); border-radius: 9px }
input::placeholder { color: var(--quiet); opacity: 1 }
button, .button { display: block; width: 100%; padding: .7rem 1rem; font: inherit; font-weight: 600; text-align: center;
  text-decoration: none; border: 1px solid transparent; border-radius: 9px; cursor: pointer; background: var(--accent);
  color: var(--on-accent) }
button:hover, .button:hover { background: var(--pressed) }
.plain { background: var(--card); color: inherit; border-color: var(--line) }
.plain:hover { background: var(--ground); border-color: var(--edge) }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; margin-top: 1.5rem }
.or { display: flex; align-items: center; gap: .9rem; margin: 1.25rem 0; color: var(--quiet); font-size: .875rem }
.or::before, .or::after { content: ""; flex: 1; border-top: 1px solid var(--line) }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
input:not([type=checkbox]):focus-visible { outline-offset: -1px; border-color: var(--accent) }
a { color: var(--accent); text-underline-offset: .2em }
fieldset { border: 0; margin: 0; padding: 0; min-width: 0 }
.scope { display: grid; grid-template-columns: auto 1fr; gap: 0 .75rem; font-size: 1rem; font-weight: 400; margin: 0;
  padding: .6rem 0; border-top: 1px solid var(--line); cursor: pointer }
.scope input { margin: .25rem 0 0; accent-color: var(--accent); width: 1.1rem; height: 1.1rem }
.scope small { grid-column: 2; color: var(--quiet); font-size: .8125rem }
dl { display: grid; grid-template-columns: auto 1fr; gap: .4rem 1.1rem; margin: 0 0 1.5rem; padding: .9rem 1.1rem;
  background: var(--ground); border: 1px solid var(--line); border-radius: 11px; font-size: .9375rem }
dt { color: var(--quiet) }
dd { margin: 0; min-width: 0 }
.code { font-family: ui-monospace, monospace; letter-spacing: .1em; text-transform: uppercase }
input.code { font-size: 1.25rem }
dd.code { font-weight: 600 }
.list { list-style: none; margin: 0 0 1.75rem; padding: 0; border-bottom: 1px solid var(--line) }
.list li { display: grid; grid-template-columns: 1fr auto; align-items: center; gap: .25rem 1rem; padding: .85rem 0;
  border-top: 1px solid var(--line) }
.list button { width: auto; padding: .35rem .8rem; font-size: .875rem }
.list small { display: block; color: var(--quiet); font-size: .8125rem }
.badge { margin-left: .5rem; padding: .1rem .5rem; font-size: .75rem; font-weight: 550; border: 1px solid var(--line);
  border-radius: 99px; color: var(--quiet); white-space: nowrap }
.quiet { color: var(--quiet); font-size: .875rem }
.bad { padding: .75rem 1rem; color: var(--bad); background: var(--bad-ground); border: 1px solid var(--bad-line);
  border-radius: 11px; font-size: .9375rem }
@media (max-width: 30rem) { body { padding: 1rem; place-items: start center }
  main { padding: 1.5rem 1.25rem }
  dl { grid-template-columns: 1fr; gap: 0 } dd + dt { margin-top: .5rem } }
`;

const styleHash = new Bun.CryptoHasher("sha256").update(style).digest("base64");

function policyOf(formsMayLeave: boolean): string {
  const forms = formsMayLeave ? "'self' http: https:" : "'self'";
  return `default-src 'none'; style-src 'sha256-${styleHash}'; form-action ${forms}; base-uri 'none'; frame-ancestors 'none'`;
}
