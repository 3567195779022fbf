import { expect, test } from "bun:test";
import { isLoopbackHost, isLoopbackRequest } from "./loopback.ts";

test("three spellings are this machine, on any port, and nothing that looks like them", () => {
  for (const host of ["localhost", "127.0.0.1", "[::1]", "localhost:1", "127.0.0.1:65535", "[::1]:8080"]) {
    expect([host, isLoopbackHost(host)]).toEqual([host, true]);
  }
  const others = [
    "",
    "localhost.",
    "localhost.evil.example",
    "evil.example:localhost",
    "127.0.0.1.evil.example",
    "127.1",
    "2130706433",
    "0.0.0.0",
    "::1",
    "[::ffff:127.0.0.1]",
    "localhost:",
    "localhost:99999999",
    "localhost:80:80",
    "a@localhost",
    "localhost,localhost",
  ];
  for (const host of others) expect([host, isLoopbackHost(host)]).toEqual([host, false]);
});

test("a caller is on this machine only when nothing stands in between", () => {
  const request = (headers: Record<string, string>) => new Request("http://localhost/", { headers });
  expect(isLoopbackRequest(request({ host: "localhost" }), "127.0.0.1")).toBe(true);
  expect(isLoopbackRequest(request({ host: "localhost" }), "192.0.2.1")).toBe(false);
  expect(isLoopbackRequest(request({ host: "gateway.example" }), "127.0.0.1")).toBe(false);
  for (const name of ["forwarded", "via", "x-forwarded-for", "x-forwarded-server", "X-Forwarded-Prefix"]) {
    expect(isLoopbackRequest(request({ host: "localhost", [name]: "1.2.3.4" }), "127.0.0.1")).toBe(false);
  }
  expect(isLoopbackRequest(request({ host: "localhost" }), null)).toBe(false);
});
