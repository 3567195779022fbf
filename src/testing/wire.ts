/**
 * The control plane as tests speak to it: JSON there and back, with the status beside the body.
 */
import type { Actor } from "./gateway.ts";

/** What came back: the body's members and, among them, `status` of HTTP as `http` and the headers. */
export type Answered<Body> = { readonly http: number; readonly headers: Headers; readonly body: Body };

/** `body` undefined sends none. `headers` such as `if-match` and `idempotency-key`. */
export async function call<Body = Record<string, unknown>>(
  who: Pick<Actor, "fetch">,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answered<Body>> {
  const response = await who.fetch(`/api/v1${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    http: response.status,
    headers: response.headers,
    body: (text === "" ? {} : JSON.parse(text)) as Body,
  };
}

/** The body of an answer that must be a 2xx. */
export async function ok<Body = Record<string, unknown>>(
  ...[who, method, path, body, headers]: Parameters<typeof call>
): Promise<Body> {
  const answered = await call<Body>(who, method, path, body, headers);
  if (answered.http >= 200 && answered.http < 300) return answered.body;
  throw new Error(`${method} ${path}: ${answered.http} ${JSON.stringify(answered.body)}`);
}

/** Status and code of an answer, by which refusals are told apart: `409 closed`. */
export async function refused(
  ...[who, method, path, body, headers]: Parameters<typeof call>
): Promise<string> {
  const answered = await call<{ code?: string }>(who, method, path, body, headers);
  return `${answered.http} ${answered.body.code ?? ""}`.trim();
}
