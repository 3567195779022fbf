import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ProviderConfig } from "../platform/config.ts";
import type { Finding } from "./doctor.ts";

const connectMsMax = 3_000;

/** A connection and nothing more: no request is sent, so no token is spent. Unreachable is a warning: it may come back. */
export async function checkProviders(providers: Record<string, ProviderConfig>): Promise<Finding[]> {
  const all = Object.entries(providers);
  if (all.length === 0)
    return [{ name: "providers", status: "ok", message: "none configured: demo/echo answers" }];
  return Promise.all(all.map(([name, { baseUrl }]) => checkProvider(name, new URL(baseUrl))));
}

async function checkProvider(name: string, url: URL): Promise<Finding> {
  const begun = performance.now();
  const why = await reach(url);
  const took = Math.round(performance.now() - begun);
  if (why === null)
    return { name: "providers", status: "ok", message: `${name}: ${url.host} answers in ${took} ms` };
  return { name: "providers", status: "warning", message: `${name}: ${url.host} cannot be reached: ${why}` };
}

/** Null when the connection, and over https the handshake, succeeds. */
function reach(url: URL): Promise<string | null> {
  const secure = url.protocol === "https:";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port) || (secure ? 443 : 80);
  return new Promise((resolve) => {
    const socket = secure
      ? connectTls({ host, port, servername: host }, () => end(null))
      : connectTcp({ host, port }, () => end(null));
    const timer = setTimeout(() => end(`no answer within ${connectMsMax / 1000} s`), connectMsMax);
    const end = (why: string | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(why);
    };
    socket.on("error", (error) => end(error.message));
  });
}
