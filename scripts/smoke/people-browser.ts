/**
 * A person's browser, as far as the gateway can tell: cookies, redirects, forms filled in as they stand on the page, and
 * the headers by which browsers say where a request comes from. It keeps the page's `form-action`, as Chromium does for
 * the redirects of a form too.
 */
import { expect } from "./checks.ts";

export type Page = {
  /** Where the browser ended up; elsewhere when it was sent away from the gateway, and then nothing was asked there. */
  url: URL;
  status: number;
  text: string;
  forms: Form[];
  formAction: string;
};
type Form = { action: string; fields: [name: string, value: string][] };
export type Filled = {
  typed?: Record<string, string>;
  unticked?: [name: string, value: string][];
  button?: [name: string, value: string];
};
type Asked = { method: "GET" | "POST"; body?: URLSearchParams; from: Page | null };

const redirectsMax = 10;

export class Browser {
  readonly #cookies = new Map<string, string>();

  constructor(readonly home: string) {}

  /** Types an address. */
  open(url: string): Promise<Page> {
    return this.#go(new URL(url, this.home), { method: "GET", from: null });
  }

  /** Fills in the page's form with this action and presses its button. */
  submit(page: Page, action: string, { typed = {}, unticked = [], button }: Filled = {}): Promise<Page> {
    const form = page.forms.find((one) => one.action === action);
    if (form === undefined) throw new Error(`${page.url.pathname} has no form for ${action}:\n${page.text}`);
    const body = new URLSearchParams(form.fields);
    for (const [name, value] of Object.entries(typed)) {
      expect(body.has(name), `the form for ${action} has no field ${name}`);
      body.set(name, value);
    }
    for (const [name, value] of unticked) {
      expect(body.has(name, value), `the form for ${action} has no ticked ${name} ${value}`);
      body.delete(name, value);
    }
    if (button !== undefined) body.append(...button);
    return this.#go(new URL(action, page.url), { method: "POST", body, from: page });
  }

  /** What a script on the gateway's own pages asks for. */
  fetch(path: string, init: { method?: string; json?: object } = {}): Promise<Response> {
    const headers = {
      cookie: this.#cookieHeader(),
      origin: this.home,
      "sec-fetch-site": "same-origin",
      "sec-fetch-mode": "cors",
      ...(init.json === undefined ? {} : { "content-type": "application/json" }),
    };
    const body = init.json === undefined ? {} : { body: JSON.stringify(init.json) };
    return fetch(this.home + path, { method: init.method ?? "GET", headers, ...body });
  }

  async #go(url: URL, asked: Asked, redirects = 0): Promise<Page> {
    expect(redirects <= redirectsMax, `more than ${redirectsMax} redirects, the last to ${url}`);
    const nowhere = { status: 0, text: "", forms: [], formAction: "" };
    if (asked.from !== null) requireAllowed(url, asked.from);
    if (url.origin !== this.home) return { url, ...nowhere };
    const response = await fetch(url, {
      method: asked.method,
      headers: this.#headers(asked),
      redirect: "manual",
      ...(asked.body === undefined ? {} : { body: asked.body }),
    });
    this.#keepCookies(response);
    const text = await response.text();
    const location = response.headers.get("location");
    if (response.status < 300 || response.status > 399 || location === null)
      return pageOf(url, response, text);
    const again: Asked = response.status === 307 ? asked : { method: "GET", from: asked.from };
    return this.#go(new URL(location, url), again, redirects + 1);
  }

  #headers({ method, from }: Asked): Record<string, string> {
    const cookie = this.#cookieHeader();
    return {
      accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
      "upgrade-insecure-requests": "1",
      "sec-fetch-dest": "document",
      "sec-fetch-mode": "navigate",
      "sec-fetch-site": from === null ? "none" : "same-origin",
      "sec-fetch-user": "?1",
      ...(cookie === "" ? {} : { cookie }),
      ...(method === "POST" && from !== null ? { origin: from.url.origin, referer: from.url.href } : {}),
    };
  }

  #cookieHeader(): string {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  }

  #keepCookies(response: Response): void {
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (/; *max-age=0\b/i.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
  }
}

/** CSP3 section 4.2.1: a form, and each redirect that answers it, may go where its page says and nowhere else. */
function requireAllowed(url: URL, { url: from, formAction }: Page): void {
  const allowed = formAction.split(" ").some((source) => {
    if (source === "'self'") return url.origin === from.origin;
    return source.endsWith(":") && url.protocol === source;
  });
  expect(allowed, `the page ${from.pathname} lets its forms lead to ${formAction}, not to ${url.origin}`);
}

function pageOf(url: URL, { status, headers }: Response, text: string): Page {
  const policy = headers.get("content-security-policy") ?? "";
  return {
    url,
    status,
    text,
    forms: formsOf(text),
    formAction: /form-action ([^;]+)/.exec(policy)?.[1] ?? "",
  };
}

/** With what a browser sends of each: no box that is not ticked, and no button. */
function formsOf(text: string): Form[] {
  const forms: Form[] = [];
  new HTMLRewriter()
    .on("form", {
      element: (form) => void forms.push({ action: plain(form.getAttribute("action")), fields: [] }),
    })
    .on("form input[name]", {
      element(input) {
        if (input.getAttribute("type") === "checkbox" && !input.hasAttribute("checked")) return;
        const [name, value] = [plain(input.getAttribute("name")), plain(input.getAttribute("value"))];
        forms.at(-1)?.fields.push([name, value]);
      },
    })
    .transform(text);
  return forms;
}

const entities: Record<string, string> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#39;": "'",
};

const plain = (attribute: string | null): string =>
  (attribute ?? "").replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => entities[entity] ?? "");
