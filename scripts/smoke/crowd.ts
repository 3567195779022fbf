/** More streams at once than the runtime's own limit of 256 fetches, none of which waits for another to end. */
import { connect } from "node:net";
import type { Provider } from "../../src/testing/provider.ts";
import { reply } from "../../src/testing/provider-script.ts";
import { type Gateway, tokenOf } from "../gateway.ts";
import { type Client, hello } from "./caller.ts";
import { type Check, expect } from "./checks.ts";

const streams = 320;

export async function crowd(
  check: Check,
  gateway: Gateway,
  client: Client,
  provider: Provider,
): Promise<void> {
  await check(`${streams} streams run at once, and none waits for another`, async () => {
    provider.script("crowd", reply({ words: 30, gapMs: 100 }));
    // A credential may hold 200 streams.
    const tokens = await Promise.all([tokenOf(gateway, client), tokenOf(gateway, client)]);
    const times = await Promise.all(
      Array.from({ length: streams }, (_, n) => listen(gateway.port, tokens[n % 2] ?? "")),
    );
    const whole = times.filter(({ ended }) => ended !== null).length;
    expect(whole === streams, `${whole} of ${streams} ended with [DONE]`);
    const lastBegun = Math.max(...times.map(({ begun }) => begun));
    const firstEnded = Math.min(...times.map(({ ended }) => ended ?? 0));
    expect(lastBegun < firstEnded, "some began only after others had ended");
    return `all begun ${Math.round(firstEnded - lastBegun)} ms before the first ended`;
  });
}

type Times = { begun: number; ended: number | null };

/** On a bare socket: this process has the same limit for its own fetches. */
function listen(port: number, token: string): Promise<Times> {
  const body = JSON.stringify({ model: "openai/crowd", stream: true, messages: hello });
  const times: Times = { begun: Number.POSITIVE_INFINITY, ended: null };
  const { promise, resolve } = Promise.withResolvers<Times>();
  let text = "";
  const socket = connect({ port, host: "127.0.0.1" }, () => {
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: Bearer ${token}\r\n` +
        `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
  });
  socket.on("data", (bytes: Buffer) => {
    text = (text + bytes.toString("latin1")).slice(-20_000);
    if (times.begun === Number.POSITIVE_INFINITY && text.includes("data: ")) times.begun = performance.now();
    if (text.includes("[DONE]")) times.ended ??= performance.now();
  });
  socket.on("error", () => {});
  socket.on("close", () => resolve(times));
  return promise;
}
