/** Calls on bare sockets: a process may have 256 fetches in flight, and these trials want a thousand. */
import { connect } from "node:net";

export type Answer = { status: number; head: string; body: string; tookMs: number };

/** Resolves when the server has closed the connection; status 0 when it said nothing. */
export function post(url: string, path: string, token: string, body: object): Promise<Answer> {
  const { hostname, port, host } = new URL(url);
  const text = JSON.stringify(body);
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const pieces: Buffer[] = [];
  const startedAt = performance.now();
  const socket = connect({ port: Number(port), host: hostname }, () => {
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\nconnection: close\r\n` +
        `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    );
  });
  socket.on("data", (bytes: Buffer) => void pieces.push(bytes));
  socket.on("error", () => {});
  socket.on("close", () => {
    const all = Buffer.concat(pieces).toString();
    const [head = "", ...rest] = all.split("\r\n\r\n");
    const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0);
    resolve({ status, head, body: rest.join("\r\n\r\n"), tookMs: performance.now() - startedAt });
  });
  return promise;
}
