/**
 * Hostile pages: what somebody else's page can have a person's browser do, as forms and as scripts. Each page has one
 * button, because a browser lets a page do most after a click.
 */

/** The person whom the pages are after; this is the password too that the forms and scripts hold. */
export const victim = { email: "vicky@example.com", password: "correct horse battery" } as const;

/** What the attacker knows of the victim, more than he could; and whether his page is the gateway's own for once. */
export type Target = { url: string; isOwn: boolean; ticket: string; deviceTicket: string; signIn: string };

export type Vector = {
  name: string;
  content: (target: Target) => string;
  needs?: "consent" | "device";
  /** What comes of it on a foreign page, and on the gateway's own. */
  foreign: RegExp;
  own: RegExp;
  /** The tables that the own page's deed changes beside the audit, in order. */
  changes: string[];
};

const refused = { foreign: /^403$/, own: /^303$/ } as const;
/** A no-cors fetch resolves whatever was answered, and a page without the right to read is told TypeError. */
const unread = { foreign: /^(?:opaque|TypeError|SecurityError)$/ } as const;
const allow = { decision: "allow", scope: "llm:chat" };

export const vectors: Vector[] = [
  {
    name: "a form cannot sign a person out",
    content: ({ url }) => form(`${url}/logout`, {}),
    ...refused,
    changes: ["sign_ins"],
  },
  {
    name: "a form cannot end another of the person's sign-ins",
    content: ({ url, signIn }) => form(`${url}/sign-ins`, { id: signIn }),
    ...refused,
    changes: ["sign_ins"],
  },
  {
    name: "a form cannot allow an app, even with the page's own ticket",
    content: ({ url, ticket }) => form(`${url}/oauth/consent`, { ticket, ...allow }),
    ...refused,
    needs: "consent",
    changes: ["authorization_codes", "tickets"],
  },
  {
    name: "a form cannot allow a device, even with the page's own ticket",
    content: ({ url, deviceTicket }) => form(`${url}/device`, { ticket: deviceTicket, ...allow }),
    ...refused,
    own: /^200$/,
    needs: "device",
    changes: ["device_codes", "tickets"],
  },
  {
    name: "a form cannot sign the person in as somebody else",
    content: ({ url }) => form(`${url}/login`, { email: "mallory@example.com", password: victim.password }),
    ...refused,
    changes: ["sign_ins"],
  },
  {
    name: "a form of plain text that reads as JSON makes no project",
    content: ({ url, isOwn }) =>
      isOwn ? json(url, "/api/v1/projects") : form(`${url}/api/v1/projects`, plainText, "text/plain"),
    ...refused,
    own: /^201$/,
    changes: ["project_members", "projects"],
  },
  {
    name: "a multipart form makes no project",
    content: ({ url, isOwn }) =>
      isOwn
        ? json(url, "/api/v1/projects")
        : form(`${url}/api/v1/projects`, { name: "stolen" }, "multipart/form-data"),
    ...refused,
    own: /^201$/,
    changes: ["project_members", "projects"],
  },
  {
    name: "a form in a sandboxed frame, whose origin is null, does not sign out",
    content: ({ url, isOwn }) =>
      isOwn
        ? form(`${url}/logout`, {})
        : `<iframe sandbox="allow-forms allow-scripts" srcdoc="${Bun.escapeHTML(
            `${form(`${url}/logout`, {})}<script>onmessage = () => document.querySelector("button").click()</script>`,
          )}"></iframe><button onclick="frames[0].postMessage('go', '*')">Win</button>`,
    ...refused,
    changes: ["sign_ins"],
  },
  {
    name: "a fetch without CORS makes no project",
    content: ({ url, isOwn }) =>
      isOwn
        ? script(`return (await fetch("${url}/api/v1/projects", { method: "POST", body: '{"name":"mine"}',
            headers: { "content-type": "application/json" } })).status`)
        : script(`return (await fetch("${url}/api/v1/projects", { method: "POST", mode: "no-cors",
            credentials: "include", body: '{"name":"stolen"}', headers: { "content-type": "text/plain" } })).type`),
    ...unread,
    own: /^201$/,
    changes: ["project_members", "projects"],
  },
  {
    name: "a fetch with credentials cannot read who the person is",
    content: ({ url }) =>
      script(`return (await fetch("${url}/api/v1/me", { credentials: "include", mode: "cors" })).text()`),
    ...unread,
    own: /vicky@example\.com/,
    changes: [],
  },
  {
    name: "a beacon does not sign out",
    content: ({ url }) =>
      script(`navigator.sendBeacon("${url}/api/v1/auth/logout", "{}")
        return (await fetch("${url}/api/v1/auth/logout", { method: "POST", keepalive: true, credentials: "include" })).status`),
    ...unread,
    own: /^(?:204|401)$/,
    changes: ["sign_ins"],
  },
  {
    name: "a beacon and a kept-alive PUT do not change the password",
    content: ({ url }) =>
      script(`const body = '{"current_password":"${victim.password}","new_password":"${victim.password}"}'
        navigator.sendBeacon("${url}/api/v1/me/password", new Blob([body], { type: "text/plain" }))
        navigator.sendBeacon("${url}/api/v1/me/password", new Blob([body], { type: "application/json" }))
        return (await fetch("${url}/api/v1/me/password", { method: "PUT", keepalive: true, credentials: "include", body,
          headers: { "content-type": "application/json" } })).status`),
    ...unread,
    own: /^204$/,
    changes: ["authorization_codes", "device_codes", "sign_ins", "users"],
  },
  {
    name: "a kept-alive DELETE does not end a sign-in",
    content: ({ url, signIn }) =>
      script(`return (await fetch("${url}/api/v1/me/sessions/${signIn}",
        { method: "DELETE", keepalive: true, credentials: "include" })).status`),
    ...unread,
    own: /^204$/,
    changes: ["sign_ins"],
  },
  {
    name: "a service worker does not sign out",
    content: ({ url, isOwn }) =>
      isOwn
        ? form(`${url}/logout`, {})
        : script(`const registered = await navigator.serviceWorker.register("/worker.js")
            const worker = registered.installing ?? registered.waiting ?? registered.active
            const channel = new MessageChannel()
            const said = new Promise((done) => { channel.port1.onmessage = ({ data }) => done(data) })
            worker.postMessage("${url}/logout", [channel.port2])
            return said`),
    ...unread,
    own: /^303$/,
    changes: ["sign_ins"],
  },
  {
    name: "a WebSocket does not open, nor does an event stream",
    content: ({ url }) =>
      script(`const opens = (made) => new Promise((done) => {
          made.onopen = () => done("open")
          made.onerror = () => done("closed")
        })
        return (await Promise.all(["/", "/api/v1/me", "/mcp", "/v1/chat/completions"].flatMap((path) => [
          opens(new WebSocket("${url.replace("http", "ws")}" + path)),
          opens(new EventSource("${url}" + path, { withCredentials: true })),
        ]))).join()`),
    foreign: /^(?:closed,?){8}$/,
    own: /^(?:closed,?){8}$/,
    changes: [],
  },
];

