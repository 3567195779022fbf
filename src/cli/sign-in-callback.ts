/**
 * The loopback listener that the browser comes back to (RFC 8252 section 7.3): one port, one path, one answer.
 *
 * Every program on this machine, and every page in the browser, can call here. Only what carries the sign-in's own
 * `state` counts; anything else is turned away and the wait goes on.
 */
import { Failure } from "../platform/failure.ts";
import { refusal, strange } from "./sign-in-oauth.ts";

export type Callback = {
  readonly redirectUri: string;
  /** Rejects when the person or the gateway refused. */
  readonly code: Promise<string>;
  /** Shows the person how it ended; resolves when they have the page. */
  close(outcome: Outcome): Promise<void>;
};

export type Outcome = "signed in" | "failed";
type Expected = { issuer: string; state: string };

export function openCallback(expected: Expected): Callback {
  const code = Promise.withResolvers<string>();
  const ended = Promise.withResolvers<Outcome>();
  let answered = false;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    development: false,
    idleTimeout: 60,
    async fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      if (request.method !== "GET" || pathname !== "/callback") return page(404, "There is nothing here.");
      const isOurs = only(searchParams, "state") === expected.state;
      if (!isOurs || answered) return page(400, "This is not the answer that the terminal waits for.");
      answered = true;
      const found = readAnswer(searchParams, expected.issuer);
      if (found instanceof Failure) code.reject(found);
      else code.resolve(found);
      // Not before the code was worth something: the page says what is so.
      const outcome = await ended.promise;
      return outcome === "signed in"
        ? page(200, "You are signed in; you can close this window.")
        : page(400, "You are not signed in; the terminal says why. You can close this window.");
    },
  });
  return {
    redirectUri: `http://127.0.0.1:${server.port}/callback`,
    code: code.promise,
    async close(outcome) {
      ended.resolve(outcome);
      // A browser may hold connections open that it never uses.
      await Promise.race([server.stop(), Bun.sleep(1_000)]);
      await server.stop(true);
    },
  };
}

/** The code, or why there is none. */
function readAnswer(query: URLSearchParams, issuer: string): string | Failure {
  // RFC 9207: an answer of another issuer means that somebody mixes up two sign-ins to get at the code.
  if (only(query, "iss") !== issuer)
    return strange("The browser came back from another issuer than the gateway; nothing was kept");
  const refused = only(query, "error");
  if (refused === "access_denied")
    return new Failure(
      "forbidden",
      "access_denied",
      "The sign-in was denied in the browser; nothing was kept",
    );
  if (refused !== null) {
    const description = only(query, "error_description") ?? "";
    return refusal("The gateway refused the sign-in", { refused, description });
  }
  return only(query, "code") ?? strange("The browser came back without a code; nothing was kept");
}

/** Null when it is absent, empty, or there twice: two readers would pick different ones. */
function only(query: URLSearchParams, name: string): string | null {
  const [value, ...more] = query.getAll(name);
  return value === undefined || value === "" || more.length > 0 ? null : value;
}

/** No script, no style, nothing to load, and no address handed on: its own holds the code. */
const page = (status: number, sentence: string): Response =>
  new Response(
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>SpecGate</title><p>${sentence}</p></html>\n`,
    {
      status,
      headers: {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy":
          "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        connection: "close",
      },
    },
  );
