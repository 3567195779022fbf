/**
 * Other origins in a test's Chromium, all of them one small server: a desktop app's, one that the gateway has never heard
 * of, and the canary at which hostile files call. It also serves those files as a careless server would.
 */
import type { HostileFile } from "./hostile-files.ts";

/** The gateway allows it unless it is told otherwise. */
export const desktop = "http://tauri.localhost";
export const elsewhere = "http://elsewhere.test";
export const canary = "http://canary.test";

export type HostileSite = {
  /** For `openChromium`. */
  readonly hosts: Record<string, string>;
  /** What the canary heard: `/ran` of a script, `/shown` of a page. */
  readonly heard: string[];
  stop(): Promise<void>;
};

/** `files` are careless at `elsewhere`, below `/careless/`, by their place in the list. */
export function startHostileSite(files: readonly HostileFile[]): HostileSite {
  const heard: string[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { origin, pathname } = new URL(request.url);
      if (origin === canary) {
        heard.push(`${pathname} ${request.headers.get("referer") ?? ""}`);
        return new Response(null, { status: 204 });
      }
      const [, at = ""] = /^\/careless\/(\d+)$/.exec(pathname) ?? [];
      const file = at === "" ? undefined : files[Number(at)];
      const type = file?.type ?? "text/html";
      const headers = { "content-type": type, "referrer-policy": "unsafe-url" };
      return new Response(file?.bytes ?? "<title>a page</title>", { headers });
    },
  });
  const here = `127.0.0.1:${server.port}`;
  return {
    hosts: Object.fromEntries([desktop, elsewhere, canary].map((origin) => [new URL(origin).hostname, here])),
    heard,
    stop: () => server.stop(true),
  };
}
