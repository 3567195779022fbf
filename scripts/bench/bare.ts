/** The yardstick: what the runtime costs when it passes a request on and knows nothing of it. */
import { argv } from "node:process";

const upstream = argv[2] ?? "";

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  async fetch(request) {
    const { pathname } = new URL(request.url);
    const answer = await fetch(`${upstream}${pathname}`, {
      method: request.method,
      headers: { "content-type": "application/json" },
      body: await request.bytes(),
    });
    return new Response(answer.body, {
      status: answer.status,
      headers: { "content-type": answer.headers.get("content-type") ?? "" },
    });
  },
});
console.log(server.port);
