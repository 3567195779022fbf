/**
 * The store that a signed URL leads to, as a client meets it: the gateway itself, or somebody's S3. The URL is the
 * credential, so it is never shown, nothing is sent beside it, and no redirect is followed with it.
 */
import { Failure } from "../platform/failure.ts";
import { printable } from "./print.ts";

/** What the store said no to. */
export class StoreRefusal extends Failure {
  constructor(
    message: string,
    readonly httpStatus: number,
    readonly storeCode: string,
    retryAfterSeconds: number,
  ) {
    super("upstream", "store_refused", message, { retryAfterSeconds });
  }
}

/** The way to the store broke, or it fell silent. */
export class StoreLost extends Failure {
  constructor(url: string, why: string, cause?: unknown) {
    super("unavailable", "store_lost", `${hostOf(url)} ${why}`, { cause });
  }
}

/** Any answer but a 2xx is thrown; `StoreLost` when there was none. A `Failure` of whoever gives the body passes. */
export async function askStore(url: string, init: RequestInit): Promise<Response> {
  if (!/^https?:\/\//i.test(url))
    throw new Failure("upstream", "strange_answer", "The gateway named a store that is not on the web");
  const response = await fetch(url, { ...init, redirect: "manual" }).catch((cause: unknown) => {
    throw cause instanceof Failure ? cause : new StoreLost(url, `cannot be reached${codeOf(cause)}`, cause);
  });
  if (response.ok) return response;
  throw await refusalOf(response, url);
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? ` (${cause.code})` : "";

const hostOf = (url: string): string => (URL.canParse(url) ? new URL(url).host : "the store");

async function refusalOf(response: Response, url: string): Promise<StoreRefusal> {
  const { status, headers } = response;
  const { code, message } = saidIn(await beginningOf(response));
  const redirect = status >= 300 && status < 400 ? "a redirect, which is not followed" : "";
  const words = printable([code, message || redirect].filter((part) => part !== "").join(": "));
  const seconds = Number(headers.get("retry-after") ?? "") || 0;
  const said = words === "" ? " without saying why" : `: ${words}`;
  return new StoreRefusal(`${hostOf(url)} answered ${status}${said}`, status, code, seconds);
}

const bytesMax = 16_384;

async function beginningOf(response: Response): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  try {
    for await (const bytes of response.body ?? []) {
      text += decoder.decode(bytes, { stream: true });
      if (text.length >= bytesMax) break;
    }
  } catch {
    // What came says enough, or the status alone does.
  }
  return text.slice(0, bytesMax);
}

type Said = { code: string; message: string };
const messageMax = 300;

/** A problem of the gateway's, or S3's `<Error>`. */
function saidIn(text: string): Said {
  const xml = (name: string): string =>
    new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]?.replace(/&(?:quot|#34);/g, '"') ?? "";
  const said = text.includes("<Error>") ? { code: xml("Code"), message: xml("Message") } : problemIn(text);
  return { code: said.code.slice(0, 100), message: said.message.slice(0, messageMax) };
}

function problemIn(text: string): Said {
  let problem: unknown = null;
  try {
    problem = JSON.parse(text);
  } catch {
    // Some page or other.
  }
  const member = (name: string): string => {
    const value = (problem as Record<string, unknown> | null)?.[name];
    return typeof value === "string" ? value : "";
  };
  return { code: member("code"), message: member("detail") };
}

export type Patience = { readonly signal: AbortSignal; renew(): void };

/** Ends what has not moved for so long, as if the line had broken. */
export async function withPatience<T>(
  silenceMaxMs: number,
  url: string,
  work: (patience: Patience) => Promise<T>,
): Promise<T> {
  const ending = new AbortController();
  const fallen = () => ending.abort(new StoreLost(url, "fell silent"));
  let timer = setTimeout(fallen, silenceMaxMs);
  const renew = (): void => {
    clearTimeout(timer);
    timer = setTimeout(fallen, silenceMaxMs);
  };
  try {
    return await work({ signal: ending.signal, renew });
  } finally {
    clearTimeout(timer);
  }
}