/** As plain text it is `{"name":"stolen","x":"="}`. */
const plainText = { '{"name":"stolen': 'goods"}' };

export function form(
  action: string,
  fields: Record<string, string>,
  type = "application/x-www-form-urlencoded",
) {
  const inputs = Object.entries(fields).map(
    ([name, value]) =>
      `<input type="hidden" name="${Bun.escapeHTML(name)}" value="${Bun.escapeHTML(value)}">`,
  );
  return `<form method="post" action="${action}" enctype="${type}">${inputs.join("")}<button>Win</button></form>`;
}

/** A page whose button runs the code, and tells what it returns or throws. */
export const script = (code: string): string => `<button>Win</button><script>
  document.querySelector("button").onclick = async () => {
    window.told = await (async () => { ${code} })().then((value) => String(value), (error) => error.name)
  }</script>`;

const json = (url: string, path: string): string =>
  script(`return (await fetch("${url}${path}", { method: "POST", body: '{"name":"mine"}',
    headers: { "content-type": "application/json" } })).status`);

const worker = `onmessage = async ({ data, ports: [port] }) => port.postMessage(
  await fetch(data, { method: "POST", mode: "no-cors", credentials: "include" })
    .then(({ type }) => type, (error) => error.name))`;

/** A server of somebody else's, who may show anything, under any name that leads to it. */
export function startAttacker() {
  let content = "";
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/worker.js")
        return new Response(worker, { headers: { "content-type": "text/javascript" } });
      const headers = new Headers({ "content-type": "text/html", "cache-control": "no-store" });
      if (pathname === "/sandboxed")
        headers.set("content-security-policy", "sandbox allow-scripts allow-forms allow-popups");
      return new Response(content, { headers });
    },
  });
  return {
    port: Number(server.port),
    show(page: string) {
      content = page;
    },
    stop: () => server.stop(true),
  };
}
