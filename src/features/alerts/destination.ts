/**
 * Where an alert hook may lead: over https to the public internet and, when specgate.yaml says so, to the operator's own
 * network, there over http too. Metadata and link-local addresses are refused always.
 *
 * What is judged here is the URL as it is written down. What its name resolves to later is judged again at each delivery,
 * by the fetch itself. Nothing is ever sent to find out whether somebody is there.
 */
import { checkUrl, notAllowed, type Reach, type Resolve, resolveName } from "../../platform/addresses.ts";
import { addressKind } from "../../platform/config-address.ts";
import { Failure } from "../../platform/failure.ts";

export const reachOf = (allowPrivateNetwork: boolean): Reach => (allowPrivateNetwork ? "private" : "public");

const resolveMs = 3_000;

/** The URL as it is kept. Throws 422 `url_not_allowed`. */
export async function judgeDestination(
  url: string,
  allowPrivateNetwork: boolean,
  resolve: Resolve = resolveName,
): Promise<string> {
  const look: Resolve = (name) => withinTime(resolve(name));
  try {
    const parsed = await checkUrl(url, reachOf(allowPrivateNetwork), look);
    if (parsed.protocol === "http:") await requireInner(parsed.hostname, look);
    // It never leaves a client, so it would only look as if it meant something.
    parsed.hash = "";
    return parsed.href;
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "url_not_allowed") throw error;
    const hint = allowPrivateNetwork
      ? ""
      : " Private addresses need `alerts: { allow_private_network: true }` in specgate.yaml.";
    const message = `${error.message}${hint}`;
    const errors = [{ path: "url", code: error.code, message }];
    throw new Failure(error.kind, error.code, message, { errors });
  }
}

/** What is sent over http is read by everybody on the way: that way is the operator's own, or it is not gone. */
async function requireInner(hostname: string, resolve: Resolve): Promise<void> {
  const written = addressKind(hostname);
  if (written === "loopback" || written === "private") return;
  const addresses = await resolve(hostname).catch(() => []);
  const kinds = addresses.map(addressKind);
  if (kinds.length === 0 || kinds.some((kind) => kind === "public" || kind === "carried"))
    throw notAllowed("Over the public internet the URL would begin with https://.");
}

async function withinTime(resolving: Promise<string[]>): Promise<string[]> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("DNS does not answer")), resolveMs);
  try {
    return await Promise.race([resolving, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
