/**
 * The control plane as client commands call it: `fetch` below /api/v1 with the credential, where everything but a 2xx
 * is a failure that says in one line what the gateway said.
 */
import { z } from "zod";
import { Failure } from "../platform/failure.ts";
import { signedIn } from "./sign-in.ts";
import { type GatewayFlags, unreachable } from "./sign-in-gateway.ts";
import type { World } from "./world.ts";

/** `path` begins below /api/v1; what people typed into it is encoded. Any answer but a 2xx is thrown. */
export type Api = (path: `/${string}`, init?: RequestInit) => Promise<Response>;

const requestTimeoutMs = 60_000;

export async function api(world: World, flags: GatewayFlags): Promise<Api> {
  const { url, token, isKept } = await signedIn(world, flags);
  return async (path, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${token.reveal()}`);
    headers.set("user-agent", `specgate/${world.version}`);
    const signal = init.signal ?? AbortSignal.timeout(requestTimeoutMs);
    // A redirect would carry the credential to wherever it points.
    const sent = { ...init, headers, signal, redirect: "manual" } as const;
    const response = await fetch(`${url}/api/v1${path}`, sent).catch((cause: unknown) => {
      throw unreachable(url, cause);
    });
    if (response.ok) return response;
    throw await failureOf(response, url, isKept);
  };
}

const problemForm = z.looseObject({
  title: z.string().default("The gateway refused"),
  code: z.string().default("refused"),
  detail: z.string().default(""),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).default([]),
  request_id: z.string().optional(),
});
export type Problem = z.infer<typeof problemForm>;

/** What the gateway said no to, with all that it said: some commands show more than the one line. */
export class ApiRefusal extends Failure {
  constructor(
    message: string,
    readonly httpStatus: number,
    readonly problem: Problem,
    retryAfterSeconds: number,
  ) {
    // Of this kind whatever the status: the command was well formed, so it failed and was not misused.
    super("upstream", problem.code, message, { retryAfterSeconds });
  }
}

async function failureOf(response: Response, url: string, isKept: boolean): Promise<Failure> {
  const isProblem = response.headers.get("content-type")?.startsWith("application/problem+json") === true;
  const parsed = problemForm.safeParse(isProblem ? await response.json().catch(() => null) : null);
  const retryAfterSeconds = Number(response.headers.get("retry-after") ?? "") || 0;
  const refusal = (message: string, problem: Problem) =>
    new ApiRefusal(message, response.status, problem, retryAfterSeconds);
  if (!parsed.success) {
    const unsaid = problemForm.parse({ code: "strange_answer" });
    return refusal(`${url} answered ${response.status} without saying why`, unsaid);
  }
  const { title, detail, errors, request_id } = parsed.data;
  const parts = [
    [title, detail].filter((part) => part !== "").join(": "),
    errors.map(({ path, message }) => `${path}: ${message}`).join("; "),
    response.status === 401 && isKept ? "run specgate login" : "",
  ];
  const sentence = parts.filter((part) => part !== "").join("; ");
  const id = request_id === undefined ? "" : ` (request ${request_id})`;
  return refusal(`${sentence}${id}`, parsed.data);
}
